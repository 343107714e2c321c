"""Turning a grid to LPS and back moves no voxel in space and loses none."""

import itertools

import numpy as np
import pytest

from napari_liverseg.core.geometry import Geometry, as_matrix, reorient_to_lps

SHAPE, SPACING, ORIGIN = (5, 7, 9), (2.5, 0.7, 0.9), (-100.0, 31.0, 12.5)


def _grid(axes, signs, rotation=None):
    direction = np.eye(3)[:, list(axes)] * np.array(signs)
    if rotation is not None:
        direction = rotation @ direction
    return Geometry(SHAPE, SPACING, ORIGIN, as_matrix(direction))


def _rotation(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


ORIENTATIONS = [
    pytest.param(axes, signs, id=f"{axes}{signs}")
    for axes in itertools.permutations(range(3))
    for signs in [(1, 1, 1), (-1, 1, 1), (1, -1, -1), (-1, -1, -1)]
]


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
@pytest.mark.parametrize("degrees", [0, 20])
def test_every_voxel_keeps_its_place_in_space(axes, signs, degrees):
    stored = _grid(axes, signs, _rotation(degrees))
    lps, way = reorient_to_lps(stored)
    index = np.array([1, 4, 2])
    array = np.zeros(SHAPE, np.int16)
    array[tuple(index)] = 7
    turned = way.to_lps(array)
    there = np.argwhere(turned == 7)[0]
    expected = stored.affine() @ [*index, 1]
    np.testing.assert_allclose(lps.affine() @ [*there, 1], expected, atol=1e-9)
    np.testing.assert_array_equal(way.to_stored(turned), array)
    assert lps.shape == turned.shape
    assert lps.tilt_degrees == pytest.approx(degrees, abs=1e-5)
    assert np.all(np.diag(np.asarray(lps.direction)) > 0.5)


@pytest.mark.parametrize("field", ["shape", "spacing_mm", "origin_mm", "direction"])
def test_matches_sees_a_change_in_every_part(field):
    base = Geometry(SHAPE, SPACING, ORIGIN)
    changes = {
        "shape": (5, 7, 10),
        "spacing_mm": (2.5, 0.7, 0.9 + 1e-3),
        "origin_mm": (-100.0, 31.0, 12.502),
        "direction": as_matrix(_rotation(0.05)),
    }
    other = Geometry(**{**base.__dict__, field: changes[field]})
    assert base.matches(base)
    assert not base.matches(other)
    assert not other.matches(base)


def test_oblique_is_told_from_straight():
    assert not _grid((2, 0, 1), (1, -1, 1)).is_oblique
    assert _grid((2, 0, 1), (1, -1, 1), _rotation(3)).is_oblique

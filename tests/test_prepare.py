"""A network sees the CT as its makers meant, and what it says goes back in place."""

from itertools import permutations, product

import numpy as np
import pytest
import torch

from io_cases import turned
from napari_liverseg.core.errors import CancelledError
from napari_liverseg.core.geometry import Geometry, reorient_to_lps
from napari_liverseg.core.volume import CTVolume
from napari_liverseg.inference.body import body_box
from napari_liverseg.inference.normalisation import normalise_as
from napari_liverseg.inference.prepare import prepare
from napari_liverseg.inference.preprocessing import (
    axis_operator,
    normalise,
    to_model_grid,
)
from napari_liverseg.models.contract import Input, Normalisation
from tiny_model import tiny_spec

SHAPE, SPACING = (14, 30, 26), (4.0, 1.5, 2.0)
GRID = Geometry(SHAPE, SPACING, (-31.5, 12.25, -7.75))
ANISOTROPIC = Geometry(SHAPE, (6.0, 1.5, 2.0))
PLAIN = Normalisation()


def _hu(dtype=np.int16):
    """A body of noise around a dense spot, off the centre, in air."""
    hu = np.full(SHAPE, -1000.0)
    noise = np.random.default_rng(0).normal(40, 30, (10, 20, 18))
    hu[2:12, 4:24, 5:23] = noise
    return hu.astype(dtype)


def _volume(hu, grid=GRID):
    return CTVolume(hu, grid, grid, reorient_to_lps(grid)[1], "phantom", "0f")


def _stored(hu, axes, flips):
    """The volume of a file with other axes, as the readers make it."""
    array, grid = turned(hu, GRID, axes, flips)
    geometry, way = reorient_to_lps(grid)
    return array, CTVolume(way.to_lps(array), geometry, grid, way, "phantom", "0f")


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("window", [(-160.0, 240.0), (-100.0, 333.0)])
def test_our_own_models_see_the_bits_that_training_saw(dtype, window):
    spec = tiny_spec(hu_window=window)
    found = prepare(_volume(_hu(dtype)), spec.input)
    hu = to_model_grid(_hu(dtype), SPACING, spec.spacing_mm)
    body = body_box(hu.numpy())
    assert torch.equal(found.image, normalise(hu[body], spec.hu_window))
    assert found.frame.grid_box == body
    assert found.frame.grid_shape == tuple(hu.shape)
    assert found.frame.native_box == tuple(slice(0, n) for n in SHAPE)
    assert found.frame.axes == (0, 1, 2)


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("flips", [(False, False, True), (True, True, False)])
def test_stored_is_the_array_of_the_file(axes, flips):
    array, volume = _stored(_hu(), axes, flips)
    wanted = Input(None, PLAIN, "stored", (2, 0, 1), "nnunet", "none")
    found = prepare(volume, wanted)
    np.testing.assert_array_equal(found.image.numpy(), array.transpose(2, 0, 1))


def test_ras_turns_two_axes_round_before_transposing():
    wanted = Input(None, PLAIN, "RAS", (1, 2, 0), "nnunet", "none")
    found = prepare(_volume(_hu()), wanted)
    expected = _hu()[:, ::-1, ::-1].transpose(1, 2, 0)
    np.testing.assert_array_equal(found.image.numpy(), expected)


@pytest.mark.parametrize(
    ("orientation", "transpose"),
    list(product(("LPS", "RAS", "stored"), [(0, 1, 2), (2, 0, 1), (1, 0, 2)])),
)
@pytest.mark.parametrize("crop", ["none", "nonzero", "body"])
def test_the_frame_puts_every_voxel_back(orientation, transpose, crop):
    hu = _hu(np.float32)
    if crop == "nonzero":
        hu[hu == -1000] = 0
    _, volume = _stored(hu, (1, 2, 0), (True, False, True))
    resampling = "averaging" if crop == "body" else "nnunet"
    wanted = Input(None, PLAIN, orientation, transpose, resampling, crop)
    found = prepare(volume, wanted)
    frame = found.frame
    whole = torch.zeros(frame.grid_shape)
    back = frame.to_volume_axes(torch.stack([found.image, -found.image]))
    whole[frame.grid_box] = back[0]
    native = volume.hu[frame.native_box]
    kept = np.zeros_like(native)
    kept[frame.grid_box] = native[frame.grid_box]
    np.testing.assert_allclose(whole.numpy(), kept, atol=1e-3)
    assert torch.equal(back[1], -back[0])
    outside = np.ones(SHAPE, bool)
    outside[frame.native_box] = False
    assert (volume.hu[outside] == 0).all()
    if crop == "nonzero":
        assert frame.native_box == (slice(2, 12), slice(4, 24), slice(5, 23))
    elif crop == "body":
        assert frame.grid_shape == SHAPE != tuple(back[0].shape)


def test_cropping_and_spacing_follow_the_networks_axes():
    hu = _hu()
    hu[hu == -1000] = 0
    wanted = Input((1.0, 2.0, 3.0), PLAIN, "RAS", (2, 0, 1), "nnunet", "nonzero")
    found = prepare(_volume(hu), wanted)
    assert found.image.shape == (36, 20, 10)
    assert found.frame.grid_shape == (20, 10, 36)
    assert found.frame.grid_box == (slice(0, 20), slice(0, 10), slice(0, 36))
    assert found.frame.native_box == (slice(2, 12), slice(4, 24), slice(5, 23))
    # The dense end stays on its side: RAS has x turned round.
    hu[2:12, 4:24, 5:7] = 2000
    bright = prepare(_volume(hu), wanted).image
    assert float(bright[-3:].mean()) > 1500 > 200 > float(bright[:3].mean())


def test_the_way_back_is_that_of_whoever_resampled():
    ours = prepare(_volume(_hu()), Input((3.0, 3.0, 3.0), PLAIN)).frame
    assert ours.back == ("averaging",) * 3
    for axis in range(3):
        expected = axis_operator(ours.grid_shape[axis], SHAPE[axis])
        assert torch.equal(ours.operator(axis), expected)
    wanted = Input((1.0, 1.0, 1.0), PLAIN, "LPS", (2, 0, 1), "nnunet", "none")
    theirs = prepare(_volume(_hu()), wanted).frame
    # The model's own grid is even, the CT's is anisotropic along its z.
    coarse = prepare(_volume(_hu(), ANISOTROPIC), wanted).frame
    assert theirs.back == ("linear",) * 3
    assert coarse.back == ("nearest", "linear", "linear")
    for frame, axis in ((theirs, 0), (coarse, 0), (coarse, 1)):
        operator = frame.operator(axis)
        assert operator.shape == (SHAPE[axis], frame.grid_shape[axis])
        taps = (operator.abs() > 1e-6).sum(dim=1).max()
        assert int(taps) == (1 if frame.back[axis] == "nearest" else 2)
        torch.testing.assert_close(operator.sum(dim=1), torch.ones(SHAPE[axis]))


def test_normalisation_comes_before_nnunets_resampling_and_after_ours():
    narrow = Normalisation((0.0, 80.0), 40.0, 20.0)
    hu = _hu(np.float32)
    wanted = Input((2.0, 1.5, 2.0), narrow, "LPS", (0, 1, 2), "nnunet", "none")
    found = prepare(_volume(hu), wanted).image
    assert -2.0 <= float(found.min()) < float(found.max()) <= 2.0
    wanted = Input((2.0, 1.5, 2.0), narrow, crop="none")
    ours = prepare(_volume(hu), wanted).image
    grid = to_model_grid(hu, SPACING, (2.0, 1.5, 2.0))
    torch.testing.assert_close(ours, (grid.clamp(0, 80) - 40) / 20)


def test_statistics_are_taken_from_the_clipped_image():
    image = torch.tensor([-500.0, 0.0, 10.0, 20.0, 900.0])
    clipped = np.array([0.0, 0.0, 10.0, 20.0, 100.0], np.float32)
    z = normalise_as(image, Normalisation((0.0, 100.0), statistics="mean-sd"))
    expected = (clipped - clipped.mean()) / clipped.std()
    np.testing.assert_allclose(z.numpy(), expected, rtol=1e-6)
    unit = normalise_as(image, Normalisation(statistics="min-max"))
    np.testing.assert_allclose(unit.numpy(), (image + 500) / 1400, rtol=1e-6)
    flat = normalise_as(torch.full((3,), 7.0), Normalisation(statistics="mean-sd"))
    assert torch.equal(flat, torch.zeros(3))
    assert float(image[0]) == -500


def test_a_body_on_nnunets_grid_is_a_contradiction():
    wanted = Input(None, PLAIN, resampling="nnunet", crop="body")
    with pytest.raises(ValueError, match="body"):
        prepare(_volume(_hu()), wanted)


@pytest.mark.parametrize("resampling", ["averaging", "nnunet"])
def test_preparing_stops_when_asked(resampling):
    wanted = Input((1.0, 1.0, 1.0), PLAIN, resampling=resampling, crop="none")
    with pytest.raises(CancelledError):
        prepare(_volume(_hu()), wanted, lambda: True)

"""What makes a result doubtful is told, and what is usual is not."""

from dataclasses import replace

import numpy as np
import pytest

from napari_liverseg.core.geometry import Geometry
from napari_liverseg.core.probabilities import Probabilities, RunRecord
from napari_liverseg.inference.doubts import NO_LIVER, doubts

SHAPE, SPACING = (30, 40, 50), (5.0, 4.0, 4.0)


def _found(z, side=20):
    """Return a result whose liver fills slices `z` over a square of voxels."""
    box = (slice(z.start, z.stop), slice(5, 5 + side), slice(7, 7 + side))
    liver = np.full([s.stop - s.start for s in box], 255, np.uint8)
    run = RunRecord("m", "1", "0", "cpu", 1.0)
    decision = np.ones_like(liver)
    grid = Geometry(SHAPE, SPACING, (-90.0, 3.0, 4.0))
    return Probabilities(liver, np.zeros_like(liver), decision, box, grid, run)


def test_a_usual_liver_in_the_field_raises_no_doubt():
    assert doubts(_found(slice(2, 28), side=30)) == ()


def test_no_liver_is_a_doubt_of_its_own():
    empty = _found(slice(2, 4))
    empty.liver[:], empty.decision[:] = 0, 0
    assert doubts(empty) == (NO_LIVER,)


@pytest.mark.parametrize(
    ("z", "words"),
    [
        (slice(0, 20), ["lowest"]),
        (slice(9, 30), ["highest"]),
        (slice(0, 30), ["lowest", "highest"]),
    ],
)
def test_a_liver_that_goes_on_beyond_the_scan_is_told(z, words):
    told = doubts(_found(z))
    assert len(told) == len(words)
    for sentence, word in zip(told, words, strict=True):
        assert f"the {word} slice" in sentence


def test_a_tip_on_the_last_slice_is_no_cut():
    assert doubts(_found(slice(0, 30), side=5)) != doubts(_found(slice(0, 30)))
    assert "unusual" in doubts(_found(slice(0, 30), side=5))[0]


@pytest.mark.parametrize("spacing", [(5.0, 2.0, 2.0), (5.0, 11.0, 11.0)])
def test_a_volume_that_no_adult_has_is_told(spacing):
    found = _found(slice(5, 15), side=30)
    found = replace(found, geometry=replace(found.geometry, spacing_mm=spacing))
    ml = 10 * 30 * 30 * np.prod(spacing) / 1000
    (told,) = doubts(found)
    assert f"{ml:,.0f} ml, which is unusual" in told

"""What makes a result doubtful is told, and what is usual is not."""

from dataclasses import replace

import numpy as np
import pytest

from napari_liverseg.core.geometry import Geometry, Reorientation
from napari_liverseg.core.probabilities import Probabilities, RunRecord
from napari_liverseg.core.volume import CTVolume
from napari_liverseg.inference.doubts import CUT_BESIDE, NO_LIVER, doubts
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.models.store import find_model
from tiny_model import write_threshold_model

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


@pytest.mark.parametrize(
    ("y", "x", "sides"),
    [
        (slice(5, 35), slice(0, 30), "right"),
        (slice(5, 35), slice(20, 50), "left"),
        (slice(0, 30), slice(7, 37), "front"),
        (slice(10, 40), slice(7, 37), "back"),
        (slice(0, 30), slice(0, 30), "front and right"),
    ],
)
def test_a_liver_that_the_field_of_view_cuts_at_the_side_is_told(y, x, sides):
    found = replace(_found(slice(5, 25), side=30), box=(slice(5, 25), y, x))
    (told,) = doubts(found)
    assert told == CUT_BESIDE.format(sides=sides)
    assert f"the patient's {sides} side" in told


def test_a_liver_may_be_cut_below_and_at_the_side():
    found = replace(
        _found(slice(0, 20)), box=(slice(0, 20), slice(5, 25), slice(0, 20))
    )
    assert [told.split(":")[0] for told in doubts(found)] == [
        "The liver reaches the lowest slice of this CT",
        "The liver reaches the edge of the slices on the patient's right side",
    ]


def test_a_touch_of_the_side_is_no_cut():
    found = _found(slice(5, 25), side=30)
    found = replace(found, box=(slice(5, 25), slice(5, 35), slice(0, 30)))
    found.decision[:, :, 0] = 0
    found.decision[:8, :3, 0] = 1  # 4.8 square centimetres
    assert doubts(found) == ()
    found.decision[:9, :3, 0] = 1
    assert doubts(found) == (CUT_BESIDE.format(sides="right"),)


@pytest.mark.parametrize("look", ["liver", "body", "everywhere"])
@pytest.mark.parametrize(("left", "sides"), [(10, None), (0, "right")])
def test_only_the_edge_of_the_ct_cuts_a_prediction(tmp_path, look, left, sides):
    """A fine model sees a box of the CT, whose faces lie within the body."""
    fine = write_threshold_model(tmp_path / "fine", spacing_mm=(1.5, 3.0, 3.0))
    coarse = write_threshold_model(tmp_path / "coarse", spacing_mm=(6.0, 6.0, 6.0))
    predictor = Predictor(find_model(fine), "cpu")
    predictor.__dict__["coarse"] = Predictor(find_model(coarse), "cpu")
    hu = np.full(SHAPE, -60, np.int16)
    hu[5:25, 5:35, left : left + 30] = 100
    grid = Geometry(SHAPE, SPACING, (-90.0, 3.0, 4.0))
    volume = CTVolume(hu, grid, grid, Reorientation(), "ct", "key")
    run = predictor.predict(volume, options=RunOptions(look, tune=False)).run
    assert run.look == look
    assert run.notes == (() if sides is None else (CUT_BESIDE.format(sides=sides),))


@pytest.mark.parametrize("spacing", [(5.0, 2.0, 2.0), (5.0, 11.0, 11.0)])
def test_a_volume_that_no_adult_has_is_told(spacing):
    found = _found(slice(5, 15), side=30)
    found = replace(found, geometry=replace(found.geometry, spacing_mm=spacing))
    ml = 10 * 30 * 30 * np.prod(spacing) / 1000
    (told,) = doubts(found)
    assert f"{ml:,.0f} ml, which is unusual" in told

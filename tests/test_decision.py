"""Masks follow the thresholds, and cleaning keeps what a radiologist would."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from napari_liverseg.core.geometry import Geometry
from napari_liverseg.core.probabilities import (
    PostProcessing,
    Probabilities,
    RunRecord,
    Thresholds,
)
from napari_liverseg.inference.decision import decide, decide_in_box, level
from napari_liverseg.inference.runs import find_runs, gaps, join, padded

RUN = RunRecord("m", "1", "0" * 64, "cpu", 1.0)
SPACING = (3.0, 1.0, 2.0)
AS_CLAIMED = PostProcessing(largest_component=False, fill_holes_cm2=0.0)


def _probabilities(liver, tumour=None, decision=None, cleaning=None):
    """Wrap arrays that fill a box off the corner of a larger volume."""
    liver = np.asarray(liver, np.uint8)
    tumour = np.zeros_like(liver) if tumour is None else np.asarray(tumour, np.uint8)
    if decision is None:
        decision = (liver >= 128).astype(np.uint8) + (tumour >= 128)
    shape = tuple(n + 5 for n in liver.shape)
    box = tuple(slice(a, a + n) for a, n in zip((1, 2, 3), liver.shape, strict=True))
    return Probabilities(
        liver,
        tumour,
        np.asarray(decision, np.uint8),
        box,
        Geometry(shape, SPACING, (5.0, -7.0, 9.0)),
        RUN,
        cleaning or PostProcessing(),
    )


def _block(shape, *boxes, value=255):
    array = np.zeros(shape, np.uint8)
    for box in boxes:
        array[box] = value
    return array


def test_labels_lie_in_the_box_of_the_volume():
    labels = _block((4, 5, 6), np.s_[1:3, 1:4, 2:5])
    p = _probabilities(labels)
    found = decide(p)
    assert found.geometry == p.geometry
    np.testing.assert_array_equal(found.labels[p.box], decide_in_box(p))
    assert np.count_nonzero(found.labels) == np.count_nonzero(labels)
    assert found.labels[2, 3, 5] == 1
    assert found.labels.dtype == np.uint8


def test_the_models_decision_is_the_default_not_a_threshold_of_a_half():
    liver, tumour = np.full((2, 2, 2), 140), np.full((2, 2, 2), 100)
    decision = np.full((2, 2, 2), 2)
    p = _probabilities(liver, tumour, decision)
    assert (decide_in_box(p) == 2).all()
    assert (decide_in_box(p, Thresholds()) == 2).all()
    assert (decide_in_box(p, Thresholds(tumour=0.5)) == 1).all()
    assert (decide_in_box(p, Thresholds(liver=0.6, tumour=0.5)) == 0).all()


def test_thresholds_are_independent_and_monotone():
    rng = np.random.default_rng(0)
    liver = rng.integers(0, 256, (6, 7, 8))
    tumour = (liver * rng.random(liver.shape)).astype(int)
    p = _probabilities(liver, tumour, cleaning=AS_CLAIMED)
    for value in (0.1, 0.33, 0.5, 0.9):
        by_liver = decide_in_box(p, Thresholds(liver=value, tumour=0.999))
        clear = np.abs(liver / 255 - value) > 0.5 / 255
        np.testing.assert_array_equal(
            (by_liver > 0)[clear], (liver / 255 > value)[clear]
        )
        by_tumour = decide_in_box(p, Thresholds(liver=0.999, tumour=value))
        clear = np.abs(tumour / 255 - value) > 0.5 / 255
        np.testing.assert_array_equal(
            (by_tumour == 2)[clear], (tumour / 255 > value)[clear]
        )
    sizes = [
        np.count_nonzero(decide_in_box(p, Thresholds(liver=v, tumour=v)))
        for v in np.linspace(0.02, 0.98, 30)
    ]
    assert sizes == sorted(sizes, reverse=True)


def test_probability_zero_never_counts():
    assert [level(v) for v in (1e-9, 0.5, 1 - 1e-9)] == [1, 128, 255]
    p = _probabilities(np.zeros((3, 3, 3)))
    assert not decide_in_box(p, Thresholds(liver=1e-6, tumour=1e-6)).any()


def test_inputs_are_left_alone():
    rng = np.random.default_rng(1)
    p = _probabilities(rng.integers(0, 256, (5, 9, 9)), rng.integers(0, 200, (5, 9, 9)))
    before = [a.copy() for a in (p.liver, p.tumour, p.decision)]
    decide_in_box(p, Thresholds(0.4, 0.2))
    decide_in_box(p)
    for array, copy in zip((p.liver, p.tumour, p.decision), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_only_the_largest_part_is_kept_with_its_tumours():
    liver = _block((6, 12, 12), np.s_[1:5, 1:7, 1:7], np.s_[1:3, 9:11, 9:11])
    tumour = _block((6, 12, 12), np.s_[2:4, 2:4, 2:4], np.s_[1:2, 9:11, 9:11])
    labels = decide_in_box(_probabilities(liver, tumour))
    assert np.count_nonzero(labels) == 4 * 6 * 6
    assert np.count_nonzero(labels == 2) == 8
    touching_at_an_edge = _block((3, 6, 6), np.s_[1, 1:4, 1:4], np.s_[1, 4, 4:6])
    labels = decide_in_box(_probabilities(touching_at_an_edge))
    assert np.count_nonzero(labels) == 9


def test_a_tumour_that_bulges_out_of_the_liver_is_part_of_it():
    liver = _block((4, 8, 9), np.s_[1:3, 1:6, 1:5])
    tumour = _block((4, 8, 9), np.s_[1:3, 2:4, 5:8])
    p = _probabilities(np.maximum(liver, tumour), tumour)
    labels = decide_in_box(p, Thresholds(liver=0.9, tumour=0.3))
    assert np.count_nonzero(labels == 2) == 2 * 2 * 3


def _ring(inner, shape=(3, 40, 40)):
    """A disc of liver in the middle slice with a square hole of `inner` voxels."""
    liver = _block(shape, np.s_[1, 5:35, 5:35])
    start = 20 - inner // 2
    liver[1, start : start + inner, start : start + inner] = 0
    return liver


def test_small_enclosed_holes_are_filled_wide_ones_stay():
    area_cm2 = 2.0
    side = int(np.sqrt(area_cm2 * 100 / (SPACING[1] * SPACING[2])))
    assert side == 10
    small = decide_in_box(_probabilities(_ring(side)))
    assert small[1, 20, 20] == 1
    assert np.count_nonzero(small) == 900
    wide = decide_in_box(_probabilities(_ring(side + 1)))
    assert np.count_nonzero(wide) == 900 - (side + 1) ** 2
    none = PostProcessing(fill_holes_cm2=0.0)
    assert decide_in_box(_probabilities(_ring(2), cleaning=none))[1, 20, 20] == 0


def test_a_notch_open_to_the_outside_stays_open():
    liver = _ring(4)
    liver[1, 20, 20:] = 0
    labels = decide_in_box(_probabilities(liver))
    np.testing.assert_array_equal(labels > 0, liver > 0)
    at_the_edge = np.full((1, 6, 6), 255)
    at_the_edge[0, 0, 2] = at_the_edge[0, 3, 5] = at_the_edge[0, 3, 0] = 0
    at_the_edge[0, 5, 3] = 0
    labels = decide_in_box(_probabilities(at_the_edge))
    np.testing.assert_array_equal(labels > 0, at_the_edge > 0)


@pytest.mark.parametrize("inner", [6, 16])
def test_a_tumour_behind_a_doubtful_rim_is_kept(inner):
    liver = _ring(inner)
    core = np.s_[1, 19:22, 19:22]
    tumour = _block(liver.shape, core)
    liver[core] = 255
    labels = decide_in_box(_probabilities(liver, tumour))
    assert (labels[core] == 2).all()
    assert np.count_nonzero(labels == 2) == 9
    rim_is_filled = labels[1, 18, 18] == 1
    assert rim_is_filled == (inner == 6)


def _labelled(mask):
    parts, count = ndimage.label(mask)
    return parts, count


@pytest.mark.parametrize("density", [0.02, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("shape", [(7, 9, 11), (1, 5, 8), (6, 1, 7), (5, 6, 1)])
def test_runs_part_a_mask_as_voxels_do(density, shape):
    rng = np.random.default_rng(hash((density, shape)) % 2**32)
    mask = rng.random(shape) < density
    runs = find_runs(padded(mask))
    assert runs.lengths.sum() == mask.sum()
    count, of_run = join(runs, across_slices=True)
    expected, expected_count = _labelled(mask)
    assert count == expected_count
    ours = np.zeros((shape[0], shape[1], shape[2] + 1), int)
    for run in range(runs.starts.size):
        ours.reshape(-1)[runs.starts[run] : runs.stops[run]] = of_run[run] + 1
    pairs = np.unique(np.stack([ours[..., :-1][mask], expected[mask]]), axis=1)
    assert pairs.shape[1] == count


@pytest.mark.parametrize("density", [0.0, 0.4, 0.7, 1.0])
def test_gaps_are_what_runs_leave(density):
    mask = np.random.default_rng(5).random((4, 6, 9)) < density
    empty = gaps(find_runs(padded(mask)))
    ours = np.zeros(4 * 6 * 10, bool)
    ours[empty.voxels()] = True
    np.testing.assert_array_equal(ours.reshape(4, 6, 10)[..., :-1], ~mask)
    assert not ours.reshape(4, 6, 10)[..., -1].any()


def _slow(liver, tumour, most_voxels):
    """The same cleaning, voxel by voxel with scipy."""
    parts, count = ndimage.label(liver | tumour)
    if count == 0:
        return np.zeros(liver.shape, np.uint8)
    kept = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    for z, plane in enumerate(kept):
        holes, number = ndimage.label(ndimage.binary_fill_holes(plane) & ~plane)
        for hole in range(1, number + 1):
            inside = holes == hole
            fill = inside if inside.sum() <= most_voxels else inside & tumour[z]
            kept[z] |= fill
    return kept.astype(np.uint8) + (kept & tumour)


@pytest.mark.parametrize("seed", range(8))
def test_cleaning_equals_the_same_done_voxel_by_voxel(seed):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=(9, 33, 37)), (1, 2, 2))
    other = ndimage.gaussian_filter(rng.normal(size=(9, 33, 37)), (1, 2, 2))
    liver = np.clip(128 + 900 * field, 0, 255).astype(np.uint8)
    tumour = np.minimum(np.clip(100 + 900 * other, 0, 255), liver).astype(np.uint8)
    p = _probabilities(liver, tumour, cleaning=PostProcessing(fill_holes_cm2=0.3))
    for limits in (Thresholds(0.5, 0.5), Thresholds(0.3, 0.7), Thresholds(0.8, 0.2)):
        expected = _slow(
            liver >= level(limits.liver), tumour >= level(limits.tumour), 15.0
        )
        np.testing.assert_array_equal(decide_in_box(p, limits), expected)


def test_tumours_too_small_to_be_trusted_are_liver():
    shape = (3, 20, 20)
    liver = _block(shape, (slice(0, 3), slice(2, 18), slice(2, 18)))
    big, small = (
        (slice(0, 3), slice(4, 8), slice(4, 8)),
        (slice(1, 2), 12, slice(9, 12)),
    )
    tumour = _block(shape, big, small)
    p = _probabilities(liver, tumour)
    voxel_ml = p.geometry.voxel_ml
    labels = decide_in_box(p)
    for smallest, kept in ((2.5, True), (3.5, False)):
        cleaning = PostProcessing(smallest_tumour_ml=smallest * voxel_ml)
        cleaned = decide_in_box(_probabilities(liver, tumour, cleaning=cleaning))
        assert (cleaned[small] == (2 if kept else 1)).all()
        assert (cleaned[big] == 2).all()
        np.testing.assert_array_equal(cleaned > 0, labels > 0)


def test_a_full_and_an_empty_box_are_answered():
    full = _probabilities(np.full((2, 3, 4), 255), np.full((2, 3, 4), 255))
    assert (decide_in_box(full) == 2).all()
    assert not decide_in_box(_probabilities(np.zeros((1, 1, 1)))).any()


def test_deciding_leaves_torch_out():
    code = (
        "import sys; import napari_liverseg.inference.decision;"
        "import napari_liverseg.inference.predictor;"
        "assert not {'torch', 'monai'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

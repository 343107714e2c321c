"""Measures worked out by hand, empty masks, grids that differ."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from napari_liverseg.core.errors import GeometryMismatchError
from napari_liverseg.core.geometry import Geometry
from napari_liverseg.core.segmentation import Segmentation
from napari_liverseg.measure.case import measure_case
from napari_liverseg.measure.lesions import label_lesions, lesion_voxels
from napari_liverseg.measure.matching import match_lesions

SHAPE = (6, 10, 14)
SPACING = (5.0, 1.5, 0.75)
GRID = Geometry(SHAPE, SPACING, (100.0, -20.0, 3.0))
DISTANCES = ("assd_mm", "rmsd_mm", "msd_mm", "hd95_mm")


def labels_of(*boxes):
    """Return labels with `value` in each given ``(value, z, y, x)`` box."""
    labels = np.zeros(SHAPE, np.uint8)
    for value, z, y, x in boxes:
        labels[slice(*z), slice(*y), slice(*x)] = value
    return labels


def measure(prediction, truth):
    return measure_case(Segmentation(prediction, GRID), Segmentation(truth, GRID))


LIVER = (1, (1, 5), (2, 8), (2, 10))
LESION = (2, (2, 4), (3, 5), (3, 6))
TRUTH = labels_of(LIVER, LESION)


def test_identical_masks_are_perfect():
    result = measure(TRUTH, TRUTH).as_dict()
    for name in ("liver", "tumour"):
        block = result[name]
        for key in ("dice", "jaccard", "sensitivity", "precision", "accuracy"):
            assert block[key] == 1
        assert [block[k] for k in ("voe", "rvd", *DISTANCES)] == [0] * 6
    assert result["lesions"] == {
        "truth": 1,
        "predicted": 1,
        "precision": 1,
        "recall": 1,
        "precision_any": 1,
        "recall_any": 1,
    }
    assert result["reasons"] == {}


def test_a_box_half_as_long_is_measured_as_on_paper():
    # Along x the truth fills 2..9, the prediction 2..5: 96 of 192 voxels.
    prediction = labels_of((1, (1, 5), (2, 8), (2, 6)))
    liver = measure(prediction, TRUTH).liver.as_dict()
    assert liver["dice"] == pytest.approx(2 * 96 / (96 + 192))
    assert liver["jaccard"] == pytest.approx(0.5)
    assert liver["voe"] == pytest.approx(0.5)
    assert liver["sensitivity"] == pytest.approx(0.5)
    assert liver["precision"] == 1
    assert liver["accuracy"] == pytest.approx(1 - 96 / math.prod(SHAPE))
    assert liver["msd_mm"] == pytest.approx(4 * SPACING[2])


def test_rvd_is_positive_where_the_prediction_is_too_small():
    small = labels_of((1, (1, 5), (2, 8), (2, 6)))
    large = labels_of((1, (0, 5), (2, 8), (2, 10)))
    assert measure(small, TRUTH).liver.agreement.rvd == pytest.approx(1.0)
    assert measure(large, TRUTH).liver.agreement.rvd == pytest.approx(-48 / 240)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_distances_follow_the_spacing_of_their_axis(axis):
    voxel, shifted = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    voxel[1, 2, 3] = 1
    at = [1, 2, 3]
    at[axis] += 3
    shifted[tuple(at)] = 1
    liver = measure(shifted, voxel).liver.as_dict()
    for key in DISTANCES:
        assert liver[key] == pytest.approx(3 * SPACING[axis])


def test_a_mask_that_fills_the_array_has_its_border_as_surface():
    full = np.ones(SHAPE, np.uint8)
    voxel = np.zeros(SHAPE, np.uint8)
    voxel[3, 5, 7] = 1
    liver = measure(full, voxel).liver.as_dict()
    # The voxel is nearest to the far corner (0, 0, 0) or its mirror image.
    corner = max(
        math.dist(
            (0, 0, 0),
            [abs(c - e) * s for c, e, s in zip((3, 5, 7), e, SPACING, strict=True)],
        )
        for e in ((0, 0, 0), (5, 9, 13), (0, 9, 0), (0, 0, 13))
    )
    assert liver["msd_mm"] == pytest.approx(corner)


def test_hd95_is_the_larger_directed_percentile_not_the_pooled_one():
    # One far voxel in a prediction of 3: its directed percentile sees it; in
    # the pool with 40 perfect ones the 95th percentile would not.
    truth, prediction = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    truth[0, :8, :5] = 1
    prediction[0, :1, :2] = 1
    prediction[0, 0, 13] = 1
    liver = measure(prediction, truth).liver.as_dict()
    there = np.percentile([0, 0, 9 * 0.75], 95)
    assert there < 7 * 1.5
    assert liver["hd95_mm"] == pytest.approx(
        np.percentile(
            [
                math.hypot(1.5 * y, 0.75 * max(x - 1, 0))
                for y in range(8)
                for x in range(5)
            ],
            95,
        )
    )


def test_both_empty():
    empty = np.zeros(SHAPE, np.uint8)
    result = measure(empty, empty).as_dict()
    for name in ("liver", "tumour"):
        block = result[name]
        assert (block["dice"], block["jaccard"], block["voe"]) == (1, 1, 0)
        assert block["accuracy"] == 1
        for key in ("rvd", "sensitivity", "precision", *DISTANCES):
            assert block[key] is None
            assert result["reasons"][f"{name}.{key}"]
    assert result["tumour_burden"] == {"truth": None, "prediction": None}
    assert "Neither" in result["reasons"]["liver.assd_mm"]


@pytest.mark.parametrize("empty_side", ["prediction", "truth"])
def test_one_empty(empty_side):
    empty = np.zeros(SHAPE, np.uint8)
    pair = (empty, TRUTH) if empty_side == "prediction" else (TRUTH, empty)
    result = measure(*pair).as_dict()
    for name in ("liver", "tumour"):
        block = result[name]
        assert (block["dice"], block["jaccard"], block["voe"]) == (0, 0, 1)
        for key in DISTANCES:
            assert block[key] is None
            assert (
                f"The {empty_side} has no {name}." in result["reasons"][f"{name}.{key}"]
            )
    if empty_side == "prediction":
        assert result["liver"]["rvd"] is None
        assert result["liver"]["precision"] is None
        assert result["liver"]["sensitivity"] == 0
        assert result["lesions"]["precision"] is None
        assert result["lesions"]["recall"] == 0
    else:
        assert result["liver"]["rvd"] == -1
        assert result["liver"]["sensitivity"] is None
        assert result["liver"]["precision"] == 0
        assert result["lesions"]["recall"] is None
        assert result["lesions"]["precision"] == 0


def nulls(values, path=""):
    for key, value in values.items():
        if isinstance(value, dict):
            yield from nulls(value, f"{path}{key}.")
        elif value is None:
            yield f"{path}{key}"


@pytest.mark.parametrize("prediction_empty", [True, False])
@pytest.mark.parametrize("truth_empty", [True, False])
@pytest.mark.parametrize("lesion_only", [True, False])
def test_every_null_has_a_reason_and_nothing_else_has(
    prediction_empty, truth_empty, lesion_only
):
    nothing = labels_of(LIVER) if lesion_only else np.zeros(SHAPE, np.uint8)
    prediction = nothing if prediction_empty else TRUTH
    truth = nothing if truth_empty else TRUTH
    result = measure(prediction, truth).as_dict()
    reasons = result.pop("reasons")
    assert set(nulls(result)) == set(reasons)
    json.dumps(result, allow_nan=False)


def test_a_tumour_alone_is_liver_too():
    only_tumour = labels_of((2, *LIVER[1:]))
    result = measure(only_tumour, TRUTH)
    assert result.liver.agreement.dice == 1
    assert result.burden_prediction == 1
    assert result.burden_truth == pytest.approx(12 / 192)


def test_other_grids_are_refused_with_both_printed():
    moved = Geometry(SHAPE, SPACING, (100.0, -20.0, 4.0))
    with pytest.raises(GeometryMismatchError) as refusal:
        measure_case(Segmentation(TRUTH, GRID), Segmentation(TRUTH, moved))
    assert str(GRID) in str(refusal.value)
    assert str(moved) in str(refusal.value)
    assert refusal.value.next_step


# One row of voxels is enough to follow the four steps of the matching.
def row(text):
    """Read ``'##.#'`` as a mask of one row."""
    return np.array([[[c == "#" for c in text]]])


@pytest.mark.parametrize(
    ("prediction", "truth", "predicted", "true", "half", "touched"),
    [
        # One predicted lesion spans two true ones: merged, IoU 6/7, both found.
        ("#######.", "###.###.", 1, 2, 2, 2),
        # The same, but too large: IoU 2/8, and both are out of the count.
        ("########", "#......#", 1, 2, 0, 2),
        # Two predicted parts of one true lesion: merged, IoU 6/7.
        ("###.###.", "#######.", 2, 1, 1, 1),
        # IoU of exactly 0.5 is not more than 0.5.
        ("##......", "####....", 1, 1, 0, 1),
        # The right part overlaps nothing: a false positive and a miss.
        ("###..##.", "###.#..#", 2, 3, 1, 1),
        ("........", "##......", 0, 1, 0, 0),
        ("##......", "........", 1, 0, 0, 0),
    ],
)
def test_lesion_matching_by_hand(prediction, truth, predicted, true, half, touched):
    match = match_lesions(row(prediction), row(truth))
    assert (match.predicted, match.truth) == (predicted, true)
    assert (match.detected, match.detected_any) == (half, touched)


def test_a_true_lesion_whose_predicted_one_prefers_another_is_missed():
    # The left predicted lesion shares 1 voxel with the left true lesion and 2
    # with the right one, which the right predicted lesion shares 4 with: both
    # go to the right one (IoU 6/9), and the left one is missed, overlap or not.
    match = match_lesions(row(".####.####"), row("##.#######"))
    assert (match.truth, match.predicted) == (2, 2)
    assert (match.detected, match.detected_any) == (1, 1)


def test_lesions_are_numbered_by_falling_size():
    mask = np.zeros(SHAPE, bool)
    mask[0, 0, :2] = True
    mask[2, 2:5, 2:5] = True
    mask[5, 9, 9:13] = True
    mask[1, 1, 2] = True  # touches the first by an edge only: a lesion of its own
    labels, count = label_lesions(mask)
    assert count == 4
    assert labels.dtype == np.uint8
    assert (labels[2, 3, 3], labels[5, 9, 10], labels[0, 0, 0], labels[1, 1, 2]) == (
        1,
        2,
        3,
        4,
    )
    assert lesion_voxels(mask).tolist() == [9, 4, 2, 1]
    np.testing.assert_array_equal(labels > 0, mask)


def test_past_255_lesions_the_small_ones_share_the_last_label():
    mask = np.zeros((3, 40, 40), bool)
    mask[1, ::2, ::2] = True
    mask[2, 0, 0] = True
    labels, count = label_lesions(mask)
    assert count == 400
    assert labels[1, 0, 0] == 1
    assert np.count_nonzero(labels == 255) == 400 - 254
    np.testing.assert_array_equal(labels > 0, mask)
    assert lesion_voxels(mask).size == 400


def test_no_lesions():
    labels, count = label_lesions(np.zeros(SHAPE, bool))
    assert count == 0
    assert not labels.any()
    assert lesion_voxels(np.zeros(SHAPE, bool)).size == 0

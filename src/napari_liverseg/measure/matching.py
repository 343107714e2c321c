"""Which lesions were found: the four matching steps of the LiTS scorer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.measure.agreement import ratio
from napari_liverseg.measure.lesions import find_components

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF = 0.5
"""Overlap (IoU) above which a lesion counts as well delineated."""


@dataclass(frozen=True)
class LesionMatch:
    """How many lesions there are and how many were detected.

    Parameters
    ----------
    truth, predicted : int
        6-connected components of each tumour mask.
    detected : int
        Truth lesions that the prediction overlaps with IoU > 0.5.
    detected_any : int
        The same for IoU > 0.

    Notes
    -----
    LiTS divides the detected *truth* lesions by the *predicted* components:
    one predicted lesion that covers three true ones counts 3, so its precision
    can be larger than 1.
    """

    truth: int
    predicted: int
    detected: int
    detected_any: int

    @property
    def precision(self) -> float | None:
        """Detected at IoU > 0.5 over predicted; None where none is predicted."""
        return ratio(self.detected, self.predicted)

    @property
    def recall(self) -> float | None:
        """Detected at IoU > 0.5 over true lesions; None where there are none."""
        return ratio(self.detected, self.truth)

    @property
    def precision_any(self) -> float | None:
        """Detected at IoU > 0 over predicted; None where none is predicted."""
        return ratio(self.detected_any, self.predicted)

    @property
    def recall_any(self) -> float | None:
        """Detected at IoU > 0 over true lesions; None where there are none."""
        return ratio(self.detected_any, self.truth)


def match_lesions(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_]
) -> LesionMatch:
    """Match the lesions of two masks as the LiTS scorer does.

    1. True lesions whose largest overlap is with one and the same predicted
       lesion are merged.
    2. Each predicted lesion goes to the merged true lesion it overlaps most.
    3. Predicted lesions of one merged true lesion are merged.
    4. A pair with IoU at or below the threshold is undetected, and takes every
       true lesion merged into it out of the count.

    Between equal overlaps the lesion that a scan along ``(z, y, x)`` meets
    first wins.

    Parameters
    ----------
    prediction, truth : ndarray of bool, shape (z, y, x)
        May be a crop that holds every voxel of both masks.
    """
    predicted, predicted_sizes = find_components(prediction)
    true, true_sizes = find_components(truth)
    overlaps = _find_overlaps(predicted, true)
    groups = _merge_truth(overlaps, true_sizes.size)
    members, iou = _compare(overlaps, groups, predicted_sizes, true_sizes)
    return LesionMatch(
        truth=int(true_sizes.size),
        predicted=int(predicted_sizes.size),
        detected=int(members[iou > HALF].sum()),
        detected_any=int(members[iou > 0].sum()),
    )


@dataclass(frozen=True, eq=False)
class _Overlaps:
    """Pairs of lesions that share voxels; indices count from 0."""

    predicted: NDArray[np.int64]
    true: NDArray[np.int64]
    voxels: NDArray[np.int64]


def _find_overlaps(predicted: NDArray[np.int32], true: NDArray[np.int32]) -> _Overlaps:
    shared = (predicted > 0) & (true > 0)
    return _sum_pairs(
        predicted[shared].astype(np.int64) - 1,
        true[shared].astype(np.int64) - 1,
        np.ones(np.count_nonzero(shared), np.int64),
    )


def _sum_pairs(
    predicted: NDArray[np.int64], true: NDArray[np.int64], voxels: NDArray[np.int64]
) -> _Overlaps:
    """Add up the voxels of equal pairs, sorted by predicted, then by true."""
    base = int(true.max()) + 1 if true.size else 1
    keys, index = np.unique(predicted * base + true, return_inverse=True)
    sums = np.bincount(index, voxels, minlength=keys.size).astype(np.int64)
    return _Overlaps(keys // base, keys % base, sums)


def _merge_truth(overlaps: _Overlaps, count: int) -> NDArray[np.int64]:
    """Return for each true lesion the first one it is merged with; -1: missed."""
    order = np.lexsort((overlaps.predicted, -overlaps.voxels, overlaps.true))
    true, first = np.unique(overlaps.true[order], return_index=True)
    owners = overlaps.predicted[order][first]
    _, first_of_owner, group = np.unique(owners, return_index=True, return_inverse=True)
    groups = np.full(count, -1, np.int64)
    groups[true] = true[first_of_owner][group]
    return groups


def _compare(
    overlaps: _Overlaps,
    groups: NDArray[np.int64],
    predicted_sizes: NDArray[np.int64],
    true_sizes: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the members and the IoU of every group, 0 for what is no group."""
    merged = _sum_pairs(overlaps.predicted, groups[overlaps.true], overlaps.voxels)
    order = np.lexsort((merged.true, -merged.voxels, merged.predicted))
    predicted, first = np.unique(merged.predicted[order], return_index=True)
    targets, shared = merged.true[order][first], merged.voxels[order][first]

    count = true_sizes.size
    found = groups >= 0
    members = np.bincount(groups[found], minlength=count)
    true_voxels = np.bincount(groups[found], true_sizes[found], minlength=count)
    both = np.bincount(targets, shared, minlength=count)
    taken = np.bincount(targets, predicted_sizes[predicted], minlength=count)
    either = true_voxels + taken - both
    return members, both / np.maximum(either, 1)

"""From probabilities to masks, fast enough to follow a slider.

Cost is dominated by a few passes over the box; connected parts and holes are
found on runs, see `napari_liverseg.inference.runs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_liverseg.core.probabilities import FULL, Thresholds
from napari_liverseg.core.segmentation import BACKGROUND, TUMOUR, Segmentation
from napari_liverseg.inference.runs import Runs, find_runs, gaps, join, padded

if TYPE_CHECKING:
    from napari_liverseg.core.probabilities import Probabilities

Mask = NDArray[np.bool_]


def decide(
    probabilities: Probabilities, thresholds: Thresholds | None = None
) -> Segmentation:
    """Return the label map of the whole CT, see `decide_in_box`.

    Parameters
    ----------
    probabilities : Probabilities
    thresholds : Thresholds or None
        None is the model's own decision.
    """
    labels = np.zeros(probabilities.geometry.shape, np.uint8)
    labels[probabilities.box] = decide_in_box(probabilities, thresholds)
    return Segmentation(labels, probabilities.geometry)


def decide_in_box(
    probabilities: Probabilities, thresholds: Thresholds | None = None
) -> NDArray[np.uint8]:
    """Return the labels inside the box of the probabilities, cleaned.

    Liver is what reaches the liver threshold or is claimed as tumour. Of it the
    largest 6-connected part is kept. Holes enclosed in an axial slice are
    filled up to the area that the model asks for, so that the hilum, which is
    open or wide, stays; tumour claimed inside an enclosed hole counts whatever
    the hole's size, or a tumour with a doubtful rim would be lost. Tumours below
    the smallest that the model can be trusted with become liver.

    Parameters
    ----------
    probabilities : Probabilities
    thresholds : Thresholds or None
        None is the model's own decision.

    Returns
    -------
    ndarray of uint8, shape of the box
        0 background, 1 liver, 2 tumour.
    """
    chosen = thresholds or Thresholds()
    tumour = _claimed_tumour(probabilities, chosen)
    liver = _claimed_liver(probabilities, chosen) | tumour
    kept = _clean(liver, tumour, probabilities)
    labels = kept.astype(np.uint8)
    tumour &= kept
    _drop_small(tumour, probabilities)
    labels += tumour.view(np.uint8)
    return labels


def _claimed_liver(probabilities: Probabilities, thresholds: Thresholds) -> Mask:
    if thresholds.liver is None:
        return np.not_equal(probabilities.decision, BACKGROUND)
    return probabilities.liver >= level(thresholds.liver)


def _claimed_tumour(probabilities: Probabilities, thresholds: Thresholds) -> Mask:
    if thresholds.tumour is None:
        return np.equal(probabilities.decision, TUMOUR)
    return probabilities.tumour >= level(thresholds.tumour)


def level(threshold: float) -> int:
    """Return the lowest uint8 probability that reaches a threshold, at least 1."""
    return min(max(round(threshold * FULL), 1), FULL)


def _clean(liver: Mask, tumour: Mask, probabilities: Probabilities) -> Mask:
    wanted = probabilities.post_processing
    room = padded(liver)
    flat = room.reshape(-1)
    runs = find_runs(room)
    if wanted.largest_component and runs.starts.size:
        parts, of_run = join(runs, across_slices=True)
        if parts > 1:
            sizes = np.bincount(of_run, weights=runs.lengths)
            largest = of_run == sizes.argmax()
            flat[runs.select(~largest).voxels()] = False
            runs = runs.select(largest)
    if wanted.fill_holes_cm2 > 0 and runs.starts.size:
        _, dy, dx = probabilities.geometry.spacing_mm
        small, wide = enclosed_holes(runs, wanted.fill_holes_cm2 * 100.0 / (dy * dx))
        flat[small.voxels()] = True
        inside = wide.voxels()
        flat[inside] = padded_at(tumour, inside)
    return room[:, :, :-1]


def _drop_small(tumour: Mask, probabilities: Probabilities) -> None:
    """Clear parts of a mask that are smaller than a tumour may be, in place."""
    smallest_ml = probabilities.post_processing.smallest_tumour_ml
    if smallest_ml <= 0:
        return
    runs = find_runs(padded(tumour))
    if runs.starts.size == 0:
        return
    parts, of_run = join(runs, across_slices=True)
    voxels = np.bincount(of_run, runs.lengths, parts)
    small = voxels * probabilities.geometry.voxel_ml < smallest_ml
    flat, columns = tumour.reshape(-1), tumour.shape[2]
    row, column = np.divmod(runs.select(small[of_run]).voxels(), columns + 1)
    flat[row * columns + column] = False


def enclosed_holes(runs: Runs, most_voxels: float) -> tuple[Runs, Runs]:
    """Return the holes that a slice of the mask encloses, small ones and wide ones.

    Parameters
    ----------
    runs : Runs
        Of the mask.
    most_voxels : float
        Largest area of a small hole, in voxels of the slice.
    """
    empty = gaps(runs)
    _, rows, columns = empty.shape
    row, column = np.divmod(empty.starts, columns + 1)
    at_border = (row % rows == 0) | (row % rows == rows - 1) | (column == 0)
    at_border |= column + empty.lengths == columns
    parts, of_run = join(empty, across_slices=False)
    is_open = np.zeros(parts, np.bool_)
    is_open[of_run[at_border]] = True
    is_small = np.bincount(of_run, empty.lengths, parts) <= most_voxels
    enclosed = ~is_open[of_run]
    small = enclosed & is_small[of_run]
    return empty.select(small), empty.select(enclosed & ~small)


def padded_at(mask: Mask, positions: NDArray[np.int64]) -> Mask:
    """Return a mask's values at positions of its padded form."""
    columns = mask.shape[2]
    row, column = np.divmod(positions, columns + 1)
    return np.asarray(mask.reshape(-1)[row * columns + column])

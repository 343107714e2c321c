"""What makes a result doubtful, told beside it: nothing is refused for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.box import bounding_box
from napari_liverseg.inference.decision import decide_in_box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.probabilities import Probabilities

NO_LIVER = (
    "The model found no liver in this CT: check that the abdomen is in the field "
    "of view."
)

CUT = (
    "The liver reaches the {end} slice of this CT: its volume is that of the part "
    "in view."
)

CUT_BESIDE = (
    "The liver reaches the edge of the slices on the patient's {sides} side: its "
    "volume is that of the part in view."
)

ENDS = (("lowest", "highest"), ("front", "back"), ("right", "left"))
"""What the first and the last plane along z, y and x are called."""

SMALL_ML, LARGE_ML = 400.0, 4000.0
"""Livers of adults have 0.7 to 3 litres; beyond these bounds the mask is doubtful."""

UNUSUAL = (
    "The liver found has {ml:,.0f} ml, which is unusual: check that this is an "
    "abdominal CT, and look at every slice."
)

CUT_CM2 = 5.0
"""A liver ends within a plane in less than this; more means that it goes on beyond."""


def doubts(probabilities: Probabilities) -> tuple[str, ...]:
    """Return what a reader should know of a model's own decision.

    Parameters
    ----------
    probabilities : Probabilities

    Returns
    -------
    tuple of str
        A sentence each: no liver, a liver of an unusual volume, or one that
        goes on beyond the first or the last slice, or beyond the sides of the
        slices. What a round field of view cuts within the slices is not seen.
    """
    inside = decide_in_box(probabilities) > 0
    if bounding_box(inside) is None:
        return (NO_LIVER,)
    ends, front_or_back, right_or_left = (
        _cut_at(inside, probabilities, axis) for axis in range(3)
    )
    cut = [CUT.format(end=end) for end in ends]
    if front_or_back or right_or_left:
        sides = " and ".join((*front_or_back, *right_or_left))
        cut.append(CUT_BESIDE.format(sides=sides))
    if cut:
        return tuple(cut)
    ml = float(np.count_nonzero(inside)) * probabilities.geometry.voxel_ml
    return () if SMALL_ML <= ml <= LARGE_ML else (UNUSUAL.format(ml=ml),)


def _cut_at(
    inside: NDArray[np.bool_], probabilities: Probabilities, axis: int
) -> tuple[str, ...]:
    """Return at which ends of an axis the mask goes on beyond the CT.

    The faces of the box of the probabilities are none of the CT's, and cut nothing.
    """
    last = probabilities.geometry.shape[axis] - 1
    return tuple(
        end
        for end, plane in zip(ENDS[axis], (0, last), strict=True)
        if _area_cm2(inside, probabilities, axis, plane) >= CUT_CM2
    )


def _area_cm2(
    inside: NDArray[np.bool_], probabilities: Probabilities, axis: int, plane: int
) -> float:
    """Return the area of the mask on a plane of the CT."""
    side = probabilities.box[axis]
    if not side.start <= plane < side.stop:
        return 0.0
    grid = probabilities.geometry
    face_cm2 = 10.0 * grid.voxel_ml / grid.spacing_mm[axis]
    return float(np.count_nonzero(inside.take(plane - side.start, axis))) * face_cm2

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

SMALL_ML, LARGE_ML = 400.0, 4000.0
"""Livers of adults have 0.7 to 3 litres; beyond these bounds the mask is doubtful."""

UNUSUAL = (
    "The liver found has {ml:,.0f} ml, which is unusual: check that this is an "
    "abdominal CT, and look at every slice."
)

CUT_CM2 = 5.0
"""A liver ends within a slice in less than this; more means that it goes on beyond."""


def doubts(probabilities: Probabilities) -> tuple[str, ...]:
    """Return what a reader should know of a model's own decision.

    Parameters
    ----------
    probabilities : Probabilities

    Returns
    -------
    tuple of str
        A sentence each: no liver, a liver of an unusual volume, or one that
        goes on beyond the first or the last slice.
    """
    inside = decide_in_box(probabilities) > 0
    if bounding_box(inside) is None:
        return (NO_LIVER,)
    grid = probabilities.geometry
    cut = tuple(
        CUT.format(end=end)
        for end, at in (("lowest", 0), ("highest", grid.shape[0] - 1))
        if _area_cm2(inside, probabilities, at) >= CUT_CM2
    )
    if cut:
        return cut
    ml = float(np.count_nonzero(inside)) * grid.voxel_ml
    return () if SMALL_ML <= ml <= LARGE_ML else (UNUSUAL.format(ml=ml),)


def _area_cm2(
    inside: NDArray[np.bool_], probabilities: Probabilities, plane: int
) -> float:
    """Return the area of the mask on a slice of the CT."""
    first, last = probabilities.box[0].start, probabilities.box[0].stop
    if not first <= plane < last:
        return 0.0
    _, dy, dx = probabilities.geometry.spacing_mm
    return float(np.count_nonzero(inside[plane - first])) * dy * dx / 100.0

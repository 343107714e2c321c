"""Hounsfield units in the smallest number type that holds them exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_liverseg.core.errors import CaseError
from napari_liverseg.core.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

AIR_HU = -1024
"""What stands where nothing was scanned."""

BELOW_FAT_HU = -200
"""Every CT of a body holds voxels below this: air in lungs, bowel or around."""

GREY_VALUES = 255

MOST_LABELS = 2000
LABELS_ALIKE = 0.8
"""Share of labelled voxels whose neighbour has the same label, in any label map."""

INT16 = np.iinfo(np.int16)


def as_hu(values: NDArray[Any]) -> NDArray[np.int16] | NDArray[np.float32]:
    """Return the values as int16 where they all fit exactly, else as float32.

    Parameters
    ----------
    values : ndarray
        Finite Hounsfield units of any number type; not copied without need.
    """
    if values.dtype == np.int16:
        return values
    if values.size and _fits(values):
        return values.astype(np.int16)
    return values.astype(np.float32, copy=False)


def _fits(values: NDArray[Any]) -> bool:
    if values.min() < INT16.min or values.max() > INT16.max:
        return False
    if values.dtype.kind != "f":
        return True
    # Slice by slice: most float volumes are told by their first slice.
    return all(np.array_equal(part, np.rint(part)) for part in values)


def looks_like_label_map(values: NDArray[Any]) -> bool:
    """Whether a volume is of labels and no CT.

    Its values are whole numbers from 0 up, and beside a labelled voxel nearly
    always lies one of the same label; the noise of a CT, be it squeezed to 8
    bits, makes neighbours differ.
    """
    if values.shape[-1] < 2 or values.min() < 0 or values.max() > MOST_LABELS:
        return False
    left, right = values[..., :-1], values[..., 1:]
    labelled = left > 0
    count = int(np.count_nonzero(labelled))
    same = int(np.count_nonzero(labelled & (left == right)))
    whole = values.dtype.kind != "f" or bool(np.array_equal(values, np.rint(values)))
    return whole and same > LABELS_ALIKE * count


def refuse_label_map(values: NDArray[Any], name: str) -> None:
    """Refuse a label map that was opened as a CT.

    Raises
    ------
    CaseError
    """
    if not looks_like_label_map(values):
        return
    found = f"'{name}' looks like a label map and is no CT."
    step = "Open the CT first; a label map is taken up under Correct or Compare."
    raise CaseError(found, step)


def hounsfield_problems(hu: NDArray[Any], name: str) -> list[Problem]:
    """Return the warning that values cannot be Hounsfield units, if so.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x)
    name : str
        File or series, for the message.
    """
    low, high = float(hu.min()), float(hu.max())
    if low < BELOW_FAT_HU:
        return []
    grey = " as in an 8-bit picture" if low >= 0 and high <= GREY_VALUES else ""
    message = (
        f"The values of '{name}' run from {low:.0f} to {high:.0f}{grey}, without "
        "any air: these are hardly Hounsfield units, and the model expects HU. Open "
        "the original CT, or do not trust the masks."
    )
    return [Problem("not-hounsfield", "warning", message)]

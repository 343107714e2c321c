"""A label map read for a case, in words where its values are foreign."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.errors import CaseError
from napari_liverseg.core.segmentation import LABELS
from napari_liverseg.io.formats import is_image_file
from napari_liverseg.io.images import read_image
from napari_liverseg.io.label_map import read_label_map
from napari_liverseg.io.segment_names import named_otherwise, segment_names

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.core.segmentation import Segmentation
    from napari_liverseg.core.volume import CTVolume

MOST_VALUES = 300
"""A file with more values is no label map that anybody wants to go through."""


class ForeignValuesError(CaseError):
    """A label map whose values the user must name.

    Parameters
    ----------
    refusal : CaseError
        What the reader said.
    values : mapping of int to str
        Every value but background, and what the file calls it; empty where it does
        not say.
    """

    def __init__(self, refusal: CaseError, values: Mapping[int, str]) -> None:
        self.values = values
        super().__init__(refusal.found, refusal.next_step)


def read_for_case(
    path: Path,
    volume: CTVolume,
    on_progress: OnProgress,
    is_cancelled: IsCancelled,
    *,
    resample: bool,
    values: Mapping[int, int] | None,
) -> Segmentation:
    """Read a label map on the grid of a case; for a job.

    Parameters
    ----------
    path : Path
    volume : CTVolume
    on_progress, is_cancelled : callable
        As for any job; reading cannot be stopped half-way.
    resample : bool
        Bring it to the CT's grid by nearest neighbour.
    values : mapping of int to int or None
        What its values mean.

    Raises
    ------
    ForeignValuesError
        It holds values that nobody has named, or names them otherwise.
    CaseError
        It is refused, or was resampled and lies elsewhere.
    """
    on_progress(0, 1, "Reading the label map")
    try:
        found = read_label_map(path, volume, resample=resample, values=values)
    except CaseError as refusal:
        foreign = _foreign_values(path)
        if foreign and values is None:
            raise ForeignValuesError(refusal, foreign) from None
        raise
    if resample and not found.labels.any():
        nothing = f"'{path.name}' has no liver and no tumour where the CT lies."
        raise CaseError(nothing, "Open the label map of this CT.")
    return found


def _foreign_values(path: Path) -> dict[int, str]:
    """Return the values of a label map beside 0, empty where they are as expected."""
    if not is_image_file(path):
        return {}
    found, names = np.unique(read_image(path).voxels), segment_names(path)
    whole = np.array_equal(found, np.rint(found))
    if not whole or len(found) > MOST_VALUES or found[0] < 0:
        return {}
    values = [int(value) for value in found if value]
    if found[-1] <= max(LABELS.values()) and not named_otherwise(values, names):
        return {}
    return {value: names.get(value, "") for value in values}

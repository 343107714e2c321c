"""The user's corrections of one case, apart from any model's masks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.box import bounding_box
from napari_liverseg.core.segmentation import TUMOUR
from napari_liverseg.editing.patch import Patch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from numpy.typing import NDArray

    from napari_liverseg.core.segmentation import Segmentation
    from napari_liverseg.editing.edited import EditedVoxels


@dataclass(frozen=True, eq=False)
class MaskCorrections:
    """Edited voxels of one mask and what the user made of them.

    Parameters
    ----------
    edited : Patch
        The voxels.
    values : ndarray of uint8, shape (count,)
        Their values, in the order of ``mask.ravel()``.
    """

    edited: Patch
    values: NDArray[np.uint8]

    def write(self, data: NDArray[np.uint8], edited: EditedVoxels) -> None:
        """Put the values into `data` and claim their voxels in `edited`."""
        mask = self.edited.mask
        data[self.edited.box][mask] = self.values
        edited.claim(self.edited.box, mask)


@dataclass(frozen=True, eq=False)
class Corrections:
    """All corrections of one case at one time.

    Parameters
    ----------
    shape : tuple of int
        Shape of the volume ``(z, y, x)``.
    saved_at : datetime
        When they were taken, with a time zone.
    masks : mapping of str to MaskCorrections
        By name of the mask, ``liver`` and ``tumour``; without edits: absent.
    """

    shape: tuple[int, int, int]
    saved_at: datetime
    masks: Mapping[str, MaskCorrections]

    @property
    def count(self) -> int:
        """Number of edited voxels in all masks."""
        return sum(mask.edited.count for mask in self.masks.values())


def corrections_from(
    segmentation: Segmentation, saved_at: datetime, reach_mm: float = 20.0
) -> Corrections:
    """Return finished masks as corrections, so that no model changes them.

    Every voxel of the masks, and all around them within `reach_mm`, becomes
    the user's, background included.

    Parameters
    ----------
    segmentation : Segmentation
        Masks of an earlier sitting.
    saved_at : datetime
        With a time zone.
    reach_mm : float
        Margin of the box that is claimed, in mm.
    """
    spacing = segmentation.geometry.spacing_mm
    margin = math.ceil(reach_mm / min(spacing))
    box = bounding_box(segmentation.labels, margin)
    if box is None:
        return Corrections(segmentation.geometry.shape, saved_at, {})
    labels = segmentation.labels[box]
    patch = Patch.pack(box, np.ones(labels.shape, np.bool_))
    masks = {
        "liver": MaskCorrections(patch, (labels > 0).astype(np.uint8).ravel()),
        "tumour": MaskCorrections(patch, (labels == TUMOUR).astype(np.uint8).ravel()),
    }
    return Corrections(segmentation.geometry.shape, saved_at, masks)


def corrections_of(
    data: NDArray[np.uint8], edited: EditedVoxels
) -> MaskCorrections | None:
    """Return the corrections of one mask, None when nothing is edited.

    Parameters
    ----------
    data : ndarray of uint8, shape (z, y, x)
        The mask with the user's values.
    edited : EditedVoxels
        Which of its voxels are the user's.
    """
    outer = edited.box
    if outer is None or edited.count == 0:
        return None
    inner = bounding_box(edited.mask[outer])
    if inner is None:
        return None
    z, y, x = (
        slice(o.start + i.start, o.start + i.stop)
        for o, i in zip(outer, inner, strict=True)
    )
    mask = edited.mask[z, y, x]
    return MaskCorrections(Patch.pack((z, y, x), mask), data[z, y, x][mask])

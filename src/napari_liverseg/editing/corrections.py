"""The user's corrections of one case, apart from any model's masks."""

from __future__ import annotations

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

    from napari_liverseg.core.geometry import Geometry
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
        """Put the values into `data` and claim their voxels in `edited`.

        Voxels that `edited` holds already keep their value: what was edited
        later is worth more.
        """
        box, mask = self.edited.box, self.edited.mask
        free = mask & ~edited.mask[box]
        if free.all():  # a whole volume: ten times faster than by mask
            data[box] = self.values.reshape(free.shape)
        else:
            data[box][free] = self.values[free[mask]]
        edited.claim(box, free)


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
    grid : Geometry or None
        Where the volume lies in the patient, None where a journal does not tell.
    """

    shape: tuple[int, int, int]
    saved_at: datetime
    masks: Mapping[str, MaskCorrections]
    grid: Geometry | None = None

    @property
    def count(self) -> int:
        """Number of edited voxels in all masks."""
        return sum(mask.edited.count for mask in self.masks.values())

    def fit(self, grid: Geometry) -> bool:
        """Whether each voxel lies where `grid` has the same one.

        Formats round a grid differently, so half a voxel is allowed; two parts of
        one series lie at least a whole slice apart.
        """
        if self.grid is None:
            return self.shape == grid.shape
        return self.grid.matches(grid, min(grid.spacing_mm) / 2)


def corrections_from(segmentation: Segmentation, saved_at: datetime) -> Corrections:
    """Return finished masks as corrections, so that no model changes them.

    Every voxel of the volume becomes the user's, background included: a part
    that a model adds far from the masks would not be in them.

    Parameters
    ----------
    segmentation : Segmentation
        Masks of an earlier sitting.
    saved_at : datetime
        With a time zone.
    """
    labels = segmentation.labels
    z, y, x = (slice(0, n) for n in labels.shape)
    patch = Patch.full((z, y, x))
    masks = {
        "liver": MaskCorrections(patch, (labels > 0).astype(np.uint8).ravel()),
        "tumour": MaskCorrections(patch, (labels == TUMOUR).astype(np.uint8).ravel()),
    }
    geometry = segmentation.geometry
    return Corrections(geometry.shape, saved_at, masks, geometry)


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
    if edited.count == edited.mask[outer].size:
        # Without masks of the volume's size: this follows every stroke.
        return MaskCorrections(Patch.full(outer), data[outer].flatten())
    inner = bounding_box(edited.mask[outer])
    if inner is None:
        return None
    z, y, x = (
        slice(o.start + i.start, o.start + i.stop)
        for o, i in zip(outer, inner, strict=True)
    )
    mask = edited.mask[z, y, x]
    return MaskCorrections(Patch.pack((z, y, x), mask), data[z, y, x][mask])

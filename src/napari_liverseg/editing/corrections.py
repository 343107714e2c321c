"""The user's corrections of one case, apart from any model's masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_liverseg.core.box import bounding_box
from napari_liverseg.editing.patch import Patch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

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

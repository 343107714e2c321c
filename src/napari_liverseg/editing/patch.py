"""A set of voxels inside a box, packed to bits so that a history stays small."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box


@dataclass(frozen=True, eq=False)
class Patch:
    """Voxels of a volume, as one bit each inside their box.

    Parameters
    ----------
    box : tuple of slice
        Where the voxels lie in the volume.
    bits : ndarray of uint8
        The mask of the box, flattened and packed.
    count : int
        Number of voxels in the mask.
    """

    box: Box
    bits: NDArray[np.uint8]
    count: int

    @classmethod
    def pack(cls, box: Box, mask: NDArray[np.bool_]) -> Patch:
        """Return the patch of the true voxels of `mask`, which fills `box`."""
        return cls(box, np.packbits(mask, axis=None), int(np.count_nonzero(mask)))

    @classmethod
    def full(cls, box: Box) -> Patch:
        """Return the patch of every voxel of `box`."""
        size = int(np.prod([s.stop - s.start for s in box]))
        return cls(box, np.full((size + 7) // 8, 255, np.uint8), size)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of the box along ``(z, y, x)``."""
        z, y, x = (s.stop - s.start for s in self.box)
        return z, y, x

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The voxels as a boolean array of the shape of the box."""
        size = int(np.prod(self.shape))
        return np.unpackbits(self.bits, count=size).astype(bool).reshape(self.shape)


def enclosing(boxes: Iterable[Box]) -> Box:
    """Return the smallest box around `boxes`, of which there is at least one."""
    z, y, x = (
        slice(min(s.start for s in sides), max(s.stop for s in sides))
        for sides in zip(*boxes, strict=True)
    )
    return z, y, x


def union(patches: list[Patch]) -> Patch:
    """Return one patch of all voxels of `patches`, of which there is at least one."""
    if len(patches) == 1:
        return patches[0]
    box = enclosing(patch.box for patch in patches)
    mask = np.zeros([s.stop - s.start for s in box], bool)
    for patch in patches:
        z, y, x = (
            slice(inner.start - outer.start, inner.stop - outer.start)
            for inner, outer in zip(patch.box, box, strict=True)
        )
        mask[z, y, x] |= patch.mask
    return Patch.pack(box, mask)

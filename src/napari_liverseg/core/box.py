"""Boxes of voxels: the part of a volume where something is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Box = tuple[slice, slice, slice]


def bounding_box(mask: NDArray[Any], margin: int = 0) -> Box | None:
    """Return the smallest box that holds every non-zero voxel, or None.

    Parameters
    ----------
    mask : ndarray, shape (z, y, x)
    margin : int
        Voxels added on every side, cut at the array's edge.
    """
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    if planes.size == 0:
        return None
    slab = mask[planes[0] : planes[-1] + 1]
    flat: NDArray[np.bool_] = np.any(slab, axis=0)
    rows, columns = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    ends = zip((planes, rows, columns), mask.shape, strict=True)
    z, y, x = (
        slice(max(int(i[0]) - margin, 0), min(int(i[-1]) + 1 + margin, n))
        for i, n in ends
    )
    return z, y, x

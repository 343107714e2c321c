"""Where windows lie on a volume, and which of them have to be run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.models.contract import Shape, Windows

Corner = tuple[int, int]


@dataclass(frozen=True)
class Row:
    """Windows that begin at the same plane.

    Parameters
    ----------
    z : int
        Their first plane.
    corners : tuple of (int, int)
        First voxel ``(y, x)`` of each, rising.
    """

    z: int
    corners: tuple[Corner, ...]


def lay_out(
    shape: Shape, windows: Windows, region: NDArray[np.bool_] | None = None
) -> tuple[Row, ...]:
    """Return the windows over a volume, row by row from the lowest plane.

    Parameters
    ----------
    shape : tuple of int
        Voxels of the volume, no smaller than a window.
    windows : Windows
    region : ndarray of bool, shape (z, y, x), or None
        Windows without a voxel of it are left out; those that are run lie where
        they would lie anyway, so every voxel of the region gets the same value.
    """
    z, y, x = (
        axis_starts(size, window, windows)
        for size, window in zip(shape, windows.patch, strict=True)
    )
    pz, py, px = windows.patch
    rows = []
    for first in z:
        slab = None if region is None else _flat(region[first : first + pz])
        corners = tuple(
            (r, c)
            for r, c in product(y, x)
            if slab is None or slab[r : r + py, c : c + px].any()
        )
        if corners:
            rows.append(Row(first, corners))
    return tuple(rows)


def _flat(slab: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return np.asarray(np.any(slab, axis=0))


def axis_starts(size: int, window: int, windows: Windows) -> tuple[int, ...]:
    """Return the first voxels of the windows along one axis.

    ``monai`` takes even steps and moves the last window back to the edge;
    ``nnunet`` takes as few windows as that overlap allows and spreads them
    evenly, as `compute_steps_for_sliding_window` of nnU-Net v2 does.
    """
    if size <= window:
        return (0,)
    if windows.placement == "nnunet":
        count = math.ceil((size - window) / (window * (1 - windows.overlap))) + 1
        step = (size - window) / max(count - 1, 1)
        return tuple(int(np.round(step * i)) for i in range(count))
    step = max(int(window * (1 - windows.overlap)), 1)
    count = 1 + math.ceil((size - window) / step)
    return tuple(min(i * step, size - window) for i in range(count))


def filled(size: int, window: int, windows: Windows) -> int:
    """Return the most voxels along an axis for which no further window is needed."""
    count = len(axis_starts(size, window, windows))
    step = window * (1 - windows.overlap)
    if windows.placement == "monai":
        step = max(int(step), 1)
    return window + int((count - 1) * step)


def count_windows(rows: tuple[Row, ...]) -> int:
    """Return how many windows rows hold."""
    return sum(len(row.corners) for row in rows)


def centre_out(rows: tuple[Row, ...], patch: Shape, focus: float) -> tuple[Row, ...]:
    """Return the rows by their distance from a plane, the nearest first."""
    return tuple(sorted(rows, key=lambda r: (abs(r.z + patch[0] / 2 - focus), r.z)))

"""How a program writes a mask without touching what the user has edited."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box


def write_around(
    data: NDArray[np.uint8],
    edited: NDArray[np.bool_],
    box: Box,
    block: NDArray[np.uint8] | int,
) -> None:
    """Write `block` into `data` in place, except where voxels are edited.

    Parameters
    ----------
    data : ndarray of uint8, shape (z, y, x)
        The mask; its array is kept, so that views and histories stay valid.
    edited : ndarray of bool, shape (z, y, x)
        Voxels that belong to the user.
    box : tuple of slice
        Where `block` lies in `data`.
    block : ndarray of uint8, shape of the box, or int
        What the program says.
    """
    np.copyto(data[box], np.uint8(block), where=~edited[box])


def block_from(
    source: NDArray[np.uint8], source_box: Box, wanted: Box
) -> NDArray[np.uint8]:
    """Return the part of `source` inside the box `wanted`, 0 where it has none.

    Parameters
    ----------
    source : ndarray of uint8, shape of `source_box`
    source_box, wanted : tuple of slice
        Boxes in the same volume.
    """
    block = np.zeros([s.stop - s.start for s in wanted], np.uint8)
    starts = [max(a.start, b.start) for a, b in zip(source_box, wanted, strict=True)]
    stops = [min(a.stop, b.stop) for a, b in zip(source_box, wanted, strict=True)]
    if any(a >= b for a, b in zip(starts, stops, strict=True)):
        return block
    ends = list(zip(starts, stops, strict=True))
    block[_within(ends, wanted)] = source[_within(ends, source_box)]
    return block


def _within(ends: list[tuple[int, int]], box: Box) -> Box:
    z, y, x = (
        slice(start - side.start, stop - side.start)
        for (start, stop), side in zip(ends, box, strict=True)
    )
    return z, y, x

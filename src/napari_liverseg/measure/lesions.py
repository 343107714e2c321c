"""What counts as one lesion: a 6-connected component of the tumour mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_liverseg.core.box import bounding_box

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_LABELS = 255
"""A uint8 label map holds no more lesions of its own value."""


def label_lesions(mask: NDArray[np.generic]) -> tuple[NDArray[np.uint8], int]:
    """Return the lesions of a mask, numbered by falling size.

    Parameters
    ----------
    mask : ndarray, shape (z, y, x)
        Any non-zero value is tumour.

    Returns
    -------
    labels : ndarray of uint8, shape (z, y, x)
        1 is the largest lesion; equal sizes keep the order in which a scan
        along ``(z, y, x)`` meets them. All lesions past the 254th share 255.
    count : int
        How many lesions there are, beyond 255 too.
    """
    labels = np.zeros(mask.shape, np.uint8)
    box = bounding_box(mask)
    if box is None:
        return labels, 0
    found, sizes = find_components(mask[box] != 0)
    ranks = np.zeros(sizes.size + 1, np.uint8)
    by_size = np.argsort(-sizes, kind="stable")
    ranks[by_size + 1] = np.minimum(np.arange(1, sizes.size + 1), MOST_LABELS)
    labels[box] = ranks[found]
    return labels, int(sizes.size)


def lesion_voxels(mask: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return the size in voxels of every lesion of a mask, largest first.

    Parameters
    ----------
    mask : ndarray, shape (z, y, x)
        Any non-zero value is tumour.
    """
    box = bounding_box(mask)
    if box is None:
        return np.zeros(0, np.int64)
    return -np.sort(-find_components(mask[box] != 0)[1])


def find_components(
    mask: NDArray[np.bool_],
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the 6-connected components of a mask, numbered in scan order.

    Parameters
    ----------
    mask : ndarray of bool, shape (z, y, x)

    Returns
    -------
    labels : ndarray of int32, shape (z, y, x)
        0 outside, from 1 inside.
    sizes : ndarray of int64, shape (count,)
        Voxels of component 1, 2, ...
    """
    labels = np.zeros(mask.shape, np.int32)
    box = bounding_box(mask)
    if box is None:
        return labels, np.zeros(0, np.int64)
    count = ndimage.label(mask[box], output=labels[box])
    # Those inside alone: most of a box is none of it.
    sizes = np.bincount(labels[box][mask[box]], minlength=count + 1)
    return labels, sizes[1:].astype(np.int64)

"""nnU-Net's resampling of images, as one small matrix per axis.

nnU-Net v2 calls scikit-image's `resize` with cubic splines, which is
`scipy.ndimage.zoom` on both grids' edges; where one axis is much coarser than
the others it resizes each slice and takes the nearest slice along that axis.
A spline is linear in its samples, so what it does to unit vectors is a matrix.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scipy import ndimage

from napari_liverseg.core.box import bounding_box
from napari_liverseg.core.progress import never_cancelled, stop_if

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.core.progress import IsCancelled
    from napari_liverseg.models.contract import Shape

ANISOTROPIC = 3.0
"""From a ratio of spacings above this, slices are resampled one by one."""

NEGLIGIBLE = 1e-9
"""Weights below this are far from the voxel and do not reach float32."""

ROWS_AT_ONCE = 32
"""New voxels along an axis that are made at a time from the few that they need."""


def nnunet_shape(shape: Shape, spacing_mm: Triple, target_mm: Triple) -> Shape:
    """Return the voxels of nnU-Net's grid for a target spacing, at least 1 an axis."""
    sizes = zip(shape, spacing_mm, target_mm, strict=True)
    # In nnU-Net's order of operations, so that halves round the same way.
    z, y, x = (max(1, round(old / new * n)) for n, old, new in sizes)
    return z, y, x


def nonzero_box(hu: NDArray[Any]) -> Box:
    """Return the box of all voxels other than 0, as nnU-Net crops.

    nnU-Net fills holes of that mask first, which never moves its box. Of a CT
    that is 0 everywhere the box is all.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x)
        Hounsfield units.
    """
    z, y, x = (slice(0, n) for n in hu.shape)
    return bounding_box(hu) or (z, y, x)


def coarse_axis(spacing_mm: Triple) -> int | None:
    """Return the one axis that is much coarser than another, or None."""
    most = max(spacing_mm)
    if most / min(spacing_mm) <= ANISOTROPIC:
        return None
    coarse = [axis for axis, s in enumerate(spacing_mm) if s == most]
    return coarse[0] if len(coarse) == 1 else None


def separate_axis(old_spacing: Triple, new_spacing: Triple) -> int | None:
    """Return the axis along which slices are taken, not mixed, or None.

    The old grid decides where it is anisotropic at all, else the new one.
    """
    if max(old_spacing) / min(old_spacing) > ANISOTROPIC:
        return coarse_axis(old_spacing)
    return coarse_axis(new_spacing)


def resample_nnunet(
    image: torch.Tensor,
    shape: Shape,
    old_spacing: Triple,
    new_spacing: Triple,
    is_cancelled: IsCancelled = never_cancelled,
) -> torch.Tensor:
    """Resample a normalised image to another number of voxels, as nnU-Net does.

    Parameters
    ----------
    image : Tensor, float32, shape (z, y, x)
    shape : tuple of int
        Voxels wanted, over the same extent.
    old_spacing, new_spacing : tuple of float
        Spacing of the image and of the result, which decide whether an axis is
        resampled by itself.
    is_cancelled : callable
        Asked before each axis.

    Returns
    -------
    Tensor, float32
        Within the range of the image, or of each slice where slices are
        resampled one by one.

    Raises
    ------
    CancelledError
        Once `is_cancelled` returns True.
    """
    if tuple(image.shape) == tuple(shape):
        return image
    apart = separate_axis(old_spacing, new_spacing)
    mixed = [axis for axis in range(3) if axis != apart]
    lowest, highest = image.amin(mixed, True), image.amax(mixed, True)
    found = image
    for axis in sorted(mixed, key=lambda a: shape[a] / image.shape[a]):
        stop_if(is_cancelled)
        found = _along(found, axis, shape[axis])
    found = torch.maximum(torch.minimum(found, highest), lowest)
    if apart is None:
        return found
    nearest = torch.from_numpy(_nearest(image.shape[apart], shape[apart]))
    return found.index_select(apart, nearest)


@lru_cache(maxsize=8)
def spline_operator(n_in: int, n_out: int, order: Literal[1, 3] = 3) -> torch.Tensor:
    """Return the matrix of one axis of `resize`, float64, shape (n_out, n_in).

    Parameters
    ----------
    n_in, n_out : int
        Voxels before and after.
    order : int
        Of the spline: 3 for nnU-Net's images, 1 for its logits.
    """
    if n_in == n_out:
        return torch.eye(n_in, dtype=torch.float64)
    columns = [
        ndimage.zoom(unit, n_out / n_in, order=order, mode="nearest", grid_mode=True)
        for unit in np.eye(n_in)
    ]
    return torch.from_numpy(np.stack(columns, axis=1))


def _along(image: torch.Tensor, axis: int, n_out: int) -> torch.Tensor:
    """Resample one axis, a few new voxels at a time from the old ones near them."""
    n_in = image.shape[axis]
    if n_in == n_out:
        return image
    operator = spline_operator(n_in, n_out)
    size = list(image.shape)
    size[axis] = n_out
    result = image.new_empty(size)
    for start in range(0, n_out, ROWS_AT_ONCE):
        rows = operator[start : start + ROWS_AT_ONCE]
        used = torch.nonzero((rows.abs() > NEGLIGIBLE).any(dim=0))[:, 0]
        first, count = int(used[0]), int(used[-1] - used[0]) + 1
        near = image.narrow(axis, first, count)
        weights = rows[:, first : first + count].to(image.dtype)
        part = result.narrow(axis, start, rows.shape[0])
        part.copy_(_multiply(weights, near, axis))
    return result


def _multiply(weights: torch.Tensor, near: torch.Tensor, axis: int) -> torch.Tensor:
    """Return the product of a matrix with one axis of a volume."""
    if axis == 2:
        return near @ weights.T
    if axis == 1:
        return weights @ near
    flat = near.reshape(near.shape[0], -1)
    return (weights @ flat).reshape(-1, *near.shape[1:])


def nearest_operator(n_in: int, n_out: int) -> torch.Tensor:
    """Return the matrix that takes the nearest slice, float32, shape (n_out, n_in)."""
    return torch.eye(n_in)[torch.from_numpy(_nearest(n_in, n_out))]


def _nearest(n_in: int, n_out: int) -> NDArray[np.int64]:
    """Return which old slice each new one takes, in SciPy's own rounding."""
    centres = n_in / n_out * (np.arange(n_out) + 0.5) - 0.5
    index = np.arange(n_in, dtype=np.float64)
    taken = ndimage.map_coordinates(index, centres[None], order=0, mode="nearest")
    return taken.astype(np.int64)

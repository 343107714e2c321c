"""What a network sees of a CT: the one home of preprocessing, training included.

Both grids cover the same physical extent along the volume's own axes, voxel
edge to voxel edge, so voxel ``j`` of ``n_out`` is centred at
``(j + 0.5) * n_in / n_out - 0.5`` of the other grid. Each axis is one small
matrix: linear interpolation where the grid gets finer, a triangle that reaches
to the next new voxel where it gets coarser, which keeps fine structure from
aliasing.
World axes play no part: an oblique scan is run as it was acquired.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_liverseg.core.progress import never_cancelled, stop_if
from napari_liverseg.models.spec import ABDOMEN_WINDOW_HU

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.core.progress import IsCancelled

Shape = tuple[int, int, int]

AIR = -1.0
"""What `normalise` makes of air; windows are padded with it."""

HU_RANGE = (-1024.0, 3071.0)
"""HU of a 12-bit scanner: fillers outside the round field of view (-2000,
-3024) and metal must not bleed into their neighbours."""

CHUNK_VOXELS = 4_000_000
"""Voxels of the CT that are held as float32 at a time."""


BAND = 32
"""New voxels of an axis that are made in one product."""


def normalise(
    hu: torch.Tensor, window: tuple[float, float] = ABDOMEN_WINDOW_HU
) -> torch.Tensor:
    """Return HU clipped to a window and mapped to -1..1, as float32.

    Parameters
    ----------
    hu : Tensor, any shape
        Hounsfield units, on the model's grid.
    window : tuple of float
        HU that become -1 and 1.
    """
    low, high = window
    scaled = (hu.to(torch.float32) - low) * (2.0 / (high - low)) - 1.0
    return scaled.clamp_(-1.0, 1.0)


def model_shape(shape: Shape, spacing_mm: Triple, target_mm: Triple) -> Shape:
    """Return the voxels ``(z, y, x)`` of the grid nearest to the target spacing.

    The grid covers the extent exactly, so its spacing differs from the target
    by at most half a voxel over the whole axis.
    """
    sizes = zip(shape, spacing_mm, target_mm, strict=True)
    z, y, x = (max(1, round(n * s / t)) for n, s, t in sizes)
    return z, y, x


def to_model_grid(
    hu: NDArray[Any],
    spacing_mm: Triple,
    target_mm: Triple,
    is_cancelled: IsCancelled = never_cancelled,
    within: Box | None = None,
) -> torch.Tensor:
    """Resample a CT to a model's spacing, a few slices at a time.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x)
        Hounsfield units, of any real type and memory order.
    spacing_mm, target_mm : tuple of float
        Spacing of `hu` and of the model, ``(z, y, x)``.
    is_cancelled : callable
        Asked once per chunk.
    within : tuple of slice or None
        The part of the model's grid that is wanted; None is all of it. Voxels of the
        CT that have no share in it are not touched.

    Returns
    -------
    Tensor, float32, shape of `model_shape`, or of the part
        Hounsfield units within `HU_RANGE`.

    Raises
    ------
    CancelledError
        Once `is_cancelled` returns True.
    """
    z, y, x = hu.shape
    shape = model_shape((z, y, x), spacing_mm, target_mm)
    box = within or tuple(slice(0, n) for n in shape)
    pairs = zip(hu.shape, shape, box, strict=True)
    (planes, along_z), (rows, along_y), (columns, along_x) = (
        _part_of_axis(n_in, n_out, side) for n_in, n_out, side in pairs
    )
    hu = hu[planes, rows, columns]
    wanted = along_z.shape[0], along_y.shape[0], along_x.shape[0]
    coarse = torch.zeros(wanted)
    step = max(1, CHUNK_VOXELS // (hu.shape[1] * hu.shape[2]))
    for start in range(0, hu.shape[0], step):
        stop_if(is_cancelled)
        slab = _slab(hu, start, start + step)
        weights = along_z[:, start : start + step]
        touched = torch.nonzero(weights.any(dim=1))[:, 0]
        reach = slice(int(touched[0]), int(touched[-1]) + 1)
        weights = weights[reach]
        if len(weights) < len(slab):  # along z first, where fewer slices are left then
            coarse[reach] += _resample_plane(_along_z(weights, slab), along_y, along_x)
        else:
            plane = _resample_plane(slab, along_y, along_x)
            coarse[reach] += _along_z(weights, plane)
    return coarse


def resample(volume: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Resample a whole volume to another number of voxels over the same extent.

    Parameters
    ----------
    volume : Tensor, float32, shape (z, y, x)
    shape : tuple of int
        Voxels wanted, ``(z, y, x)``.
    """
    _, rows, columns = volume.shape
    along_y, along_x = axis_operator(rows, shape[1]), axis_operator(columns, shape[2])
    plane = _resample_plane(volume, along_y, along_x)
    if volume.shape[0] == shape[0]:
        return plane
    return _along_z(axis_operator(volume.shape[0], shape[0]), plane)


def axis_operator(n_in: int, n_out: int) -> torch.Tensor:
    """Return the matrix that resamples one axis, float32, shape (n_out, n_in).

    Rows sum to 1, a ramp is moved without error, beyond the outer voxel centres
    the edge value holds, and the matrix of a reversed axis is this one reversed,
    to the last bit.
    """
    scale = n_in / n_out
    reach = max(scale, 1.0)
    centres = (np.arange(n_out) + 0.5) * scale - 0.5
    offset = np.arange(n_in)[None, :] - centres[:, None]
    weights = np.clip(1.0 - np.abs(offset) / reach, 0.0, None)
    whole = (centres - reach >= -1.0) & (centres + reach <= n_in)
    weights[whole] = _centred(weights[whole], offset[whole])
    weights /= weights.sum(axis=1, keepdims=True)
    symmetric = (weights + weights[::-1, ::-1]) / 2.0
    return torch.from_numpy(symmetric.astype(np.float32))


def _centred(
    weights: NDArray[np.float64], offset: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Tilt each row until its centre of mass lies at offset 0.

    Samples of a triangle have their centre of mass up to 0.03 voxels beside it,
    which would shift every structure.
    """
    first = (weights * offset).sum(axis=1, keepdims=True)
    second = (weights * offset**2).sum(axis=1, keepdims=True)
    tilt = np.divide(first, second, out=np.zeros_like(first), where=second > 0)
    return np.asarray(weights * (1.0 - tilt * offset))


def _slab(hu: NDArray[Any], start: int, stop: int) -> torch.Tensor:
    """Return slices as float32; a copy, since views of LPS volumes run backwards."""
    slab = torch.from_numpy(np.array(hu[start:stop], dtype=np.float32, order="C"))
    return slab.clamp_(*HU_RANGE)


def _part_of_axis(n_in: int, n_out: int, side: slice) -> tuple[slice, torch.Tensor]:
    """Return the voxels that have a share in a part of the new axis, and the shares."""
    shares = axis_operator(n_in, n_out)[side]
    touched = torch.nonzero(shares.any(dim=0))[:, 0]
    reach = slice(int(touched[0]), int(touched[-1]) + 1)
    return reach, shares[:, reach]


def _resample_plane(
    slab: torch.Tensor, along_y: torch.Tensor, along_x: torch.Tensor
) -> torch.Tensor:
    """Resample the last two axes of a slab ``(z, y, x)`` by their matrices."""
    if not _is_identity(along_x):
        parts = [slab[..., at] @ some.T for at, some in _bands(along_x)]
        slab = torch.cat(parts, dim=-1)
    if not _is_identity(along_y):
        parts = [some @ slab[:, at] for at, some in _bands(along_y)]
        slab = torch.cat(parts, dim=1)
    return slab


def _bands(operator: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
    """Yield some rows of an axis's matrix, and the voxels that have a share in them.

    The matrix is nearly empty: most of a product with all of it would be zeros.
    """
    for rows in torch.split(operator, BAND):
        touched = torch.nonzero(rows.any(dim=0))[:, 0]
        at = slice(int(touched[0]), int(touched[-1]) + 1)
        yield at, rows[:, at]


def _along_z(operator: torch.Tensor, slab: torch.Tensor) -> torch.Tensor:
    """Resample the first axis of a slab ``(z, y, x)`` by its matrix."""
    planes, rows, columns = slab.shape
    flat = operator @ slab.reshape(planes, -1)
    return flat.reshape(-1, rows, columns)


def _is_identity(operator: torch.Tensor) -> bool:
    rows, columns = operator.shape
    return rows == columns and bool((operator.diagonal() == 1).all())

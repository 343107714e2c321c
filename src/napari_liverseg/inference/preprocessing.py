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
    from numpy.typing import NDArray

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

    Returns
    -------
    Tensor, float32, shape of `model_shape`
        Hounsfield units within `HU_RANGE`.

    Raises
    ------
    CancelledError
        Once `is_cancelled` returns True.
    """
    planes, rows, columns = hu.shape
    shape = model_shape((planes, rows, columns), spacing_mm, target_mm)
    along_z = axis_operator(planes, shape[0])
    coarse = torch.zeros((shape[0], shape[1] * shape[2]))
    step = max(1, CHUNK_VOXELS // (rows * columns))
    for start in range(0, planes, step):
        stop_if(is_cancelled)
        slab = _slab(hu, start, start + step)
        flat = _resample_plane(slab, shape[1:]).reshape(slab.shape[0], -1)
        weights = along_z[:, start : start + step]
        touched = torch.nonzero(weights.any(dim=1))[:, 0]
        first, last = int(touched[0]), int(touched[-1]) + 1
        coarse[first:last].addmm_(weights[first:last], flat)
    return coarse.reshape(shape)


def resample(volume: torch.Tensor, shape: Shape) -> torch.Tensor:
    """Resample a whole volume to another number of voxels over the same extent.

    Parameters
    ----------
    volume : Tensor, float32, shape (z, y, x)
    shape : tuple of int
        Voxels wanted, ``(z, y, x)``.
    """
    plane = _resample_plane(volume, shape[1:])
    if volume.shape[0] == shape[0]:
        return plane
    operator = axis_operator(volume.shape[0], shape[0])
    return (operator @ plane.reshape(volume.shape[0], -1)).reshape(shape)


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


def _resample_plane(slab: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Resample the last two axes of a slab ``(z, y, x)``."""
    rows, columns = slab.shape[1:]
    if columns != shape[1]:
        slab = slab @ axis_operator(columns, shape[1]).T
    if rows != shape[0]:
        slab = axis_operator(rows, shape[0]) @ slab
    return slab

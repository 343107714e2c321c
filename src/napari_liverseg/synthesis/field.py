"""Smooth random fields over space: the source of all irregularity in a phantom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box

Point = tuple[float, float, float]
"""Millimetres ``(z, y, x)``."""

Axes = tuple["NDArray[np.float32]", "NDArray[np.float32]", "NDArray[np.float32]"]
"""Millimetre coordinates of the voxels along z, y and x."""

# Mean of the sum of squared cubic B-spline weights along one axis.
_AXIS_VARIANCE = 0.479


def grid_axes(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    start_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Axes:
    """Return the voxel centres of a straight grid in mm, per axis ``(z, y, x)``."""
    z, y, x = (
        (start + spacing * np.arange(n)).astype(np.float32)
        for n, spacing, start in zip(shape, spacing_mm, start_mm, strict=True)
    )
    return z, y, x


def box_between(axes_mm: Axes, low_mm: Point, high_mm: Point) -> Box:
    """Return the box of the voxels between two corners in mm; it may be empty."""
    z, y, x = (
        slice(int(np.searchsorted(a, low)), int(np.searchsorted(a, high)))
        for a, low, high in zip(axes_mm, low_mm, high_mm, strict=True)
    )
    return z, y, x


def cut_axes(axes_mm: Axes, box: Box) -> Axes:
    """Return the voxel centres of a box."""
    z, y, x = (a[s] for a, s in zip(axes_mm, box, strict=True))
    return z, y, x


def smooth_field(
    axes_mm: Axes, scale_mm: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw a smooth field of mean 0 and standard deviation about 1.

    A coarse grid of normal values, `scale_mm` apart, is interpolated by cubic
    B-splines, axis by axis.

    Parameters
    ----------
    axes_mm : tuple of ndarray
        Coordinates along z, y, x in mm.
    scale_mm : float
        Distance of the random nodes; bumps are about twice as wide.

    Returns
    -------
    ndarray of float32, shape (z, y, x)
    """
    weights = [_spline_weights(axis, scale_mm) for axis in axes_mm]
    nodes = rng.standard_normal([w.shape[1] for w in weights], dtype=np.float32)
    field = nodes @ weights[2].T
    field = np.matmul(weights[1], field)
    flat = weights[0] @ field.reshape(field.shape[0], -1)
    shape = tuple(len(axis) for axis in axes_mm)
    return np.asarray(flat.reshape(shape) / _AXIS_VARIANCE**1.5, np.float32)


def tubes(
    axes_mm: Axes, scale_mm: float, width: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw tubes along the curves where two smooth fields vanish together.

    Parameters
    ----------
    axes_mm : tuple of ndarray
        Coordinates along z, y, x in mm.
    scale_mm : float
        Of the fields, see `smooth_field`.
    width : float
        Value of the fields at which a tube ends.

    Returns
    -------
    ndarray of float32, shape (z, y, x)
        1 in the inner half of a tube, falling to 0 at its wall.
    """
    distance = np.hypot(*(smooth_field(axes_mm, scale_mm, rng) for _ in range(2)))
    return np.asarray(np.clip((width - distance) / (0.5 * width), 0, 1), np.float32)


def _spline_weights(
    axis_mm: NDArray[np.float32], scale_mm: float
) -> NDArray[np.float32]:
    """Return the cubic B-spline weight of each node for each coordinate."""
    position = axis_mm / scale_mm
    first = int(np.floor(position.min())) - 1
    last = int(np.floor(position.max())) + 2
    distance = np.abs(position[:, None] - np.arange(first, last + 1)[None])
    near = 2 / 3 - distance**2 + distance**3 / 2
    far = np.clip(2 - distance, 0, None) ** 3 / 6
    return np.asarray(np.where(distance < 1, near, far), np.float32)

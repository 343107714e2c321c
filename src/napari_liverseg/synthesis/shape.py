"""Ellipsoids and tubes in millimetres: the shapes that organs are built from."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_liverseg.synthesis.field import Axes, Point


def ellipsoid(
    axes_mm: Axes,
    centre: Point,
    radii: Point,
    turns_degrees: Point = (0.0, 0.0, 0.0),
) -> NDArray[np.float32]:
    """Return each voxel's distance from the centre in radii: inside is below 1.

    Parameters
    ----------
    centre, radii : tuple of float
        Millimetres ``(z, y, x)``.
    turns_degrees : tuple of float
        Rotation about z, then y, then x; about z from left (+x) to front (-y).
    """
    offsets = _offsets(axes_mm, centre)
    matrix = Rotation.from_euler("ZYX", turns_degrees, degrees=True).as_matrix()
    # The rotation is written for (x, y, z); rows and columns are reversed to (z, y, x).
    turned = matrix[::-1, ::-1].astype(np.float32)
    squares = np.float32(0)
    for row, radius in zip(turned, radii, strict=True):
        along = sum(r * o for r, o in zip(row, offsets, strict=True))
        squares = squares + np.square(along / np.float32(radius))
    return np.asarray(np.sqrt(squares), np.float32)


def tube(
    axes_mm: Axes, points: Sequence[Point], radius_mm: float
) -> NDArray[np.float32]:
    """Return each voxel's distance from a polyline in radii: inside is below 1."""
    nearest: NDArray[np.float32] | None = None
    for start, end in itertools.pairwise(points):
        distance = _segment_distance(axes_mm, start, end)
        nearest = distance if nearest is None else np.minimum(nearest, distance)
    if nearest is None:
        msg = "a tube needs at least two points"
        raise ValueError(msg)
    return nearest / np.float32(radius_mm)


def _segment_distance(axes_mm: Axes, start: Point, end: Point) -> NDArray[np.float32]:
    offsets = _offsets(axes_mm, start)
    way = np.subtract(end, start).astype(np.float32)
    length = max(float(way @ way), 1e-6)
    along = sum(w * o for w, o in zip(way, offsets, strict=True)) / np.float32(length)
    along = np.clip(along, 0, 1)
    squares = sum(np.square(o - along * w) for w, o in zip(way, offsets, strict=True))
    return np.asarray(np.sqrt(squares), np.float32)


def _offsets(axes_mm: Axes, centre: Point) -> Axes:
    z, y, x = (a - np.float32(c) for a, c in zip(axes_mm, centre, strict=True))
    return z[:, None, None], y[None, :, None], x[None, None, :]

"""Tilted or uneven slices put on a straight, even grid, when the user decides so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_liverseg.core.geometry import Geometry, as_matrix
from napari_liverseg.io.hounsfield import AIR_HU

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.problem import Problem
    from napari_liverseg.io.stack import Stack

Grid = tuple["NDArray[Any]", Geometry]


def straightened(
    hu: NDArray[Any], slices: Stack, problems: tuple[Problem, ...]
) -> Grid:
    """Return voxels and grid with the gantry tilt and uneven spacing taken out.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x)
        The slices as scanned, in the order of `slices`.
    slices : Stack
    problems : tuple of Problem
        What was found; only problems among them are repaired.

    Returns
    -------
    tuple of ndarray and Geometry
        Linear interpolation within slices takes out the tilt (the grid keeps the
        slices' own plane and grows so that no voxel is lost), linear
        interpolation between slices the uneven spacing. Air fills what was not
        scanned. This straight grid is the volume's source grid from here on.
    """
    codes = {p.code for p in problems}
    geometry = slices.geometry()
    if "gantry-tilt" in codes:
        hu, geometry = _upright(hu, slices, geometry)
    if "uneven-spacing" in codes:
        hu, geometry = _even(hu, slices, geometry)
    return hu, geometry


def _upright(hu: NDArray[Any], slices: Stack, geometry: Geometry) -> Grid:
    """Shift each slice by its drift, on a grid that holds all slices' corners."""
    pixels = slices.drifts_mm / np.asarray(geometry.spacing_mm[1:])
    pixels[np.abs(pixels) < 1e-6] = 0.0
    start = np.floor(pixels.min(axis=0)).astype(int)
    grown = np.ceil(pixels.max(axis=0)).astype(int) - start
    shape = (hu.shape[0], hu.shape[1] + int(grown[0]), hu.shape[2] + int(grown[1]))
    upright = np.full(shape, AIR_HU, hu.dtype)
    for i, picture in enumerate(hu):
        down, right = pixels[i] - start
        upright[i] = _round_like(hu, _shifted(picture, shape[1:], (down, right)))
    return upright, _moved(geometry, shape, start)


def _shifted(
    picture: NDArray[Any], shape: tuple[int, ...], shift: tuple[float, float]
) -> NDArray[np.float32]:
    """Return a slice moved by a part of pixels, linear, with air around."""
    moved = np.full(shape, AIR_HU, np.float32)
    moved[: picture.shape[0], : picture.shape[1]] = picture
    for axis, amount in enumerate(shift):
        whole = int(np.floor(amount))
        part = np.float32(amount - whole)
        moved = np.roll(moved, whole, axis)
        if part > 0:
            moved = (1 - part) * moved + part * np.roll(moved, 1, axis)
    return moved


def _moved(
    geometry: Geometry, shape: tuple[int, int, int], start: NDArray[np.int_]
) -> Geometry:
    step = np.asarray(geometry.direction) * np.asarray(geometry.spacing_mm)
    origin = np.asarray(geometry.origin_mm) + step[:, 1:] @ start
    z, y, x = (float(v) for v in origin)
    return Geometry(shape, geometry.spacing_mm, (z, y, x), geometry.direction)


def _even(hu: NDArray[Any], slices: Stack, geometry: Geometry) -> Grid:
    """Interpolate between slices onto even depths from the first to the last one."""
    depths = slices.depths_mm - slices.depths_mm[0]
    count = max(round(float(depths[-1] / np.median(np.diff(depths)))), 1) + 1
    wanted = np.linspace(0.0, float(depths[-1]), count)
    above = np.clip(np.searchsorted(depths, wanted), 1, len(depths) - 1)
    below = above - 1
    part = (wanted - depths[below]) / (depths[above] - depths[below])
    even = np.empty((count, *hu.shape[1:]), hu.dtype)
    for i, (low, high, weight) in enumerate(zip(below, above, part, strict=True)):
        mixed = (1 - weight) * hu[low].astype(np.float32) + weight * hu[high]
        even[i] = _round_like(hu, mixed)
    spacing = (float(wanted[1]), *geometry.spacing_mm[1:])
    shape = (count, *geometry.shape[1:])
    direction = as_matrix(np.asarray(geometry.direction))
    return even, Geometry(shape, spacing, geometry.origin_mm, direction)


def _round_like(hu: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    return np.rint(values) if hu.dtype.kind == "i" else values

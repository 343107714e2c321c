"""How far the surfaces of two masks lie apart, by the LiTS definitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from napari_liverseg.core.box import bounding_box

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.geometry import Triple

ALL_CORES = -1
"""How `scipy.spatial.cKDTree` spells 'a thread on every core'."""


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances in mm between the surfaces of a predicted mask and the truth.

    A surface is the mask minus its binary erosion with the 18-neighbourhood,
    outside of the array counting as background; its points are the **centres**
    of those voxels times the spacing. Every point of either surface has one
    distance: to the nearest point of the other surface.

    Parameters
    ----------
    assd_mm : float
        Average symmetric surface distance: mean over all points of both
        surfaces, pooled.
    rmsd_mm : float
        Root mean square symmetric surface distance over the same pool.
    msd_mm : float
        Maximum symmetric surface distance (Hausdorff): the larger of the two
        directed maxima.
    hd95_mm : float
        The larger of the two directed 95th percentiles, linearly interpolated:
        MONAI's ``compute_hausdorff_distance(percentile=95)`` on these surfaces.
        (MedPy's ``hd95`` pools both directions first, and is never larger.)
    """

    assd_mm: float
    rmsd_mm: float
    msd_mm: float
    hd95_mm: float


def measure_surfaces(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], spacing_mm: Triple
) -> SurfaceDistances | None:
    """Return the surface distances of two masks, or None where one is empty.

    Parameters
    ----------
    prediction, truth : ndarray of bool, shape (z, y, x)
        May be a crop: what lies outside counts as background.
    spacing_mm : tuple of float
        Distance of voxel centres along ``(z, y, x)``.
    """
    box = bounding_box(prediction | truth)
    if box is None or not prediction.any() or not truth.any():
        return None
    ours, theirs = find_surface(prediction[box]), find_surface(truth[box])
    there = _directed_distances(ours, theirs, spacing_mm)
    back = _directed_distances(theirs, ours, spacing_mm)
    pooled = np.concatenate([there, back])
    return SurfaceDistances(
        assd_mm=float(pooled.mean()),
        rmsd_mm=float(np.sqrt(np.mean(np.square(pooled)))),
        msd_mm=float(pooled.max()),
        hd95_mm=float(max(np.percentile(there, 95), np.percentile(back, 95))),
    )


def find_surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels of a mask that its 18-neighbourhood erosion takes away.

    Parameters
    ----------
    mask : ndarray of bool, shape (z, y, x)
        Outside of the array counts as background.

    Notes
    -----
    The 18-neighbourhood is the union of three 3x3 squares, one in each plane,
    and a square is two lines: six erosions along lines are some 20 times as
    fast as `scipy.ndimage.binary_erosion` with the 19 voxels.
    """
    along_x = _erode_line(mask, 2)
    eroded = _erode_line(along_x, 1)
    eroded &= _erode_line(along_x, 0)
    eroded &= _erode_line(_erode_line(mask, 1), 0)
    return mask & ~eroded


def _erode_line(mask: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    eroded = np.zeros_like(mask)
    moved, result = np.moveaxis(mask, axis, 0), np.moveaxis(eroded, axis, 0)
    np.logical_and(moved[1:-1], moved[2:], out=result[1:-1])
    result[1:-1] &= moved[:-2]
    return eroded


def _directed_distances(
    start: NDArray[np.bool_], end: NDArray[np.bool_], spacing_mm: Triple
) -> NDArray[np.float64]:
    """Return each start voxel's distance to the end voxels, in no given order."""
    # Surfaces of a good prediction coincide for long stretches: these are 0.
    apart = start & ~end
    distances = np.zeros(np.count_nonzero(start))
    points = _points_mm(apart, spacing_mm)
    if len(points):
        tree = cKDTree(_points_mm(end, spacing_mm), balanced_tree=False)
        distances[: len(points)] = tree.query(points, workers=ALL_CORES)[0]
    return distances


def _points_mm(mask: NDArray[np.bool_], spacing_mm: Triple) -> NDArray[np.float64]:
    # Of a flat mask NumPy finds the voxels several times as fast.
    voxels = np.unravel_index(np.flatnonzero(mask), mask.shape)
    points: NDArray[np.float64] = np.stack(voxels, axis=1) * np.asarray(spacing_mm)
    return points

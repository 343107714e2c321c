"""Random changes of shape and posture: the anatomy of one body made into many."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial.transform import Rotation

from napari_liverseg.synthesis.field import smooth_field

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.synthesis.field import Axes

TURN_Z_DEGREES, TILT_DEGREES = 10.0, 6.0
LOG_SCALE, LOG_ANISOTROPY, SHEAR = 0.13, 0.09, 0.05
BENDS_MM = ((70.0, 9.0), (28.0, 3.0))
"""Elastic deformation: node distance and standard deviation of each scale, mm.

Mirror images are never drawn: the abdomen is not symmetric.
"""


def draw_positions(
    axes_mm: Axes,
    centre_mm: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Draw where in a body each voxel of a patch looks.

    Parameters
    ----------
    axes_mm : tuple of ndarray
        Voxel centres of the patch along z, y, x, with 0 at its centre.
    centre_mm : ndarray, shape (3,)
        Point of the body that the patch is centred on, ``(z, y, x)`` mm.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (3, z, y, x)
        Body coordinates in mm.
    """
    matrix = _draw_matrix(rng).astype(np.float32)
    bent = [
        sum(sd * smooth_field(axes_mm, scale, rng) for scale, sd in _draw_bends(rng))
        for _ in range(3)
    ]
    z, y, x = axes_mm
    offsets = (z[:, None, None], y[None, :, None], x[None, None, :])
    positions = np.empty((3, len(z), len(y), len(x)), np.float32)
    for i in range(3):
        straight = sum(matrix[i, j] * offsets[j] for j in range(3))
        positions[i] = np.float32(centre_mm[i]) + straight + bent[i]
    return positions


def _draw_matrix(rng: np.random.Generator) -> NDArray[np.float64]:
    turns = rng.normal(0, (TURN_Z_DEGREES, TILT_DEGREES, TILT_DEGREES))
    rotation = Rotation.from_euler("ZYX", turns, degrees=True).as_matrix()[::-1, ::-1]
    scales = np.exp(rng.normal(0, LOG_SCALE) + rng.normal(0, LOG_ANISOTROPY, 3))
    shear = np.eye(3) + rng.normal(0, SHEAR, (3, 3)) * (1 - np.eye(3))
    return np.asarray(rotation @ shear @ np.diag(scales))


def _draw_bends(rng: np.random.Generator) -> list[tuple[float, float]]:
    """Draw how strong each scale of deformation is in this patch."""
    return [(scale, float(sd * rng.uniform(0, 1.4))) for scale, sd in BENDS_MM]

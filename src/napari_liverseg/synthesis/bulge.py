"""Tumours that bulge out of a liver into the fat beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_liverseg.synthesis.field import cut_axes
from napari_liverseg.synthesis.shape import ellipsoid
from napari_liverseg.synthesis.tumour import within

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.synthesis.field import Axes
    from napari_liverseg.synthesis.tumour import Tumour

BULGE, MOST_MM = 0.6, 15.0
"""How far at most a tumour reaches out of the liver: in radii, and in mm, or a large
one would lie beyond the wall."""

NOISE_HU = 10.0
"""Noise of the liver that is drawn into a CT."""


def bulge(
    tumour: Tumour,
    hu: NDArray[np.float32],
    liver: NDArray[np.bool_],
    fat: NDArray[np.bool_],
    axes_mm: Axes,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Grow a liver into the fat that a tumour at its border reaches, in place.

    A tumour that is planted afterwards is not cut where the liver ended.

    Parameters
    ----------
    tumour : Tumour
        Of its parts, the first ellipsoid bulges.
    hu : ndarray of float32, shape (z, y, x)
        Gets the liver's mean and noise there.
    liver, fat : ndarray of bool
        The liver gains what the fat loses.
    axes_mm : tuple of ndarray
        Voxel centres along z, y, x.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of bool
        What was fat and is liver now.
    """
    grown = np.zeros(liver.shape, np.bool_)
    radius = float(np.mean(tumour.radii_mm))
    box = within(axes_mm, tumour.centre_mm, max(tumour.radii_mm))
    if any(s.stop <= s.start for s in box) or not liver[box].any():
        return grown
    local = cut_axes(axes_mm, box)
    spacing = [float(a[1] - a[0]) for a in axes_mm]
    away = ndimage.distance_transform_edt(~liver[box], sampling=spacing)
    reach = min(BULGE * radius, MOST_MM)
    shape = tumour.centre_mm, tumour.radii_mm, tumour.turns_degrees
    inside = (ellipsoid(local, *shape) < 1) & (away < reach) & fat[box]
    # What lies behind a cleft, or beyond another organ, has not grown out of it.
    parts, _ = ndimage.label(inside | liver[box])
    own = parts[
        tuple(np.abs(a - c).argmin() for a, c in zip(local, shape[0], strict=True))
    ]
    grown[box] = inside & (parts == own) & (own > 0)
    mean = float(hu[box][liver[box]].mean())
    hu[grown] = mean + NOISE_HU * rng.standard_normal(
        int(grown.sum()), dtype=np.float32
    )
    liver[box] |= grown[box]
    fat[box] &= ~grown[box]
    return grown

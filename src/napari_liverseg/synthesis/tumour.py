"""Liver tumours with known borders, planted into an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.synthesis.field import box_between, cut_axes, smooth_field
from napari_liverseg.synthesis.shape import ellipsoid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.synthesis.field import Axes, Point

DARKEST_HU = 18.0
"""Solid tumours are denser than bile and cysts, which lie near 0 to 15 HU."""

NECROTIC_SHARE, CALCIFIED_SHARE = 0.25, 0.07
"""How often a tumour's core is darker or brighter than its rest."""

LEAST_MM, MOST_MM = 4.0, 45.0
"""Radii of drawn tumours."""

REACH = 1.5
"""An uneven, soft-edged tumour ends within this many of its radii."""


@dataclass(frozen=True)
class Tumour:
    """One tumour to plant.

    Parameters
    ----------
    centre_mm, radii_mm, turns_degrees : tuple of float
        Ellipsoid, ``(z, y, x)``.
    contrast_hu : float
        Difference from the liver; negative is darker.
    roughness : float
        Displacement of the surface in radii.
    edge : float
        Width of the soft edge in radii.
    rim_hu, core_hu : float
        Contrast of the rim and of the core on top, 0 for none. A core is darker
        where it is necrotic and brighter where it is calcified.
    texture_hu : float
        Pattern inside.
    """

    centre_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    contrast_hu: float
    turns_degrees: tuple[float, float, float] = (0.0, 0.0, 0.0)
    roughness: float = 0.12
    edge: float = 0.1
    rim_hu: float = 0.0
    core_hu: float = 0.0
    texture_hu: float = 0.0


def draw_tumour(
    liver: NDArray[np.bool_],
    axes_mm: Axes,
    liver_hu: float,
    rng: np.random.Generator,
    most_mm: float = MOST_MM,
) -> Tumour:
    """Draw a tumour centred on some voxel of a liver.

    Radii are log-uniform from 4 mm to `most_mm`; 85 % are darker than the liver, but
    denser than water, or a network could not tell them from a gallbladder.
    """
    candidates = np.flatnonzero(liver)
    index = np.unravel_index(int(rng.choice(candidates)), liver.shape)
    radius = float(np.exp(rng.uniform(np.log(LEAST_MM), np.log(most_mm))))
    contrast = rng.uniform(15, 75)
    if rng.random() < 0.85:
        contrast = -min(contrast, max(liver_hu - DARKEST_HU, 15.0))
    z, y, x = (float(a[i]) for a, i in zip(axes_mm, index, strict=True))
    rz, ry, rx = (float(radius * r) for r in rng.uniform(0.75, 1.25, 3))
    tz, ty, tx = (float(t) for t in rng.uniform(-90, 90, 3))
    return Tumour(
        centre_mm=(z, y, x),
        radii_mm=(rz, ry, rx),
        turns_degrees=(tz, ty, tx),
        contrast_hu=float(contrast),
        roughness=float(rng.uniform(0.03, 0.22)),
        edge=float(rng.uniform(0.03, 0.3)),
        rim_hu=float(rng.uniform(15, 60)) if rng.random() < 0.2 else 0.0,
        core_hu=_draw_core(rng),
        texture_hu=float(rng.uniform(0, 14)),
    )


def _draw_core(rng: np.random.Generator) -> float:
    """Draw the core's contrast: a quarter is necrotic, few are calcified."""
    kind = rng.random()
    if kind < NECROTIC_SHARE:
        return float(rng.uniform(-40, -10))
    if kind < NECROTIC_SHARE + CALCIFIED_SHARE:
        return float(rng.uniform(30, 250))
    return 0.0


def plant(
    tumour: Tumour,
    hu: NDArray[np.float32],
    liver: NDArray[np.bool_],
    axes_mm: Axes,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Draw a tumour into an image, in place, and return its mask.

    Parameters
    ----------
    tumour : Tumour
    hu : ndarray of float32, shape (z, y, x)
        Changed inside the liver.
    liver : ndarray of bool
        The tumour is cut at the liver's border.
    axes_mm : tuple of ndarray
        Voxel centres along z, y, x.
    rng : numpy.random.Generator
        Draws the uneven surface and the pattern inside.
    """
    mask = np.zeros(liver.shape, np.bool_)
    box = within(axes_mm, tumour.centre_mm, REACH * max(tumour.radii_mm))
    if any(s.stop <= s.start for s in box):
        return mask
    local = cut_axes(axes_mm, box)
    radius = float(np.mean(tumour.radii_mm))
    distance = ellipsoid(local, tumour.centre_mm, tumour.radii_mm, tumour.turns_degrees)
    distance += np.float32(tumour.roughness) * smooth_field(local, radius * 0.7, rng)
    inside = np.clip((1 - distance) / tumour.edge + 0.5, 0, 1) * liver[box]
    change = tumour.contrast_hu + tumour.texture_hu * smooth_field(local, 4.0, rng)
    change += tumour.core_hu * np.clip((0.55 - distance) / 0.1 + 0.5, 0, 1)
    change += tumour.rim_hu * np.exp(-(((distance - 0.95) / 0.1) ** 2))
    hu[box] += (inside * change).astype(np.float32)
    mask[box] = (inside >= 0.5) & liver[box]
    return mask


def within(axes_mm: Axes, centre_mm: Point, mm: float) -> Box:
    """Return the box of the voxels that lie so near a point along each axis."""
    z, y, x = centre_mm
    return box_between(axes_mm, (z - mm, y - mm, x - mm), (z + mm, y + mm, x + mm))

"""Hollow organs that lie on a liver and dent it: as dark as tumours, and no liver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_liverseg.synthesis.field import cut_axes, smooth_field
from napari_liverseg.synthesis.shape import ellipsoid
from napari_liverseg.synthesis.tissue import ATTENUATION, Tissue
from napari_liverseg.synthesis.tumour import within

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.synthesis.field import Axes, Point

RADII_MM, DENT = (14.0, 45.0), (0.05, 0.4)
"""Radii of these organs, and how deep they press into the liver, in radii."""

WALL_MM = (2.0, 6.0)

FLUID_SHARE, GAS_SHARE = 0.6, 0.5
"""How often fluid fills one, and how often gas lies in front of that."""

PLANE_SHARE, PLANE_MM = 0.5, (1.0, 4.0)
"""How often fat is seen between it and the liver, and how much."""

WOBBLE, REACH = 0.12, 1.5
"""How uneven its surface is, in radii, and within how many radii it ends."""

YIELDING = (
    Tissue.LIVER, Tissue.FAT, Tissue.STOMACH, Tissue.BOWEL, Tissue.GAS, Tissue.FLUID,
    Tissue.GLAND, Tissue.GALLBLADDER,
)  # fmt: skip
"""What makes room for it."""

SURFACE_MM = 12.0
"""How far about a point the liver tells where outside is."""


def press_organ(
    tissues: NDArray[np.uint8],
    axes_mm: Axes,
    rng: np.random.Generator,
    spared: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Lay a stomach or a loop of bowel onto a liver, in place.

    Parameters
    ----------
    tissues : ndarray of uint8, shape (z, y, x)
    axes_mm : tuple of ndarray
        Voxel centres along z, y, x; y grows towards the back.
    rng : numpy.random.Generator
    spared : ndarray of bool or None
        Where no organ may lie: a case's own tumours are few.

    Returns
    -------
    ndarray of bool
        The organ with its wall and fat; empty where no liver lies beside fat or
        bowel, or where it would lie on what is spared.
    """
    organ = np.zeros(tissues.shape, np.bool_)
    liver = tissues == Tissue.LIVER
    soft = np.isin(tissues, [Tissue.FAT, Tissue.STOMACH, Tissue.BOWEL])
    surface = np.flatnonzero(liver & ndimage.binary_dilation(soft))
    if not surface.size:
        return organ
    radii = _draw_radii(rng)
    least = min(radii)
    z, y, x = _draw_centre(liver, surface, axes_mm, least, rng)
    box = within(axes_mm, (z, y, x), REACH * max(radii))
    local = cut_axes(axes_mm, box)
    turn_z, turn_y, turn_x = (float(t) for t in rng.uniform(-90, 90, 3))
    distance = ellipsoid(local, (z, y, x), radii, (turn_z, turn_y, turn_x))
    distance += np.float32(WOBBLE) * smooth_field(local, least, rng)
    room = np.isin(tissues[box], YIELDING)
    plane_mm = rng.uniform(*PLANE_MM) if rng.random() < PLANE_SHARE else 0.0
    organ[box] = room & (distance < 1 + plane_mm / least)
    if spared is not None and (organ & spared).any():
        return np.zeros_like(organ)
    tissues[organ] = Tissue.FAT
    tissues[box][room & (distance < 1)] = rng.choice([Tissue.STOMACH, Tissue.BOWEL])
    lumen = room & (distance < 1 - rng.uniform(*WALL_MM) / least)
    if rng.random() < FLUID_SHARE:
        tissues[box][lumen] = Tissue.FLUID
    if rng.random() < GAS_SHARE:
        in_front = local[1] < y - rng.uniform(-0.2, 0.9) * least
        tissues[box][lumen & in_front[None, :, None]] = Tissue.GAS
    return organ


def fill_in(
    hu: NDArray[np.float32],
    tissues: NDArray[np.uint8],
    organ: NDArray[np.bool_],
    rng: np.random.Generator,
) -> None:
    """Draw a laid organ into a CT, in place, as unenhanced tissue."""
    means = np.array([ATTENUATION[t].hu[0] for t in Tissue], np.float32)
    texture = np.array([ATTENUATION[t].texture for t in Tissue], np.float32)
    noise = rng.standard_normal(int(organ.sum()), dtype=np.float32)
    hu[organ] = means[tissues[organ]] + texture[tissues[organ]] * noise


def _draw_radii(rng: np.random.Generator) -> Point:
    least, most = np.log(RADII_MM)
    radius = np.exp(rng.uniform(least, most))
    z, y, x = (float(radius * r) for r in rng.uniform(0.8, 1.4, 3))
    return z, y, x


def _draw_centre(
    liver: NDArray[np.bool_],
    surface: NDArray[np.int64],
    axes_mm: Axes,
    radius: float,
    rng: np.random.Generator,
) -> Point:
    """Draw a point outside a liver from which a ball of that radius dents it."""
    index = np.unravel_index(int(rng.choice(surface)), liver.shape)
    point = np.array([a[i] for a, i in zip(axes_mm, index, strict=True)], float)
    z, y, x = (float(c) for c in point)
    away = radius * (1 - rng.uniform(*DENT))
    z, y, x = (float(c) for c in point + _outwards(liver, axes_mm, (z, y, x)) * away)
    return z, y, x


def _outwards(
    liver: NDArray[np.bool_], axes_mm: Axes, point: Point
) -> NDArray[np.float64]:
    """Return the direction from a liver's surface away from it, of length 1."""
    box = within(axes_mm, point, SURFACE_MM)
    local = cut_axes(axes_mm, box)
    where = np.nonzero(liver[box])
    inside = [float(a[w].mean()) for a, w in zip(local, where, strict=True)]
    away = np.subtract(point, inside)
    return np.asarray(away / max(float(np.linalg.norm(away)), 1e-6))

"""Liver tumours with known borders, planted into an image."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

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

LOBED_SHARE, MOST_LOBES = 0.35, 4
"""How often a tumour has grown together from several, and of how many beside one."""

PATCHY_SHARE, PATCHES_HU = 0.4, (5.0, 25.0)
"""How often a tumour is a mosaic, and by how much its parts differ."""

ENDS_VESSELS_SHARE = 0.6
"""How often vessels end at a tumour instead of being seen through it."""

LEAST_MM, MOST_MM = 4.0, 45.0
"""Radii of drawn tumours."""

ALIKE = (0.8, 1.15)
"""Contrast of metastases as share of the first one's."""

REACH = 1.5
"""An uneven, soft-edged tumour ends within this many of its radii."""

GRAIN = 1.0
"""Standard deviation in voxels of the blur that tells vessels from noise."""


@dataclass(frozen=True)
class Lobe:
    """An ellipsoid, ``(z, y, x)``; turned about z, then y, then x."""

    centre_mm: Point
    radii_mm: Point
    turns_degrees: Point = (0.0, 0.0, 0.0)


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
    core : float
        Where the core ends, in radii.
    patches_hu : float
        Pattern of about half the tumour's radius, as in a mosaic.
    lobes : tuple of Lobe
        What it has grown together with.
    ends_vessels : bool
        Whether vessels end at it; else they are seen through it.
    """

    centre_mm: Point
    radii_mm: Point
    contrast_hu: float
    turns_degrees: Point = (0.0, 0.0, 0.0)
    roughness: float = 0.12
    edge: float = 0.1
    rim_hu: float = 0.0
    core_hu: float = 0.0
    texture_hu: float = 0.0
    core: float = 0.55
    patches_hu: float = 0.0
    lobes: tuple[Lobe, ...] = ()
    ends_vessels: bool = False

    @property
    def extent_mm(self) -> float:
        """How far its ellipsoids reach from its centre."""
        ends = [max(self.radii_mm)]
        for lobe in self.lobes:
            away = np.linalg.norm(np.subtract(lobe.centre_mm, self.centre_mm))
            ends.append(float(away) + max(lobe.radii_mm))
        return max(ends)


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
    centre = _draw_centre(np.flatnonzero(liver), liver.shape, axes_mm, rng)
    radius = float(np.exp(rng.uniform(np.log(LEAST_MM), np.log(most_mm))))
    contrast = rng.uniform(15, 75)
    if rng.random() < 0.85:
        contrast = -min(contrast, max(liver_hu - DARKEST_HU, 15.0))
    radii, turns = _draw_ellipsoid(radius, rng)
    return varied(Tumour(centre, radii, float(contrast), turns), rng)


def draw_alike(
    model: Tumour,
    count: int,
    radii_mm: tuple[float, float],
    liver: NDArray[np.bool_],
    axes_mm: Axes,
    rng: np.random.Generator,
) -> list[Tumour]:
    """Draw tumours anywhere in a liver that look like one, as metastases do.

    Their radii are log-uniform between `radii_mm`.
    """
    candidates = np.flatnonzero(liver)
    least, most = np.log(radii_mm)
    alike = []
    for _ in range(count):
        centre = _draw_centre(candidates, liver.shape, axes_mm, rng)
        radii, turns = _draw_ellipsoid(float(np.exp(rng.uniform(least, most))), rng)
        contrast = model.contrast_hu * float(rng.uniform(*ALIKE))
        alike.append(
            replace(
                model, centre_mm=centre, radii_mm=radii, turns_degrees=turns,
                contrast_hu=contrast, lobes=(),
            )
        )  # fmt: skip
    return alike


def _draw_centre(
    candidates: NDArray[np.int64],
    shape: tuple[int, ...],
    axes_mm: Axes,
    rng: np.random.Generator,
) -> Point:
    index = np.unravel_index(int(rng.choice(candidates)), shape)
    z, y, x = (float(a[i]) for a, i in zip(axes_mm, index, strict=True))
    return z, y, x


def varied(tumour: Tumour, rng: np.random.Generator) -> Tumour:
    """Return a tumour of drawn lobes, border and inside."""
    core_hu = _draw_core(rng)
    patchy = rng.random() < PATCHY_SHARE
    lobed = rng.random() < LOBED_SHARE
    return replace(
        tumour,
        roughness=float(rng.uniform(0.03, 0.22)),
        edge=float(rng.uniform(0.03, 0.3)),
        rim_hu=float(rng.uniform(15, 60)) if rng.random() < 0.2 else 0.0,
        core_hu=core_hu,
        texture_hu=float(rng.uniform(0, 14)),
        core=float(rng.uniform(0.4, 0.85)) if core_hu < 0 else tumour.core,
        patches_hu=float(rng.uniform(*PATCHES_HU)) if patchy else 0.0,
        lobes=_draw_lobes(tumour, rng) if lobed else (),
        ends_vessels=bool(rng.random() < ENDS_VESSELS_SHARE),
    )


def _draw_lobes(tumour: Tumour, rng: np.random.Generator) -> tuple[Lobe, ...]:
    """Draw smaller ellipsoids whose centres lie in a tumour's outer half."""
    radius = float(np.mean(tumour.radii_mm))
    lobes = []
    for _ in range(int(rng.integers(1, MOST_LOBES + 1))):
        way = rng.standard_normal(3)
        way *= radius * rng.uniform(0.5, 1.0) / np.linalg.norm(way)
        z, y, x = (float(c) for c in np.add(tumour.centre_mm, way))
        radii, turns = _draw_ellipsoid(radius * rng.uniform(0.4, 0.85), rng)
        lobes.append(Lobe((z, y, x), radii, turns))
    return tuple(lobes)


def _draw_ellipsoid(radius: float, rng: np.random.Generator) -> tuple[Point, Point]:
    """Draw radii about one, and turns."""
    rz, ry, rx = (float(radius * r) for r in rng.uniform(0.75, 1.25, 3))
    tz, ty, tx = (float(t) for t in rng.uniform(-90, 90, 3))
    return (rz, ry, rx), (tz, ty, tx)


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
    box = within(axes_mm, tumour.centre_mm, REACH * tumour.extent_mm)
    if any(s.stop <= s.start for s in box):
        return mask
    local = cut_axes(axes_mm, box)
    radius = float(np.mean(tumour.radii_mm))
    distance = ellipsoid(local, tumour.centre_mm, tumour.radii_mm, tumour.turns_degrees)
    for lobe in tumour.lobes:
        other = ellipsoid(local, lobe.centre_mm, lobe.radii_mm, lobe.turns_degrees)
        np.minimum(distance, other, out=distance)
    distance += np.float32(tumour.roughness) * smooth_field(local, radius * 0.7, rng)
    inside = np.clip((1 - distance) / tumour.edge + 0.5, 0, 1) * liver[box]
    change = tumour.contrast_hu + tumour.texture_hu * smooth_field(local, 4.0, rng)
    change += tumour.core_hu * np.clip((tumour.core - distance) / 0.1 + 0.5, 0, 1)
    change += tumour.rim_hu * np.exp(-(((distance - 0.95) / 0.1) ** 2))
    if tumour.patches_hu:
        change += tumour.patches_hu * smooth_field(local, max(radius / 2, 4.0), rng)
    if tumour.ends_vessels:
        change -= _vessels(hu[box], liver[box])
    hu[box] += (inside * change).astype(np.float32)
    mask[box] = (inside >= 0.5) & liver[box]
    return mask


def _vessels(hu: NDArray[np.float32], liver: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return what is coarser than noise in a liver, as difference from its median."""
    if not liver.any():
        return np.zeros_like(hu)
    median = np.median(hu[liver])
    # What lies beside the liver must not shine into it.
    own = np.where(liver, hu - median, np.float32(0))
    return np.asarray(ndimage.gaussian_filter(own, GRAIN, truncate=3), np.float32)


def within(axes_mm: Axes, centre_mm: Point, mm: float) -> Box:
    """Return the box of the voxels that lie so near a point along each axis."""
    z, y, x = centre_mm
    return box_between(axes_mm, (z - mm, y - mm, x - mm), (z + mm, y + mm, x + mm))

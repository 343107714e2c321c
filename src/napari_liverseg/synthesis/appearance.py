"""From tissues to Hounsfield units: contrast phase, texture and vessels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_liverseg.synthesis.field import smooth_field, tubes
from napari_liverseg.synthesis.tissue import ATTENUATION, PHASE_SHARES, PHASES, Tissue
from napari_liverseg.synthesis.vessel_tree import add_vessel_trees

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.synthesis.field import Axes

VARIED_SHARE = 0.3
"""Share of images whose tissues all vary by `VARIED_HU` more than usual."""

VARIED_HU = 25.0

FLUID_HU = (-5.0, 38.0)
"""What fluid and bile may measure in training: effusions and sludge are no clear water,
and only their place and shape tell them from dark tumours."""

ORAL_SHARE, ORAL_HU = 0.2, (60.0, 350.0)
"""Share of images after contrast medium was drunk, and how much denser it makes what
fills stomach and bowel."""


VESSEL_WIDTH, VESSEL_STRENGTH = (0.08, 0.24), (0.4, 1.0)
"""Of the tubes in a liver: where they end, and their share of the veins' contrast."""

FAT_WIDTH, FAT_STRENGTH, BRIGHTER_HU = (0.15, 0.3), (0.75, 1.0), (20.0, 90.0)
"""The same where vessels are fat, and how much brighter than the liver they are."""

ARTERIAL_PORTAL_HU = (-15.0, 110.0)
"""Contrast of portal veins to the liver while contrast medium arrives."""


SEAM = 0.8
"""How smoothly a tissue's shift ends at its border, in voxels."""

LIKE_LIVER_SHARE, LIKE_LIVER_HU = 0.3, 12.0
"""Of the veins outside of livers: how many are about as dense as the liver, and the
standard deviation of what is left between them."""


@dataclass(frozen=True, eq=False)
class Palette:
    """The mean Hounsfield units of every tissue in one image.

    Parameters
    ----------
    phase : str
        One of `PHASES`.
    hu : ndarray of float32, shape (len(Tissue),)
    has_fat_vessels : bool
        Whether vessels in the liver are fat, and as bright as its veins.
    has_trees : bool
        Whether vessels in the liver are trees, else they are random tubes.
    """

    phase: str
    hu: NDArray[np.float32]
    has_fat_vessels: bool = False
    has_trees: bool = False


def draw_palette(rng: np.random.Generator, phase: str | None = None) -> Palette:
    """Draw a contrast phase, unless given, and every tissue's mean for it."""
    drawn = int(rng.choice(len(PHASES), p=PHASE_SHARES))
    index = drawn if phase is None else PHASES.index(phase)
    means = np.array([ATTENUATION[t].hu[index] for t in Tissue])
    spread = np.array([ATTENUATION[t].spread for t in Tissue])
    means = means + spread * rng.standard_normal(len(means))
    if PHASES[index] != "arterial":
        # Veins and arteries equalise soon after the arterial phase.
        means[Tissue.VEIN] = means[Tissue.AORTA] + rng.normal(-5, 14)
    if phase is None:
        _vary(means, rng)
    return Palette(PHASES[index], means.astype(np.float32))


def _vary(means: NDArray[np.float64], rng: np.random.Generator) -> None:
    """Move tissues' means further than phases do, as patients and cups do, in place."""
    if rng.random() < VARIED_SHARE:
        soft = [t for t in Tissue if t not in (Tissue.AIR, Tissue.GAS, Tissue.LUNG)]
        means[soft] += rng.normal(0, VARIED_HU, len(soft))
    means[[Tissue.FLUID, Tissue.GALLBLADDER]] = rng.uniform(*FLUID_HU, 2)
    if rng.random() < ORAL_SHARE:
        filled = [Tissue.FLUID, Tissue.BOWEL, Tissue.STOMACH]
        means[filled] += rng.uniform(*ORAL_HU) * np.array([1.0, *rng.random(2)])


def fatten_vessels(palette: Palette, rng: np.random.Generator) -> Palette:
    """Return a palette whose veins are fat, and clearly brighter than its liver."""
    hu = palette.hu.copy()
    least = hu[Tissue.LIVER] + rng.uniform(*BRIGHTER_HU)
    hu[Tissue.VEIN] = max(hu[Tissue.VEIN], least)
    return replace(palette, hu=hu, has_fat_vessels=True)


def with_trees(palette: Palette, rng: np.random.Generator) -> Palette:
    """Return a palette whose liver's vessels are trees.

    While contrast medium arrives the portal veins are the first of the veins to fill:
    a late arterial phase shows them. The palette has one value for all veins, so the
    cava becomes as bright.
    """
    hu = palette.hu.copy()
    if palette.phase == "arterial" and not palette.has_fat_vessels:
        hu[Tissue.VEIN] = hu[Tissue.LIVER] + rng.uniform(*ARTERIAL_PORTAL_HU)
    return replace(palette, hu=hu, has_trees=True)


def render(
    tissues: NDArray[np.uint8],
    axes_mm: Axes,
    palette: Palette,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return an image whose tissues have their means and their own texture.

    The texture mixes voxel noise with patterns of about 5 and 20 mm, each
    tissue at its own strength.

    Parameters
    ----------
    tissues : ndarray of uint8, shape (z, y, x)
    axes_mm : tuple of ndarray
        Voxel centres along z, y, x.
    palette : Palette
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (z, y, x)
        Hounsfield units, without noise or blur of a scanner.
    """
    strength = np.array([ATTENUATION[t].texture for t in Tissue], np.float32)
    strength *= rng.lognormal(0, 0.35, len(strength)).astype(np.float32)
    white, middle, coarse = rng.dirichlet((1.5, 2.0, 1.5)) ** 0.5
    pattern = rng.standard_normal(tissues.shape, dtype=np.float32) * np.float32(white)
    pattern += np.float32(middle) * smooth_field(axes_mm, rng.uniform(2.5, 6), rng)
    pattern += np.float32(coarse) * smooth_field(axes_mm, rng.uniform(10, 28), rng)
    return np.asarray(palette.hu[tissues] + strength[tissues] * pattern, np.float32)


def recolour(
    hu: NDArray[np.float32],
    tissues: NDArray[np.uint8],
    palette: Palette,
) -> NDArray[np.float32]:
    """Return a real image with each tissue's mean moved to the palette's.

    The steps at the borders are smoothed, so that the image keeps its own
    texture and partial volumes.
    """
    inside = np.clip(hu, -1024, 1500)
    counts = np.bincount(tissues.ravel(), minlength=len(Tissue))
    sums = np.bincount(tissues.ravel(), inside.ravel(), minlength=len(Tissue))
    means = sums / np.maximum(counts, 1)
    shift = (palette.hu - means).astype(np.float32)
    # Far from soft tissue a moved mean says nothing about contrast medium.
    for tissue in (Tissue.AIR, Tissue.GAS, Tissue.LUNG, Tissue.TABLE, Tissue.FAT):
        shift[tissue] *= 0.15
    for tissue in (Tissue.CORTEX, Tissue.BONE):
        shift[tissue] *= 0.3
    return np.asarray(hu + ndimage.gaussian_filter(shift[tissues], SEAM), np.float32)


def add_liver_vessels(
    hu: NDArray[np.float32],
    tissues: NDArray[np.uint8],
    axes_mm: Axes,
    palette: Palette,
    rng: np.random.Generator,
) -> None:
    """Draw trees or random tubes into the liver of an image, in place."""
    if palette.has_trees:
        add_vessel_trees(hu, tissues, axes_mm, palette, rng)
        return
    scale = rng.uniform(14, 28)
    is_fat = palette.has_fat_vessels
    width = rng.uniform(*(FAT_WIDTH if is_fat else VESSEL_WIDTH))
    level = tubes(axes_mm, scale, width, rng)
    contrast = palette.hu[Tissue.VEIN] - palette.hu[Tissue.LIVER]
    share = rng.uniform(*(FAT_STRENGTH if is_fat else VESSEL_STRENGTH))
    strength = np.float32(contrast * share)
    hu += strength * level * (tissues == Tissue.LIVER)


def mix_veins(
    hu: NDArray[np.float32], tissues: NDArray[np.uint8], rng: np.random.Generator
) -> None:
    """Make some veins outside of the liver about as dense as it, in place.

    Blood with and without contrast medium meets in the vena cava, so that it is
    often as dense as the liver while the portal vein is bright.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
    tissues : ndarray of uint8
    rng : numpy.random.Generator
    """
    liver = tissues == Tissue.LIVER
    parts, count = ndimage.label(tissues == Tissue.VEIN)
    if not count or not liver.any():
        return
    wanted = float(hu[liver].mean())
    shift = np.zeros_like(hu)
    for part, box in enumerate(ndimage.find_objects(parts), 1):
        if rng.random() >= LIKE_LIVER_SHARE:
            continue
        vein = parts[box] == part
        mean = wanted + rng.normal(0, LIKE_LIVER_HU)
        shift[box][vein] = mean - hu[box][vein].mean()
    if shift.any():
        hu += ndimage.gaussian_filter(shift, SEAM)

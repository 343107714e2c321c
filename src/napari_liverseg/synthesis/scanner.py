"""What a scanner does to an image: blur, thick slices, noise, shading."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_liverseg.synthesis.field import smooth_field

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.synthesis.field import Axes

AIR_HU = -1000.0

STARVED_SHARE = 0.3
"""Share of images with the band of arms that lie at the body's sides."""

THICK_SHARE, THICK_MM = 0.4, (2.0, 8.0)
"""Share of images from thick slices, and how thick these are. Half a slice of dome, fat
or lung in a slice of liver is as dark as tumour."""

BREATH_MM, MOVED_MM = (3.0, 12.0), (8.0, 45.0)
"""How far a dome moves while it is scanned, and how much of the liver moves so."""

SEEN_HU = 100.0
"""Liver that is this much darker than the rest is no longer outlined as liver."""

BLUR = (0.3, 0.6)
"""Standard deviation of the blur in voxels of a sample. A CT that is averaged to
3 mm has about 0.45 (a triangle of 3 mm and a scanner's 0.7 mm). More would teach
a network that the liver reaches into the dark beside lung and gas, since the
lung's -800 HU pull the visible edge inwards.
"""


def degrade(
    hu: NDArray[np.float32],
    axes_mm: Axes,
    rng: np.random.Generator,
    *,
    synthetic: bool,
) -> NDArray[np.float32]:
    """Return an image as some scanner would have given it.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
    axes_mm : tuple of ndarray
        Voxel centres along z, y, x.
    rng : numpy.random.Generator
    synthetic : bool
        Whether the image has no blur and noise of its own yet.
    """
    sigma = rng.uniform(*BLUR) if synthetic else rng.uniform(0, 0.6)
    if sigma > 0.2:
        hu = ndimage.gaussian_filter(hu, sigma, truncate=3)
    slice_mm = float(axes_mm[0][1] - axes_mm[0][0])
    thick = rng.uniform(*THICK_MM) if rng.random() < THICK_SHARE else slice_mm
    factor = min(max(round(thick / slice_mm), 1), hu.shape[0])
    low = 4 if synthetic else 0
    noise_hu = rng.uniform(low, 28)
    noise = scanner_noise(hu.shape, noise_hu, rng)
    if factor > 1:
        # The noise is that of the thick slices, and lies across all of each.
        hu, noise = thicken(hu, factor), thicken(noise, factor)
        noise *= np.float32(noise_hu / max(float(noise.std()), 1e-6))
    hu = hu + noise
    hu = hu * np.float32(rng.uniform(0.92, 1.08)) if rng.random() < 0.5 else hu
    if rng.random() < 0.3:
        hu = hu + np.float32(rng.uniform(2, 10)) * smooth_field(axes_mm, 110.0, rng)
    if rng.random() < STARVED_SHARE:
        hu = hu + starved_band(axes_mm, rng)
    return np.asarray(hu, np.float32)


def starved_band(axes_mm: Axes, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw the dark, streaky band of a body whose arms lie at its sides.

    Few photons pass through both arms, so that the tissue between them is too
    dark, with streaks from side to side; liver there looks like tumour.

    Parameters
    ----------
    axes_mm : tuple of ndarray
        Voxel centres along z, y, x.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of float32, shape (z, y, x)
        HU to be added.
    """
    _, y, x = axes_mm
    centre, width = rng.uniform(y[0], y[-1]), rng.uniform(12, 70)
    band = np.exp(-(((y - centre) / width) ** 2)).astype(np.float32)[None, :, None]
    uneven = 1 + 0.25 * smooth_field(axes_mm, 60.0, rng)
    depth = np.float32(rng.uniform(8, 40)) * uneven
    nodes = rng.standard_normal((len(axes_mm[0]), len(y), 5), dtype=np.float32)
    # Arms lie along z, so a streak goes on through neighbouring slices.
    reach = [rng.uniform(0, mm) / (a[1] - a[0]) for a, mm in ((axes_mm[0], 8), (y, 4))]
    nodes = ndimage.gaussian_filter(nodes, (*reach, 0))
    nodes /= max(float(nodes.std()), 1e-6)
    along = np.linspace(0, 4, len(x), dtype=np.float32)
    first = np.minimum(along.astype(int), 3)
    share = along - first
    streaks = nodes[..., first] * (1 - share) + nodes[..., first + 1] * share
    streaks = np.float32(rng.uniform(3, 16)) * streaks
    return np.asarray(band * (streaks - depth), np.float32)


def breathe(
    hu: NDArray[np.float32],
    liver: NDArray[np.bool_],
    axes_mm: Axes,
    rng: np.random.Generator,
) -> NDArray[np.bool_]:
    """Move the top of a liver up and down while it is imaged, in place.

    Each voxel becomes the mean of those that passed it, so that lung or fat above a
    dome darkens the liver below.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
    liver : ndarray of bool
    axes_mm : tuple of ndarray
        Voxel centres along z, y, x; z ascends to the head.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of bool
        Voxels of the liver that nobody would outline any more.
    """
    z = axes_mm[0]
    top = np.flatnonzero(liver.any((1, 2)))
    reach, moved = rng.uniform(*BREATH_MM), rng.uniform(*MOVED_MM)
    if not top.size:
        return np.zeros_like(liver)
    before = float(hu[liver].mean())
    first = int(np.searchsorted(z, z[top[-1]] - moved))
    size = 2 * max(round(reach / float(z[1] - z[0]) / 2), 1) + 1
    blurred = ndimage.uniform_filter1d(hu, size, axis=0)[first:]
    # The motion sets in over the lowest 6 mm.
    weight = np.clip((z[first:] - z[first]) / 6, 0, 1).astype(np.float32)
    hu[first:] += weight[:, None, None] * (blurred - hu[first:])
    unseen = liver & (hu < before - SEEN_HU)
    unseen[:first] = False
    return np.asarray(unseen)


def thicken(hu: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Return the image as if its slices were `factor` times thicker.

    Neighbouring slices are averaged and interpolated back onto the grid.
    """
    count = hu.shape[0]
    averaged: NDArray[np.float32]
    averaged = ndimage.uniform_filter1d(hu, factor, axis=0)[::factor]
    # An even window is centred half a slice lower.
    centre = 0.5 if factor % 2 == 0 else 0.0
    position = (np.arange(count) + centre) / factor
    position = np.minimum(position, averaged.shape[0] - 1)
    below = np.floor(position).astype(int)
    above = np.minimum(below + 1, averaged.shape[0] - 1)
    weight = (position - below).astype(np.float32)[:, None, None]
    return np.asarray(averaged[below] * (1 - weight) + averaged[above] * weight)


def scanner_noise(
    shape: tuple[int, ...], sd_hu: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return white or, as often, correlated noise of the given strength in HU."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    if rng.random() < 0.5:
        noise = ndimage.gaussian_filter(noise, rng.uniform(0.4, 0.9), truncate=2)
        noise /= max(float(noise.std()), 1e-6)
    return np.asarray(np.float32(sd_hu) * noise)


def cut_field(
    hu: NDArray[np.float32], axes_mm: Axes, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Cut the scanned range in z or to a round field, in place.

    Returns
    -------
    ndarray of bool
        Voxels outside the scanned field, now air; nothing is labelled there.
    """
    z, y, x = (len(a) for a in axes_mm)
    outside = np.zeros(hu.shape, np.bool_)
    if rng.random() < 0.35:
        keep = int(rng.integers(max(z // 8, 1), z))
        start = int(rng.integers(0, z - keep + 1))
        outside[:start] = outside[start + keep :] = True
    if rng.random() < 0.1:
        radius = rng.uniform(0.42, 0.55) * max(y, x)
        dy, dx = np.ogrid[:y, :x]
        round_field = np.hypot(dy - y / 2, dx - x / 2) > radius
        outside |= round_field[None]
    hu[outside] = AIR_HU
    return outside

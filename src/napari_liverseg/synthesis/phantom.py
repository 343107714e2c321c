"""A procedural CT of the liver with exact truth, ready to open like any case."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_liverseg.core.geometry import Geometry, Reorientation
from napari_liverseg.core.segmentation import LIVER, TUMOUR, Segmentation
from napari_liverseg.core.volume import CTVolume
from napari_liverseg.synthesis.abdomen import draw_abdomen
from napari_liverseg.synthesis.appearance import (
    add_liver_vessels,
    draw_palette,
    render,
    with_trees,
)
from napari_liverseg.synthesis.field import Axes, grid_axes
from napari_liverseg.synthesis.scanner import scanner_noise
from napari_liverseg.synthesis.tissue import Tissue
from napari_liverseg.synthesis.tumour import Tumour, plant, varied

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ABOVE_DOME_MM = 40.0
"""How far the scan reaches above the right dome."""

PSF_MM = 0.7
"""Standard deviation of the in-plane blur."""

FINE_SLICE_MM = 2.0
"""Thicker slices are averaged from sub-slices no thicker than this."""

SMALLEST_LIVER_ML = 700.0

VEIN_MM = 5.0
"""From the surface of a lesion beside a vein to the vein, at most."""


@dataclass(frozen=True)
class Lesion:
    """A tumour to put into a phantom's liver.

    Parameters
    ----------
    radius_mm : float
    contrast_hu : float
        Against the liver around it.
    depth : float
        Of its centre under the liver's surface, in radii.
    rim_hu : float
        Contrast of a bright rim.
    at_vein : bool
        Beside a vein outside of the liver: at the hilum, or at the vena cava.
    varied : bool
        Of drawn lobes, border and inside, as in training; else a plain ball.
    """

    radius_mm: float
    contrast_hu: float
    depth: float
    rim_hu: float = 0.0
    at_vein: bool = False
    varied: bool = False


LESIONS = (
    Lesion(19.0, -45.0, 1.25),
    Lesion(12.0, -55.0, 1.3, rim_hu=30.0),
    Lesion(10.0, -50.0, 0.5),
    Lesion(8.0, 45.0, 1.3),
    Lesion(5.5, -50.0, 1.3),
)
"""What a reader should meet, one of them at the border."""

AT_VEINS = (
    Lesion(12.0, -50.0, 0.9, at_vein=True),
    Lesion(8.0, -55.0, 0.9, at_vein=True),
    Lesion(9.0, -50.0, 0.5),
)
"""Where tumours are hard to tell: beside dark veins, and at the border."""


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic CT and its exact label map.

    Parameters
    ----------
    volume : CTVolume
        int16 Hounsfield units.
    truth : Segmentation
        On the grid of the volume.
    """

    volume: CTVolume
    truth: Segmentation


def make_phantom(  # noqa: PLR0913 - each is one fact of the phantom
    seed: int,
    shape: tuple[int, int, int] = (96, 112, 136),
    spacing_mm: tuple[float, float, float] = (3.0, 3.2, 3.0),
    origin_mm: tuple[float, float, float] = (-310.0, -160.0, -205.0),
    phase: str = "portal venous",
    lesions: Sequence[Lesion] = LESIONS,
    *,
    trees: bool = False,
) -> Phantom:
    """Draw a CT of an abdomen with liver tumours.

    The same arguments give the same phantom.

    Parameters
    ----------
    seed : int
        Draws the anatomy, its appearance and its tumours.
    shape : tuple of int
        Voxels ``(z, y, x)``; the highest slice lies 40 mm above the dome.
    spacing_mm, origin_mm : tuple of float
        Of the grid, ``(z, y, x)``; the origin does not move the anatomy within it.
    phase : str
        Contrast phase, one of `tissue.PHASES`.
    lesions : sequence of Lesion
        One that finds no place is left out.
    trees : bool
        Whether the liver's vessels are trees, else they are random tubes.

    Returns
    -------
    Phantom
    """
    rng = np.random.default_rng((seed, 20_240))
    # An odd number of sub-slices has a majority; ties would thin the truth.
    fine = int(np.ceil(spacing_mm[0] / FINE_SLICE_MM)) // 2 * 2 + 1
    axes = _body_axes(shape, spacing_mm, fine)
    tissues = _draw_until_large_enough(axes, rng)
    palette = draw_palette(rng, phase)
    if trees:
        palette = with_trees(palette, rng)
    hu = render(tissues, axes, palette, rng)
    add_liver_vessels(hu, tissues, axes, palette, rng)
    liver = tissues == Tissue.LIVER
    labels = np.where(liver, LIVER, 0).astype(np.uint8)
    for tumour in _place_lesions(lesions, tissues, axes, rng):
        labels[plant(tumour, hu, liver, axes, rng)] = TUMOUR
    hu = _scan(hu, spacing_mm, fine, rng)
    truth = _majority(labels, fine)
    geometry = Geometry(shape, spacing_mm, origin_mm)
    volume = CTVolume(
        hu=np.clip(np.rint(hu), -1024, 3071).astype(np.int16),
        geometry=geometry,
        source=geometry,
        reorientation=Reorientation(),
        name=f"phantom-{seed}",
        series_key=_key(seed, geometry, phase),
        description=f"Synthetic abdomen, {phase}",
    )
    return Phantom(volume, Segmentation(truth, geometry))


def _body_axes(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], fine: int
) -> Axes:
    """Return the body coordinates of the sub-slices of a scan."""
    z, y, x = shape
    dz, dy, dx = spacing_mm
    start = (ABOVE_DOME_MM - z * dz, -(y - 1) / 2 * dy + 8, -(x - 1) / 2 * dx)
    return grid_axes((z * fine, y, x), (dz / fine, dy, dx), start)


def _draw_until_large_enough(axes: Axes, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw abdomens until the liver is no smaller than an adult's."""
    voxel_ml = float(np.prod([a[1] - a[0] for a in axes])) / 1000
    while True:
        tissues = draw_abdomen(axes, rng)
        if np.count_nonzero(tissues == Tissue.LIVER) * voxel_ml > SMALLEST_LIVER_ML:
            return tissues


def _place_lesions(
    lesions: Sequence[Lesion],
    tissues: NDArray[np.uint8],
    axes: Axes,
    rng: np.random.Generator,
) -> list[Tumour]:
    """Return lesions that lie apart from each other at their wanted depths."""
    spacing = [float(a[1] - a[0]) for a in axes]
    liver = tissues == Tissue.LIVER
    depth = ndimage.distance_transform_edt(liver, sampling=spacing)
    tumours: list[Tumour] = []
    for lesion in lesions:
        radius = lesion.radius_mm
        wanted = np.abs(depth - lesion.depth * radius) < max(2.0, 0.6 * max(spacing))
        if lesion.at_vein:
            to_vein = ndimage.distance_transform_edt(
                tissues != Tissue.VEIN, sampling=spacing
            )
            wanted &= to_vein < radius + VEIN_MM
        for other in tumours:
            apart = _distance(axes, other.centre_mm)
            wanted &= apart > radius + other.radii_mm[0] + 6
        candidates = np.flatnonzero(wanted & liver)
        if candidates.size == 0:
            continue
        index = np.unravel_index(int(rng.choice(candidates)), liver.shape)
        z, y, x = (float(a[i]) for a, i in zip(axes, index, strict=True))
        radii = (radius, radius * rng.uniform(0.85, 1.1), radius)
        tumour = Tumour(
            (z, y, x), radii, lesion.contrast_hu, rim_hu=lesion.rim_hu, edge=0.1,
            texture_hu=4.0,
        )  # fmt: skip
        tumours.append(varied(tumour, rng) if lesion.varied else tumour)
    return tumours


def _distance(axes: Axes, point: tuple[float, float, float]) -> NDArray[np.float32]:
    z, y, x = (np.square(a - c) for a, c in zip(axes, point, strict=True))
    return np.asarray(np.sqrt(z[:, None, None] + y[None, :, None] + x[None, None, :]))


def _scan(
    hu: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
    fine: int,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Blur in-plane, average sub-slices to slices, add noise."""
    sigma = (0.0, PSF_MM / spacing_mm[1], PSF_MM / spacing_mm[2])
    blurred: NDArray[np.float32]
    blurred = ndimage.gaussian_filter(hu, sigma, truncate=3)
    slices = blurred.reshape(-1, fine, *hu.shape[1:]).mean(axis=1)
    return np.asarray(slices + scanner_noise(slices.shape, rng.uniform(8, 12), rng))


def _majority(labels: NDArray[np.uint8], fine: int) -> NDArray[np.uint8]:
    """Return the label that fills most of each slice's sub-slices."""
    stacks = labels.reshape(-1, fine, *labels.shape[1:])
    liver = np.count_nonzero(stacks, axis=1) * 2 > fine
    tumour = np.count_nonzero(stacks == TUMOUR, axis=1) * 2 > fine
    return np.where(tumour, TUMOUR, liver * LIVER).astype(np.uint8)


def _key(seed: int, geometry: Geometry, phase: str) -> str:
    text = f"phantom {seed} {geometry} {phase}"
    return hashlib.sha256(text.encode()).hexdigest()

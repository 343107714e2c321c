"""One training sample: a patch of an altered body, imaged anew, with its labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_liverseg.core.segmentation import LIVER, TUMOUR
from napari_liverseg.synthesis.appearance import (
    add_liver_vessels,
    draw_palette,
    fatten_vessels,
    mix_veins,
    recolour,
    render,
    with_trees,
)
from napari_liverseg.synthesis.bulge import bulge
from napari_liverseg.synthesis.emphasis import (
    SMALL_MM,
    weigh_borders,
    weigh_mimics,
    weigh_tumour,
)
from napari_liverseg.synthesis.field import Axes, grid_axes
from napari_liverseg.synthesis.hollow import fill_in, press_organ
from napari_liverseg.synthesis.mimics import draw_mimics
from napari_liverseg.synthesis.scanner import AIR_HU, breathe, cut_field, degrade
from napari_liverseg.synthesis.tissue import Tissue
from napari_liverseg.synthesis.tumour import (
    MOST_MM,
    draw_alike,
    draw_tumour,
    plant,
)
from napari_liverseg.synthesis.warp import draw_positions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.synthesis.body import Body

KEEP_CT_SHARE = 0.6
"""Share of a real body's samples that keep its CT; the rest are all synthetic."""

RECOLOUR_SHARE = 0.75
"""Share of the kept CTs whose tissues are moved to a drawn contrast phase."""

FAT_VESSELS_SHARE = 0.35
"""Share of the samples whose liver vessels are fat and brighter than the liver: cut
across they look like bright tumours, and only their course tells them apart."""

TREES_SHARE = 0.6
"""Share of the samples whose liver vessels are trees; the others' are random tubes."""

BREATHING_SHARE = 0.2
"""Share of the samples whose dome moved while it was scanned."""

TUMOUR_COUNTS = (0.3, 0.2, 0.15, 0.1, 0.08, 0.05, 0.04, 0.03, 0.03, 0.02)
"""How often 0, 1, 2, ... 9 tumours are planted."""

SEEN_ML = 400.0
"""Liver that a patch shows for these counts; where it shows more, and bears tumours, it
bears more small ones, or they would be the rarer the more of the liver is seen."""

MOST_SMALL = 12
"""The most that are added."""

SEEDED_SHARE, SEEDED, SEEDED_MM = 0.2, (8, 40), (3.0, 16.0)
"""How often a liver is seeded with metastases, which look alike, with how many in
`SEEDED_ML` of liver, and their radii."""

SEEDED_ML = 1200.0

PRESSED_SHARE = 0.15
"""Share of the samples with a hollow organ that dents the liver, see `hollow`."""

BULGING_SHARE = 0.35
"""Share of the tumours at a border that bulge into the fat beside the liver."""


@dataclass(frozen=True, eq=False)
class Sample:
    """An image, its labels and how much each voxel counts in training.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
    labels : ndarray of uint8, shape (z, y, x)
        0 background, 1 liver, 2 tumour.
    weights : ndarray of uint8, shape (z, y, x)
        How often the cross-entropy counts a voxel, see `emphasis`.
    """

    hu: NDArray[np.float32]
    labels: NDArray[np.uint8]
    weights: NDArray[np.uint8]


@dataclass(frozen=True)
class PatchGrid:
    """Shape and spacing ``(z, y, x)`` of the samples to draw."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    @property
    def axes_mm(self) -> Axes:
        """Voxel centres with 0 at the patch's centre."""
        half = [
            -(n - 1) / 2 * s for n, s in zip(self.shape, self.spacing_mm, strict=True)
        ]
        return grid_axes(self.shape, self.spacing_mm, (half[0], half[1], half[2]))


def draw_sample(
    body: Body, grid: PatchGrid, rng: np.random.Generator, inside_share: float = 0.0
) -> Sample:
    """Draw an image of an altered body and its label map.

    Parameters
    ----------
    body : Body
    grid : PatchGrid
    rng : numpy.random.Generator
    inside_share : float
        Share of the samples whose centre lies in the liver. Of the others most
        are centred near its box, some anywhere in the body.

    Returns
    -------
    Sample
    """
    axes = grid.axes_mm
    positions = draw_positions(axes, _draw_centre(body, rng, inside_share), rng)
    nearest, scanned = _look_up(body, positions)
    tissues = np.where(scanned, body.tissues.ravel()[nearest], np.uint8(Tissue.AIR))
    palette = draw_palette(rng)
    if rng.random() < FAT_VESSELS_SHARE:
        palette = fatten_vessels(palette, rng)
    if rng.random() < TREES_SHARE:
        palette = with_trees(palette, rng)
    tumour = None if body.tumour is None else scanned & body.tumour.ravel()[nearest]
    organ = np.zeros(tissues.shape, np.bool_)
    if rng.random() < PRESSED_SHARE:
        organ = press_organ(tissues, axes, rng, tumour)
    ct = _kept_ct(body, rng)
    if ct is None:
        hu = render(tissues, axes, palette, rng)
    else:
        hu = _sampled(ct, positions, body.spacing_mm)
        fill_in(hu, tissues, organ, rng)
    recoloured = ct is not None and rng.random() < RECOLOUR_SHARE
    if recoloured:
        hu = recolour(hu, tissues, palette)
    if ct is None or (recoloured and rng.random() < 0.6):
        add_liver_vessels(hu, tissues, axes, palette, rng)
    liver = tissues == Tissue.LIVER
    mix_veins(hu, tissues, rng)
    draw_mimics(hu, liver, axes, palette.phase, rng)
    labels = liver.astype(np.uint8)
    if tumour is not None:
        labels[tumour] = TUMOUR
    weights = weigh_borders(tissues, organ, grid.spacing_mm)
    weigh_mimics(weights, hu, labels == LIVER, axes, rng)
    _plant_tumours(hu, labels, weights, tissues == Tissue.FAT, axes, rng)
    if rng.random() < BREATHING_SHARE:
        labels[breathe(hu, liver, axes, rng)] = 0
    hu = degrade(hu, axes, rng, synthetic=ct is None)
    outside = cut_field(hu, axes, rng) | ~scanned
    hu[outside], labels[outside] = AIR_HU, 0
    return Sample(hu, labels, weights)


def _draw_centre(
    body: Body, rng: np.random.Generator, inside_share: float
) -> NDArray[np.float64]:
    """Draw a point in or near the liver, now and then anywhere in the body."""
    if inside_share and rng.random() < inside_share and body.liver_voxels.size:
        voxel = int(rng.choice(body.liver_voxels))
        return np.multiply(np.unravel_index(voxel, body.tissues.shape), body.spacing_mm)
    if rng.random() < 0.8:
        low, high = body.liver_box_mm
        return np.asarray(rng.uniform(low - 25, high + 25))
    size = np.multiply(body.tissues.shape, body.spacing_mm)
    return np.asarray(rng.uniform(0.15, 0.85, 3) * size)


def _look_up(
    body: Body, positions: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the flat index of the nearest voxel, and where the body was scanned."""
    flat = np.zeros(positions.shape[1:], np.int64)
    inside = np.ones(positions.shape[1:], np.bool_)
    for axis, n in enumerate(body.tissues.shape):
        index = np.rint(positions[axis] / np.float32(body.spacing_mm[axis]))
        nearest = np.clip(index, 0, n - 1)
        # Above, below and beside the scan there is nothing to learn from.
        inside &= nearest == index
        flat = flat * n + nearest.astype(np.int64)
    return flat, inside


def _kept_ct(body: Body, rng: np.random.Generator) -> NDArray[np.float32] | None:
    """Return the CT that a sample keeps; None where it is synthetic throughout."""
    return None if body.whole and rng.random() > KEEP_CT_SHARE else body.hu


def _sampled(
    ct: NDArray[np.float32], positions: NDArray[np.float32], spacing_mm: Triple
) -> NDArray[np.float32]:
    """Return a CT at some positions, and air beyond it."""
    index = positions / np.array(spacing_mm, np.float32)[:, None, None, None]
    hu = ndimage.map_coordinates(ct, index, order=1, mode="constant", cval=AIR_HU)
    return np.asarray(hu, np.float32)


def _plant_tumours(
    hu: NDArray[np.float32],
    labels: NDArray[np.uint8],
    weights: NDArray[np.uint8],
    fat: NDArray[np.bool_],
    axes: Axes,
    rng: np.random.Generator,
) -> None:
    """Plant a drawn number of tumours, in place; later ones lie over earlier ones."""
    liver = labels == LIVER
    count = int(rng.choice(len(TUMOUR_COUNTS), p=TUMOUR_COUNTS))
    voxels = np.count_nonzero(liver)
    if voxels < 200 or not count:
        return
    liver_hu = float(hu[liver].mean())
    mm = [float(a[1] - a[0]) for a in axes]
    more = count * (voxels * float(np.prod(mm)) / 1000 / SEEN_ML - 1)
    extra = min(int(rng.poisson(more)), MOST_SMALL) if more > 0 else 0
    tumours = [
        draw_tumour(liver, axes, liver_hu, rng, MOST_MM if n < count else SMALL_MM)
        for n in range(count + extra)
    ]
    if rng.random() < SEEDED_SHARE:
        share = voxels * float(np.prod(mm)) / 1000 / SEEDED_ML
        many = max(round(rng.integers(*SEEDED) * min(share, 1.0)), 1)
        tumours += draw_alike(tumours[0], many, SEEDED_MM, liver, axes, rng)
    for tumour in tumours:
        if fat.any() and rng.random() < BULGING_SHARE:
            labels[bulge(tumour, hu, liver, fat, axes, rng)] = LIVER
        labels[plant(tumour, hu, liver, axes, rng)] = TUMOUR
        weigh_tumour(weights, axes, tumour.centre_mm, tumour.extent_mm)

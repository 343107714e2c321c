"""Where training looks closely, so that what is hard to find and small counts too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_liverseg.synthesis.tissue import Tissue
from napari_liverseg.synthesis.tumour import within

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.synthesis.field import Axes, Point

LEAST, MOST = 3.0, 20.0
"""How often what is looked at closely counts in the cross-entropy, on either side of
a border: more of the training goes there, and no class is favoured."""

LIVER_LIKE = (
    Tissue.VEIN, Tissue.HEART, Tissue.GALLBLADDER, Tissue.STOMACH, Tissue.BOWEL,
)  # fmt: skip
"""Tissues that networks take for liver or for its tumours first: where each lies on it,
they are told apart by shape and place alone when contrast medium has made them alike.
"""

BORDER_MM = 9.0
"""How far from liver and one of them a voxel counts as between both."""

SMALL_MM, AROUND_MM = 12.0, 5.0
"""Largest radius of a small tumour, and how far about one training looks closely."""

MIMICS, MIMIC_MM, CHOICE = 6, (4.0, 8.0), 12
"""How many places that stand out in a liver are looked at as closely as small tumours,
of which radii, and among how many voxels each is chosen."""


def weigh_borders(
    tissues: NDArray[np.uint8], organ: NDArray[np.bool_], spacing_mm: Triple
) -> NDArray[np.uint8]:
    """Return weights that are more than 1 near the liver and what is taken for it.

    Parameters
    ----------
    tissues : ndarray of uint8, shape (z, y, x)
    organ : ndarray of bool
        Laid on the liver, see `hollow`; beside `LIVER_LIKE`.
    spacing_mm : tuple of float

    Returns
    -------
    ndarray of uint8, shape (z, y, x)
    """
    # On about every 3 mm: a fine grid would take six times as long.
    steps = [max(round(BORDER_MM / 3 / mm), 1) for mm in spacing_mm]
    every = tuple(slice(None, None, step) for step in steps)
    coarse, pressed = tissues[every], organ[every]
    reach = zip(steps, spacing_mm, strict=True)
    size = [2 * round(BORDER_MM / (step * mm)) + 1 for step, mm in reach]
    liver, alike = (
        ndimage.maximum_filter(mask, size)
        for mask in (coarse == Tissue.LIVER, np.isin(coarse, LIVER_LIKE) | pressed)
    )
    weights = np.where(liver & alike, np.uint8(LEAST), np.uint8(1))
    for axis, (step, n) in enumerate(zip(steps, tissues.shape, strict=True)):
        weights = weights.repeat(step, axis).take(range(n), axis)
    return np.asarray(weights)


def weigh_tumour(
    weights: NDArray[np.uint8], axes_mm: Axes, centre_mm: Point, radius_mm: float
) -> None:
    """Look closely at a tumour if it is small, the closer the smaller it is, in place.

    One of 6 mm then counts about as much as one of `SMALL_MM`, not an eighth of it.
    """
    if radius_mm >= SMALL_MM:
        return
    box = within(axes_mm, centre_mm, radius_mm + AROUND_MM)
    weight = min(LEAST * (SMALL_MM / radius_mm) ** 2, MOST)
    np.maximum(weights[box], np.uint8(round(weight)), out=weights[box])


def weigh_mimics(
    weights: NDArray[np.uint8],
    hu: NDArray[np.float32],
    liver: NDArray[np.bool_],
    axes_mm: Axes,
    rng: np.random.Generator,
) -> None:
    """Look as closely at what stands out in a liver and is no tumour, in place.

    Vessels, cysts and clefts would be called small tumours otherwise, which count more
    than there are of them.
    """
    inside = np.flatnonzero(liver)
    if not inside.size:
        return
    voxels = rng.choice(inside, (MIMICS, CHOICE))
    away = np.abs(hu.ravel()[voxels] - np.float32(hu[liver].mean()))
    for voxel in voxels[np.arange(MIMICS), away.argmax(1)]:
        index = np.unravel_index(int(voxel), liver.shape)
        z, y, x = (float(a[i]) for a, i in zip(axes_mm, index, strict=True))
        weigh_tumour(weights, axes_mm, (z, y, x), float(rng.uniform(*MIMIC_MM)))

"""Scans that end inside the liver, completed: without a dome nothing learns one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_liverseg.synthesis.body import Body
from napari_liverseg.synthesis.field import grid_axes
from napari_liverseg.synthesis.shape import ellipsoid
from napari_liverseg.synthesis.tissue import ATTENUATION, Tissue

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXTENSION_MM = 130.0
"""How far a scan is continued upwards: past the highest dome, into the heart."""

_WALL = (
    Tissue.MUSCLE, Tissue.BONE, Tissue.CORTEX, Tissue.CARTILAGE, Tissue.SOFT,
    Tissue.AORTA, Tissue.AIR, Tissue.TABLE,
)  # fmt: skip


def complete_upwards(body: Body, rng: np.random.Generator) -> Body:
    """Return a body continued above its top slice: domes, lungs and a heart.

    The wall of the top slice is repeated, the cavity filled with lung; liver
    and left-sided organs shrink by their distance transforms to domes of
    random height, and a heart with a rim of fat stands on them.

    Parameters
    ----------
    body : Body
        Its top slice, the last in z, lies below the top of the diaphragm.
    rng : numpy.random.Generator

    Returns
    -------
    Body
        The same grid with more slices; the added ones carry synthetic HU
        where the body has a CT.
    """
    dz, dy, dx = body.spacing_mm
    top = body.tissues[-1]
    cavity = _cavity(top, (dy, dx))
    count = round(EXTENSION_MM / dz)
    heights = (dz * np.arange(1, count + 1, dtype=np.float32))[:, None, None]
    added = np.repeat(np.where(cavity, Tissue.LUNG, top)[None], count, axis=0)
    added = added.astype(np.uint8)
    _raise_mediastinum(added, cavity, body, rng)
    added[:, cavity & (top == Tissue.AORTA)] = Tissue.AORTA
    liver = cavity & np.isin(top, [Tissue.LIVER, Tissue.VEIN, Tissue.GALLBLADDER])
    left = [Tissue.SPLEEN, Tissue.STOMACH, Tissue.GAS, Tissue.FLUID, Tissue.BOWEL]
    for mask, height in (
        (liver, rng.uniform(25, 80)),
        (cavity & np.isin(top, left), rng.uniform(15, 60)),
    ):
        dome = heights < _dome_mm(mask, (dy, dx), height)
        added = np.where(dome, np.where(mask, top, 0)[None], added).astype(np.uint8)
    _put_heart(added, cavity, body.spacing_mm, rng)
    tissues = np.concatenate([body.tissues, added])
    hu = None if body.hu is None else _continue_hu(body, added, rng)
    return Body(tissues, body.spacing_mm, hu)


def fill_chest(tissues: NDArray[np.uint8], cavity: NDArray[np.bool_]) -> None:
    """Make lung of all that lies in the cavity above the highest abdominal organ.

    In place; `cavity` has the shape of `tissues`. Columns without an organ
    take the height of their neighbours.
    """
    organs = [Tissue.LIVER, Tissue.SPLEEN, Tissue.STOMACH, Tissue.KIDNEY, Tissue.BOWEL]
    solid = np.isin(tissues, organs)
    count = tissues.shape[0]
    top = count - 1 - np.argmax(solid[::-1], axis=0)
    some: NDArray[np.bool_] = np.any(solid, axis=0)
    nearest = ndimage.distance_transform_edt(
        ~some, return_distances=False, return_indices=True
    )
    height: NDArray[np.float32]
    height = ndimage.gaussian_filter(top[tuple(nearest)].astype(np.float32), 2)
    above = np.arange(count)[:, None, None] > np.maximum(height, top * some)[None] + 0.5
    tissues[above & cavity & (tissues == Tissue.FAT)] = Tissue.LUNG


def _cavity(
    top: NDArray[np.uint8], spacing_mm: tuple[float, float]
) -> NDArray[np.bool_]:
    """Return the inside of the wall in a top slice: its organs, closed over 40 mm."""
    organs = [Tissue.LIVER, Tissue.SPLEEN, Tissue.STOMACH, Tissue.LUNG, Tissue.GAS]
    solid = np.pad(np.isin(top, organs), 30)
    outside = ndimage.distance_transform_edt(~solid, sampling=spacing_mm)
    grown = outside < 40
    closed = ndimage.distance_transform_edt(grown, sampling=spacing_mm) > 38
    # Thin strands of diaphragm inside the closed region are no wall.
    wall = ndimage.binary_opening(np.isin(top, _WALL), iterations=2)
    return np.asarray(closed[30:-30, 30:-30] & ~wall)


def _dome_mm(
    mask: NDArray[np.bool_], spacing_mm: tuple[float, float], height_mm: float
) -> NDArray[np.float32]:
    """Return how high an ellipse-like dome over a slice's mask reaches at (y, x)."""
    depth = ndimage.distance_transform_edt(mask, sampling=spacing_mm)
    inward = np.clip(depth / max(float(depth.max()), 1e-6), 0, 1)
    return np.asarray(height_mm * np.sqrt(1 - (1 - inward) ** 2), np.float32)


def _raise_mediastinum(
    added: NDArray[np.uint8],
    cavity: NDArray[np.bool_],
    body: Body,
    rng: np.random.Generator,
) -> None:
    """Put a band of fat between the lungs, around the midline of the wall."""
    columns = np.flatnonzero(cavity.any(axis=0))
    if columns.size == 0:
        return
    middle = columns.mean() + rng.uniform(-3, 3)
    width = rng.uniform(14, 32) / body.spacing_mm[2]
    band = np.abs(np.arange(cavity.shape[1]) - middle)[None] < width
    added[:, band & cavity] = Tissue.FAT


def _put_heart(
    added: NDArray[np.uint8],
    cavity: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    rng: np.random.Generator,
) -> None:
    """Stand a heart with a rim of fat on the domes, left of the midline."""
    if not cavity.any():
        return
    rows, columns = np.nonzero(cavity)
    axes = grid_axes(added.shape, spacing_mm)
    radii = (rng.uniform(32, 50), rng.uniform(38, 55), rng.uniform(45, 65))
    centre = (
        rng.uniform(10, 45) + 0.7 * radii[0],
        (rows.min() + rng.uniform(0.3, 0.45) * np.ptp(rows)) * spacing_mm[1],
        (columns.mean() + rng.uniform(0.04, 0.16) * np.ptp(columns)) * spacing_mm[2],
    )
    distance = ellipsoid(axes, centre, radii, (rng.uniform(-40, 0), 0.0, 0.0))
    free = np.isin(added, [Tissue.LUNG, Tissue.FAT]) & cavity[None]
    added[free & (distance < 1 + rng.uniform(0, 0.15))] = Tissue.FAT
    added[free & (distance < 1)] = Tissue.HEART


def _continue_hu(
    body: Body, added: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the CT continued: repeated where the tissue goes on, else drawn."""
    if body.hu is None:
        msg = "a procedural body has no CT to continue"
        raise ValueError(msg)
    top_tissue, top_hu = body.tissues[-1], body.hu[-1]
    means = np.array([ATTENUATION[t].hu[0] for t in Tissue], np.float32)
    for tissue in Tissue:
        where = body.tissues == tissue
        if np.count_nonzero(where) > 500:
            means[tissue] = np.median(body.hu[where])
    noise = rng.standard_normal(added.shape, dtype=np.float32)
    drawn = means[added] + 14 * ndimage.gaussian_filter(noise, 0.5) / 0.6
    drawn = ndimage.gaussian_filter(drawn, 0.5)
    repeated = top_hu[None] + 8 * noise
    goes_on = (added == top_tissue[None]) & np.isin(added, (*_WALL, Tissue.FAT))
    hu = np.where(goes_on, repeated, drawn)
    return np.concatenate([body.hu, hu.astype(np.float32)])

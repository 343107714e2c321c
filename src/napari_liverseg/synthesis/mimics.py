"""What looks like a tumour in a liver and is none: it is drawn, and stays liver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.box import bounding_box
from napari_liverseg.synthesis.field import Axes, cut_axes, smooth_field, tubes
from napari_liverseg.synthesis.tumour import Tumour, plant

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Draw = Callable[
        [NDArray[np.float32], NDArray[np.bool_], Axes, str, np.random.Generator], None
    ]

CYST_HU, CYST_MM = (-8.0, 12.0), (2.5, 28.0)
"""Clear water and its radii. Solid tumours are denser, see `tumour.DARKEST_HU`."""

MOST_CYSTS = 5

SECOND_VEINS_HU, ARTERIES_HU = (-35.0, 60.0), (60.0, 220.0)
"""Contrast to the liver of hepatic veins, which fill after the portal ones, and of
arteries while contrast medium arrives."""

CLEFT_MM, FAT_HU = (1.2, 5.0), (-115.0, -90.0)
"""How wide the fat in a cleft is, and what it measures."""

DUCTS_HU = (0.0, 18.0)
"""What bile in wide ducts measures."""

UNEVEN_HU = 18.0
"""How much uneven fat or blood flow moves a part of the liver, at most."""


def draw_mimics(
    hu: NDArray[np.float32],
    liver: NDArray[np.bool_],
    axes_mm: Axes,
    phase: str,
    rng: np.random.Generator,
) -> None:
    """Draw some of what radiologists tell from tumours into a liver, in place.

    Each kind is drawn at its share of the images: vessels that a second tree fills
    otherwise than the first, clefts with fat, wide bile ducts, cysts, and uneven fat.

    Parameters
    ----------
    hu : ndarray of float32, shape (z, y, x)
        Changed inside the liver.
    liver : ndarray of bool
    axes_mm : tuple of ndarray
        Voxel centres along z, y, x.
    phase : str
        Contrast phase, one of `tissue.PHASES`.
    rng : numpy.random.Generator
    """
    box = bounding_box(liver)
    chosen = [draw for draw, share in SHARES.items() if rng.random() < share]
    if box is None:
        return
    for draw in chosen:
        draw(hu[box], liver[box], cut_axes(axes_mm, box), phase, rng)


def _second_tree(
    hu: NDArray[np.float32],
    liver: NDArray[np.bool_],
    axes: Axes,
    phase: str,
    rng: np.random.Generator,
) -> None:
    arterial = phase == "arterial" and rng.random() < 0.5
    contrast = rng.uniform(*(ARTERIES_HU if arterial else SECOND_VEINS_HU))
    width = rng.uniform(0.05, 0.1) if arterial else rng.uniform(0.08, 0.22)
    tree = tubes(axes, rng.uniform(14, 28), width, rng)
    hu += np.float32(contrast) * tree * liver


def _clefts(
    hu: NDArray[np.float32],
    liver: NDArray[np.bool_],
    axes: Axes,
    _phase: str,
    rng: np.random.Generator,
) -> None:
    """Draw thin sheets of fat that begin and end within the liver."""
    scale = 40.0
    sheet = np.abs(smooth_field(axes, scale, rng)) * np.float32(scale)
    half_mm = rng.uniform(*CLEFT_MM) / 2
    level = np.clip((half_mm - sheet) / 1.5 + 0.5, 0, 1)
    level *= smooth_field(axes, 25.0, rng) > rng.uniform(0.9, 1.8)
    contrast = (rng.uniform(*FAT_HU) - _mean(hu, liver)) * rng.uniform(0.3, 1.0)
    hu += np.float32(contrast) * level * liver


def _ducts(
    hu: NDArray[np.float32],
    liver: NDArray[np.bool_],
    axes: Axes,
    _phase: str,
    rng: np.random.Generator,
) -> None:
    contrast = rng.uniform(*DUCTS_HU) - _mean(hu, liver)
    tree = tubes(axes, rng.uniform(14, 24), rng.uniform(0.08, 0.22), rng)
    hu += np.float32(contrast) * tree * liver


def _cysts(
    hu: NDArray[np.float32],
    liver: NDArray[np.bool_],
    axes: Axes,
    _phase: str,
    rng: np.random.Generator,
) -> None:
    """Draw round pools of water with a sharp wall."""
    candidates = np.flatnonzero(liver)
    deepest = np.zeros_like(hu)
    least, most = np.log(CYST_MM)
    mean = _mean(hu, liver)
    for _ in range(int(rng.integers(1, MOST_CYSTS + 1))):
        index = np.unravel_index(int(rng.choice(candidates)), liver.shape)
        z, y, x = (float(a[i]) for a, i in zip(axes, index, strict=True))
        radius = float(np.exp(rng.uniform(least, most)))
        rz, ry, rx = (float(radius * r) for r in rng.uniform(0.85, 1.15, 3))
        contrast = float(rng.uniform(*CYST_HU)) - mean
        cyst = Tumour((z, y, x), (rz, ry, rx), contrast, roughness=0.05, edge=0.05)
        change = np.zeros_like(hu)
        plant(cyst, change, liver, axes, rng)
        # Where two meet, water is not darker.
        np.minimum(deepest, change, out=deepest)
    hu += deepest


def _uneven(
    hu: NDArray[np.float32],
    liver: NDArray[np.bool_],
    axes: Axes,
    _phase: str,
    rng: np.random.Generator,
) -> None:
    """Move the density of regions without a sharp border, as spared fat does."""
    pattern = smooth_field(axes, rng.uniform(18, 60), rng)
    share = np.clip(pattern - np.float32(rng.uniform(0, 1)), 0, 1.5) / np.float32(1.5)
    hu += np.float32(rng.uniform(-UNEVEN_HU, UNEVEN_HU)) * share * liver


def _mean(hu: NDArray[np.float32], liver: NDArray[np.bool_]) -> float:
    return float(hu[liver].mean())


SHARES: dict[Draw, float] = {
    _second_tree: 0.4,
    _clefts: 0.25,
    _ducts: 0.08,
    _cysts: 0.15,
    _uneven: 0.25,
}
"""How often each is drawn."""

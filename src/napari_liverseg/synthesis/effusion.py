"""Fluid where a healthy body has none: between lung and wall, and around the liver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_liverseg.synthesis.tissue import Tissue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.synthesis.canvas import Canvas
    from napari_liverseg.synthesis.torso import Torso

PLEURAL_SHARE, ASCITES_SHARE = 0.2, 0.12
"""How often a body has each, beside those with a level of fluid behind the lungs, see
`torso`: more often than patients do, since both lie on the liver and look like the
darkest tumours."""

THIN_FLUID = Tissue.GALLBLADDER
"""Their fluid measures what bile does. What fills the bowel would get the contrast
medium that patients drink, and is not looked at closely next to the liver."""

COLLAPSED_SHARE = 0.6
"""How often the lung beside pleural fluid has lost its air."""


def draw_effusions(canvas: Canvas, torso: Torso) -> None:
    """Paint pleural fluid and ascites into some bodies."""
    if canvas.rng.random() < PLEURAL_SHARE:
        _pleural(canvas, torso)
    if canvas.rng.random() < ASCITES_SHARE:
        _ascites(canvas, torso)


def _pleural(canvas: Canvas, torso: Torso) -> None:
    """Put a layer of fluid over the diaphragm and along the wall, thickest behind."""
    sides = [canvas.x < 0, canvas.x > 0]
    chosen = [(0,), (0,), (1,), (0, 1)][int(canvas.rng.integers(4))]
    for side in chosen:
        lung = canvas.where(Tissue.LUNG) & sides[side]
        behind = np.clip(0.5 + canvas.y / (1.6 * torso.half_depth_mm), 0, 1)
        thick = canvas.draw(6, 70) * (0.2 + 0.8 * behind) + 3 * canvas.field(40)
        height = torso.dome_mm + canvas.draw(20, 160) * (0.4 + 0.6 * behind)
        depth = _depth_mm(canvas, lung)
        fluid = lung & (depth < thick) & (canvas.z < height)
        if canvas.rng.random() < COLLAPSED_SHARE:
            airless = lung & (depth < thick + canvas.draw(3, 25)) & (canvas.z < height)
            canvas.paint(airless, Tissue.SOFT)
        canvas.paint(fluid, THIN_FLUID)


def _ascites(canvas: Canvas, torso: Torso) -> None:
    """Make fluid of the abdominal fat next to liver and spleen."""
    organs = canvas.where(Tissue.LIVER, Tissue.SPLEEN)
    around = canvas.draw(3, 25) * (1 + 0.5 * canvas.field(40))
    fat = torso.cavity & canvas.where(Tissue.FAT) & (canvas.z < torso.dome_mm)
    canvas.paint(fat & (_depth_mm(canvas, ~organs) < around), THIN_FLUID)


def _depth_mm(canvas: Canvas, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return how far each voxel of a mask lies from its border."""
    spacing = [float(axis[1] - axis[0]) for axis in canvas.axes_mm]
    depth = ndimage.distance_transform_edt(mask, sampling=spacing)
    return np.asarray(depth, np.float32)

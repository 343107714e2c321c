"""Fluid where a healthy body has none: between lung and wall, and around the liver."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_liverseg.core.box import bounding_box
from napari_liverseg.synthesis.body import Body
from napari_liverseg.synthesis.canvas import Canvas
from napari_liverseg.synthesis.field import grid_axes
from napari_liverseg.synthesis.tissue import ATTENUATION, Tissue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.synthesis.torso import Torso

PLEURAL_SHARE, ASCITES_SHARE = 0.3, 0.12
"""How often a body has each, beside those with a level of fluid behind the lungs, see
`torso`: more often than patients do, since both lie on the liver and look like the
darkest tumours."""

THIN_FLUID = Tissue.GALLBLADDER
"""Their fluid measures what bile does. What fills the bowel would get the contrast
medium that patients drink, and is not looked at closely next to the liver."""

POCKET_SHARE = 0.5
"""How often pleural fluid is a pocket on the diaphragm instead of a layer."""

HALF_LUNG_HU = -700.0
"""Gas that is denser holds something else as well."""

PARTIAL = 0.5
"""How far a CT blurs borders, in voxels."""

COLLAPSED_SHARE = 0.6
"""How often the lung beside pleural fluid has lost its air."""


def draw_effusions(canvas: Canvas, torso: Torso) -> None:
    """Paint pleural fluid and ascites into some bodies."""
    if canvas.rng.random() < PLEURAL_SHARE:
        _pleural(canvas, torso.dome_mm, torso.half_width_mm, torso.half_depth_mm)
    if canvas.rng.random() < ASCITES_SHARE:
        _ascites(canvas, torso)


def flood_chest(body: Body, rng: np.random.Generator) -> Body:
    """Return a body whose lungs reach over its liver, or one with fluid in them.

    Parameters
    ----------
    body : Body
        Where it has a CT, the fluid is drawn into that as well.
    rng : numpy.random.Generator
    """
    lungs = body.tissues == Tissue.LUNG
    box = bounding_box(lungs)
    if rng.random() > PLEURAL_SHARE or box is None or not body.liver_voxels.size:
        return body
    spacing = body.spacing_mm
    ends = [
        (s.start * mm, (s.stop - 1) * mm) for s, mm in zip(box, spacing, strict=True)
    ]
    _, depth, width = ((high - low) / 2 for low, high in ends)
    _, y, x = (-(low + high) / 2 for low, high in ends)
    top = float(body.liver_box_mm[1][0]) - spacing[0]
    canvas = Canvas(grid_axes(body.tissues.shape, spacing, (-top, y, x)), rng)
    before = body.tissues
    if body.hu is not None:
        # The lung's outermost voxels are half lung, and go by another name.
        half = (body.hu > HALF_LUNG_HU) & (body.tissues == Tissue.GAS)
        half &= ndimage.binary_dilation(lungs)
        before = np.where(half, np.uint8(Tissue.LUNG), body.tissues)
    canvas.tissues = before.copy()
    _pleural(canvas, np.zeros((1, 1, 1), np.float32), width, depth)
    changed = canvas.tissues != before
    tissues = np.where(changed, canvas.tissues, body.tissues)
    hu = None if body.hu is None else _filled(body.hu, body.tissues, tissues, rng)
    return Body(tissues, spacing, hu)


def _filled(
    hu: NDArray[np.float32],
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """Return a CT whose lung has become what it is now, without a dark rim.

    At its border a CT averages lung with what lies beside it. Of these voxels, too,
    the lung's part is replaced.
    """
    means = np.array([ATTENUATION[t].hu[0] for t in Tissue], np.float32)
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    drawn = means[after] + 14 * noise
    changed = after != before
    filled = ndimage.gaussian_filter(changed.astype(np.float32), PARTIAL)
    lung = ndimage.gaussian_filter((before == Tissue.LUNG).astype(np.float32), PARTIAL)
    share = np.minimum(filled / np.maximum(lung, 1e-6), 1)
    lung_hu = float(np.median(hu[before == Tissue.LUNG]))
    beside = hu + filled * (means[THIN_FLUID] - lung_hu)
    flooded = np.where(changed, hu + share * (drawn - hu), beside)
    return np.asarray(flooded, np.float32)


def _pleural(
    canvas: Canvas,
    dome_mm: NDArray[np.float32],
    half_width_mm: float,
    half_depth_mm: float,
) -> None:
    """Fill part of one lung or of both from the diaphragm and the wall."""
    sides = [canvas.x < 0, canvas.x > 0]
    chosen = [(0,), (0,), (1,), (0, 1)][int(canvas.rng.integers(4))]
    behind = np.clip(0.5 + canvas.y / (1.6 * half_depth_mm), 0, 1)
    for side in chosen:
        lung = canvas.where(Tissue.LUNG) & sides[side]
        if canvas.rng.random() < POCKET_SHARE:
            centre = (
                float(dome_mm.max()) + canvas.draw(-70, 40),
                half_depth_mm * canvas.draw(-0.2, 0.9),
                half_width_mm * canvas.draw(0.2, 1.0) * (-1 if side == 0 else 1),
            )
            z, y, x = (canvas.draw(25, 100) for _ in range(3))
            fluid = lung & canvas.blob(centre, (z, y, x), 0.2)
        else:
            depth = _depth_mm(canvas, lung)
            thick = canvas.draw(6, 70) * (0.2 + 0.8 * behind) + 3 * canvas.field(40)
            height = dome_mm + canvas.draw(20, 160) * (0.4 + 0.6 * behind)
            fluid = lung & (depth < thick) & (canvas.z < height)
        if canvas.rng.random() < COLLAPSED_SHARE and fluid.any():
            beside = _depth_mm(canvas, ~fluid) < canvas.draw(3, 25)
            canvas.paint(lung & beside, Tissue.SOFT)
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

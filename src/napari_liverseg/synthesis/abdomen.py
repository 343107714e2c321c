"""A whole abdomen as a tissue map, drawn anew from each seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_liverseg.synthesis.canvas import Canvas
from napari_liverseg.synthesis.effusion import draw_effusions
from napari_liverseg.synthesis.organs import draw_organs
from napari_liverseg.synthesis.torso import draw_torso

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_liverseg.synthesis.field import Axes


def draw_abdomen(
    axes_mm: Axes, rng: np.random.Generator, *, effusions: bool = False
) -> NDArray[np.uint8]:
    """Return the `Tissue` of every voxel of a procedural abdomen.

    Parameters
    ----------
    axes_mm : tuple of ndarray
        Voxel centres along z, y, x in mm: +z superior, +y posterior, +x left;
        z = 0 is the top of the right diaphragm dome, y = x = 0 the body's axis.
        A liver reaches from about z = 0 to z = -200.
    rng : numpy.random.Generator
        All of the anatomy is drawn from it.
    effusions : bool
        Whether some have pleural fluid or ascites; the rest of the anatomy stays the
        same.

    Returns
    -------
    ndarray of uint8, shape (z, y, x)
    """
    canvas = Canvas(axes_mm, rng)
    torso = draw_torso(canvas)
    draw_organs(canvas, torso)
    if effusions:
        draw_effusions(canvas, torso)
    return canvas.tissues

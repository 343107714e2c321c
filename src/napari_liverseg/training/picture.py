"""The slice on which a prediction and the truth differ most, as a small picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage

from napari_liverseg.models.spec import ABDOMEN_WINDOW_HU

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.volume import CTVolume

TRUTH, FOUND = (80, 220, 100), (255, 90, 200)
"""Green and magenta: told apart by nearly everybody, and from grey."""

LESS_OF_LESION = 0.6
"""How much of a lesion's colour lies over it, beside the organ's outline."""

WIDTH = 360


def draw_picture(
    volume: CTVolume, truth: NDArray[np.uint8], found: NDArray[np.uint8]
) -> bytes:
    """Return a PNG of the axial slice with most differing voxels.

    Outlines are those of the organ, spots those of lesions: the truth in green, what
    was found in magenta.

    Parameters
    ----------
    volume : CTVolume
    truth, found : ndarray of uint8, shape (z, y, x)
    """
    differing = np.count_nonzero(truth != found, axis=(1, 2))
    if not differing.any():
        differing = np.count_nonzero(truth, axis=(1, 2))
    z = int(differing.argmax())
    low, high = ABDOMEN_WINDOW_HU
    grey = np.clip((volume.hu[z].astype(np.float32) - low) / (high - low), 0, 1)
    colours = np.repeat((grey * 255)[..., None], 3, axis=2)
    for labels, colour in ((truth[z], TRUTH), (found[z], FOUND)):
        inside = labels > 0
        outline = inside & ~ndimage.binary_erosion(inside)
        colours[outline] = colour
        lesion = labels == 2
        mixed = np.array(colour) * LESS_OF_LESION
        colours[lesion] = colours[lesion] * (1 - LESS_OF_LESION) + mixed
    _, dy, dx = volume.geometry.spacing_mm
    rows, columns = grey.shape
    size = WIDTH, max(1, round(WIDTH * rows * dy / (columns * dx)))
    image = Image.fromarray(colours.astype(np.uint8)).resize(size)
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return content.getvalue()

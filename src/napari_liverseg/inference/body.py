"""Where the patient is, so that no window is spent on the air around."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from napari_liverseg.core.box import bounding_box

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box

BODY_HU = -500.0
"""Halfway between air and soft tissue."""

MARGIN = 2
"""Voxels of air left around the body, so that its skin is seen as a border."""


def body_box(hu: NDArray[Any]) -> Box:
    """Return the box of the largest connected thing denser than air.

    Lungs lie inside it; a table that does not touch the patient lies outside.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x)
        Hounsfield units on the model's grid.

    Returns
    -------
    tuple of slice
        The whole volume where everything is air.
    """
    parts, count = ndimage.label(hu > BODY_HU)
    if count == 0:
        z, y, x = (slice(0, n) for n in hu.shape)
        return z, y, x
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    box = bounding_box(parts == int(sizes[1:].argmax()) + 1, MARGIN)
    assert box is not None
    return box

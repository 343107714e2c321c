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
    box = bounding_box(largest_body(hu), MARGIN)
    assert box is not None
    return box


def largest_body(hu: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the largest connected thing denser than air, else the whole volume."""
    parts, count = ndimage.label(hu > BODY_HU)
    if count == 0:
        return np.ones(hu.shape, np.bool_)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    return np.asarray(parts == int(sizes[1:].argmax()) + 1)

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

FINE_VOXELS, COARSE_STEP = 8_000_000, 3
"""Of a finer grid every third voxel is looked at: seconds of a large CT, for a box
that is wider by a few voxels of air."""

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
    step = 1 if hu.size <= FINE_VOXELS else COARSE_STEP
    box = bounding_box(largest_body(hu[::step, ::step, ::step]), MARGIN)
    assert box is not None
    z, y, x = (
        slice(side.start * step, min(side.stop * step, n))
        for side, n in zip(box, hu.shape, strict=True)
    )
    return z, y, x


def largest_body(hu: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the largest connected thing denser than air, else the whole volume."""
    parts, count = ndimage.label(hu > BODY_HU)
    if count == 0:
        return np.ones(hu.shape, np.bool_)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    return np.asarray(parts == int(sizes[1:].argmax()) + 1)

"""One anatomy to draw training samples from, real or procedural."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.box import bounding_box
from napari_liverseg.synthesis.tissue import Tissue

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Body:
    """A tissue map, and the CT it came from where there is one.

    Parameters
    ----------
    tissues : ndarray of uint8, shape (z, y, x)
        Values of `Tissue`.
    spacing_mm : tuple of float
        ``(z, y, x)``.
    hu : ndarray of float32 or None
        Real Hounsfield units on the same grid; None for procedural bodies.
    tumour : ndarray of bool or None
        Tumours in the liver that the CT shows, on the same grid; None for none.
    whole : bool
        Every organ is named. Where only the liver is, the CT is never drawn anew.
    """

    tissues: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    hu: NDArray[np.float32] | None = None
    tumour: NDArray[np.bool_] | None = None
    whole: bool = True

    @cached_property
    def liver_box_mm(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lowest and highest corner of the liver's box in mm from voxel 0."""
        box = bounding_box(self.tissues == Tissue.LIVER)
        if box is None:
            return np.zeros(3), np.multiply(self.tissues.shape, self.spacing_mm)
        low = np.multiply([s.start for s in box], self.spacing_mm)
        high = np.multiply([s.stop for s in box], self.spacing_mm)
        return low, high

    @cached_property
    def liver_voxels(self) -> NDArray[np.int64]:
        """Flat indices of the liver's voxels."""
        return np.flatnonzero(self.tissues == Tissue.LIVER)

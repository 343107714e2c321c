"""The grid that organs are painted on, one over the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.synthesis.field import smooth_field
from napari_liverseg.synthesis.shape import ellipsoid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.synthesis.field import Axes, Point
    from napari_liverseg.synthesis.tissue import Tissue


class Canvas:
    """A tissue map under construction, with its coordinates and its random source.

    Parameters
    ----------
    axes_mm : tuple of ndarray
        Voxel centres along z, y, x in mm: +z superior, +y posterior, +x left;
        z = 0 is the top of the right diaphragm dome, y = x = 0 the body's axis.
    rng : numpy.random.Generator
    """

    def __init__(self, axes_mm: Axes, rng: np.random.Generator) -> None:
        self.axes_mm = axes_mm
        self.rng = rng
        z, y, x = axes_mm
        self.z, self.y, self.x = z[:, None, None], y[None, :, None], x[None, None, :]
        self.tissues = np.zeros((len(z), len(y), len(x)), np.uint8)

    def draw(self, low: float, high: float) -> float:
        """Return a number drawn evenly between two bounds."""
        return float(self.rng.uniform(low, high))

    def field(self, scale_mm: float) -> NDArray[np.float32]:
        """Return a smooth random field, see `smooth_field`."""
        return smooth_field(self.axes_mm, scale_mm, self.rng)

    def blob(
        self, centre: Point, radii: Point, wobble: float = 0.1
    ) -> NDArray[np.bool_]:
        """Return an ellipsoid, slightly turned, with an uneven surface."""
        turns = (self.draw(-15, 15), self.draw(-12, 12), self.draw(-12, 12))
        distance = ellipsoid(self.axes_mm, centre, radii, turns)
        return distance < 1 + np.float32(wobble) * self.field(max(min(radii), 15.0))

    def paint(self, mask: NDArray[np.bool_], tissue: Tissue) -> None:
        """Make every voxel of the mask this tissue."""
        np.putmask(self.tissues, np.broadcast_to(mask, self.tissues.shape), int(tissue))

    def where(self, *tissues: Tissue) -> NDArray[np.bool_]:
        """Return the mask of some tissues."""
        return np.isin(self.tissues, [int(t) for t in tissues])

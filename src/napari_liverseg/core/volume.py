"""A CT volume in Hounsfield units, on the grid shown and the grid it came from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_liverseg.core.geometry import Geometry, Reorientation
    from napari_liverseg.core.problem import Decision, Problem


@dataclass(frozen=True, eq=False)
class CTVolume:
    """A CT in Hounsfield units, without patient identifiers.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x), int16 or float32
        Hounsfield units, axes along +z, +y, +x of LPS patient space (an
        oblique scan stays oblique, see `geometry`).
    geometry : Geometry
        Grid of `hu`.
    source : Geometry
        Grid of the file, in its own axis order and directions; label maps are
        written on it.
    reorientation : Reorientation
        Lossless way between `source` order and `geometry` order.
    name : str
        What to call the case on screen and in exports; never a patient's name.
    series_key : str
        Hex digest that stays the same for the same data; names recovery files.
    patient_key : str or None
        Hex digest that groups series of one patient; None where unknown.
    description, modality : str
        SeriesDescription and Modality, empty where the format has none.
    problems : tuple of Problem
        What the intake check found and the volume was loaded in spite of.
    decisions : tuple of {'resample', 'keep-first'}
        What the user decided about those problems.
    """

    hu: NDArray[np.int16] | NDArray[np.float32]
    geometry: Geometry
    source: Geometry
    reorientation: Reorientation
    name: str
    series_key: str
    patient_key: str | None = None
    description: str = ""
    modality: str = "CT"
    problems: tuple[Problem, ...] = field(default=())
    decisions: tuple[Decision, ...] = field(default=())

    def __post_init__(self) -> None:
        """Refuse a volume whose voxels and grids disagree."""
        if self.hu.shape != self.geometry.shape:
            msg = f"hu has shape {self.hu.shape}, its geometry {self.geometry.shape}"
            raise ValueError(msg)
        if sorted(self.source.shape) != sorted(self.geometry.shape):
            msg = f"source grid {self.source.shape} is no turn of {self.hu.shape}"
            raise ValueError(msg)

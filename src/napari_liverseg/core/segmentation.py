"""A label map of liver and tumour on the grid of its CT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.geometry import Geometry

BACKGROUND, LIVER, TUMOUR = 0, 1, 2
LABELS = {"background": BACKGROUND, "liver": LIVER, "tumour": TUMOUR}
"""Values of every label map that this package writes; tumour is part of the liver."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Liver and tumour as one label map.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
        0 background, 1 liver, 2 tumour, see `LABELS`.
    geometry : Geometry
        Grid of `labels`, LPS-oriented like the CT's.
    """

    labels: NDArray[np.uint8]
    geometry: Geometry

    def __post_init__(self) -> None:
        """Refuse labels that are not uint8 on the grid."""
        if self.labels.dtype != np.uint8:
            msg = f"labels are {self.labels.dtype}, expected uint8"
            raise TypeError(msg)
        if self.labels.shape != self.geometry.shape:
            msg = f"labels {self.labels.shape} do not fit {self.geometry.shape}"
            raise ValueError(msg)

    @property
    def liver_ml(self) -> float:
        """Volume of the liver with its tumours in ml."""
        return int(np.count_nonzero(self.labels)) * self.geometry.voxel_ml

    @property
    def tumour_ml(self) -> float:
        """Volume of all tumours in ml."""
        count = int(np.count_nonzero(self.labels == TUMOUR))
        return count * self.geometry.voxel_ml


def combine(
    liver: NDArray[np.generic], tumour: NDArray[np.generic]
) -> NDArray[np.uint8]:
    """Return one label map from two masks; the tumour wins where both claim a voxel.

    Parameters
    ----------
    liver, tumour : ndarray, shape (z, y, x)
        Any non-zero value is the mask.
    """
    labels = np.zeros(liver.shape, np.uint8)
    labels[liver != 0] = LIVER
    labels[tumour != 0] = TUMOUR
    return labels

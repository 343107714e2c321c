"""One correction: what a single brush stroke, fill or polygon claimed."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_liverseg.editing.patch import Patch


@dataclass(frozen=True, eq=False)
class Stroke:
    """A finished stroke on one mask.

    Parameters
    ----------
    claimed : Patch or None
        Voxels that this stroke made the user's own; None when all of them
        already were.
    changed_mask : bool
        Whether a voxel changed its value. A stroke over voxels that already
        had it only affirms them, and the viewer's own history has no entry.
    values : ndarray of uint8 or None
        Values of the claimed voxels, kept while the stroke is undone.
    number : int
        Counts strokes on all masks in their order.
    """

    claimed: Patch | None
    changed_mask: bool
    values: NDArray[np.uint8] | None = None
    number: int = field(default_factory=itertools.count().__next__)

"""Ground truth as outlines beside the masks, from a layer or a file."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels

from napari_liverseg.core.errors import CaseError, GeometryMismatchError
from napari_liverseg.core.geometry import SAME_GRID_MM, Geometry
from napari_liverseg.core.segmentation import LIVER, TUMOUR, Segmentation
from napari_liverseg.io.label_map import told_values
from napari_liverseg.ui import colours
from napari_liverseg.ui.ct_layer import (
    GRID,
    add_beside,
    belonging,
    find_layer,
    placement,
    role,
)
from napari_liverseg.ui.masks import ROLES, label_colours

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Layer

    from napari_liverseg.core.volume import CTVolume

NAME = "Truth"
LARGEST_VALUE = 2


def show_truth(viewer: Viewer, volume: CTVolume, truth: Segmentation) -> Layer:
    """Outline the truth of a case, in place of one that is shown.

    Parameters
    ----------
    viewer : Viewer
    volume : CTVolume
    truth : Segmentation
        On the grid of the case.
    """
    old = find_layer(viewer, "truth", volume)
    if old is not None:
        viewer.layers.remove(old)
    layer = Labels(
        truth.labels,
        name=NAME,
        colormap=label_colours(
            {LIVER: colours.TRUTH_LIVER, TUMOUR: colours.TRUTH_TUMOUR}
        ),
        metadata=belonging(volume, "truth"),
        **placement(volume),
    )
    add_beside(viewer, layer)
    return layer


def truth_candidates(viewer: Viewer) -> list[Layer]:
    """Return the layers that could hold the truth, newest first."""
    return [
        layer
        for layer in reversed(viewer.layers)
        if isinstance(layer, Labels) and role(layer) not in ROLES
    ]


def truth_from(layer: Layer, volume: CTVolume) -> Segmentation:
    """Return a Labels layer as the truth of a case.

    napari shows every grid upright: where the CT is tilted, only a layer that
    keeps the grid of its file tells where it lies in the patient.

    Raises
    ------
    GeometryMismatchError
        It does not lie on the case's grid.
    CaseError
        It holds other values than 0, 1 and 2.
    """
    grid = volume.geometry
    if not _lies_on(layer, grid):
        found = f"The layer '{layer.name}' does not lie on the CT's voxels."
        raise GeometryMismatchError(found, "Open its file with 'From file…' instead.")
    data = np.asarray(layer.data)
    if data.max(initial=0) > LARGEST_VALUE or data.min(initial=0) < 0:
        found = f"The layer '{layer.name}' holds the values {told_values(data)}."
        step = (
            "Truth has 1 liver and 2 tumour: open the layer's file with 'From file…', "
            "which asks what its values mean."
        )
        raise CaseError(found, step)
    return Segmentation(data.astype(np.uint8), grid)


def _lies_on(layer: Layer, grid: Geometry) -> bool:
    """Whether a layer is shown where the CT is, and its own grid is the CT's."""
    if layer.data.shape != grid.shape:
        return False
    shown = Geometry(grid.shape, grid.spacing_mm, grid.origin_mm)
    ends = itertools.product(*((0, n - 1) for n in grid.shape))
    corners = np.array([layer.data_to_world(end) for end in ends])
    if np.abs(corners - shown.corners_mm()).max() > SAME_GRID_MM:
        return False
    own: Geometry = layer.metadata.get(GRID, shown)
    return own.matches(grid)

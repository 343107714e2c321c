"""One slice under a threshold, in the blink before the whole mask is decided."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_liverseg.core.probabilities import PostProcessing
from napari_liverseg.inference.decision import decide_in_box

if TYPE_CHECKING:
    import numpy as np
    from napari import Viewer
    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.core.probabilities import Probabilities, Thresholds

AS_IT_IS = PostProcessing(largest_component=False, fill_holes_cm2=0.0)
"""Parts and holes are a matter of the whole organ, not of one slice."""


def slice_seen(viewer: Viewer, layer: Layer) -> tuple[int, int] | None:
    """Return axis and voxel of the slice on the screen, None where there is none.

    A viewer whose layers were all removed has two dimensions, one with a film four.

    Parameters
    ----------
    viewer : Viewer
    layer : Layer
        With the voxels that are counted, shown or not.
    """
    dims = viewer.dims
    if dims.ndisplay != 2 or dims.ndim != layer.ndim:
        return None
    axis = dims.not_displayed[0]
    return axis, round(layer.world_to_data(dims.point)[axis])


def decide_in_slice(
    probabilities: Probabilities, thresholds: Thresholds, axis: int, index: int
) -> tuple[NDArray[np.uint8], Box] | None:
    """Return the labels of one slice and its box, None outside of the box.

    Parameters
    ----------
    probabilities : Probabilities
    thresholds : Thresholds
    axis : int
        Array axis that the slice is cut across, 0 z, 1 y, 2 x.
    index : int
        Voxel along that axis of the whole volume.
    """
    along = probabilities.box[axis]
    if not along.start <= index < along.stop:
        return None
    z, y, x = (
        slice(index, index + 1) if i == axis else side
        for i, side in enumerate(probabilities.box)
    )
    cut = [slice(None)] * 3
    cut[axis] = slice(index - along.start, index - along.start + 1)
    part = tuple(cut)
    thin = replace(
        probabilities,
        liver=probabilities.liver[part],
        tumour=probabilities.tumour[part],
        decision=probabilities.decision[part],
        box=(z, y, x),
        post_processing=AS_IT_IS,
    )
    return decide_in_box(thin, thresholds), thin.box

"""The CT as an image layer on the patient's millimetre axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_liverseg.ui.window import ABDOMEN

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Image, Layer

    from napari_liverseg.core.volume import CTVolume

CASE = "napari-liverseg:case"
"""Key of a layer's metadata that holds the `CTVolume` it belongs to."""

ROLE = "napari-liverseg:role"
"""Key of a layer's metadata: ``ct``, ``liver``, ``tumour`` or ``truth``."""

PARTIAL = "napari-liverseg:partial"
"""Key of a mask's metadata while it shows a part of a run, which is no result."""

GRID = "napari-liverseg:grid"
"""Key of a layer's metadata: the `Geometry` of its voxels, tilt included."""

HU_RANGE = (-1024.0, 3071.0)
"""What 12-bit CT can hold; a window may not leave it."""


def placement(volume: CTVolume) -> dict[str, Any]:
    """Return the layer settings that put an array of the case's grid in place.

    napari draws a rotated or permuted affine wrongly, so an oblique scan is
    shown on its own axes; what is written goes back to the source grid.
    """
    return {
        "scale": volume.geometry.spacing_mm,
        "translate": volume.geometry.origin_mm,
        "units": ("mm", "mm", "mm"),
        "axis_labels": ("z", "y", "x"),
    }


def belonging(volume: CTVolume, to_be: str) -> dict[str, Any]:
    """Return the metadata of a layer with a role in a case.

    Parameters
    ----------
    volume : CTVolume
    to_be : {'ct', 'liver', 'tumour', 'truth'}
    """
    return {CASE: volume, ROLE: to_be, GRID: volume.geometry}


def ct_settings(volume: CTVolume) -> dict[str, Any]:
    """Return the settings of the CT's layer, for a reader or `show_ct`."""
    return {
        "name": "CT",
        "colormap": "gray",
        "contrast_limits": ABDOMEN.limits,
        "metadata": belonging(volume, "ct"),
        **placement(volume),
    }


def show_ct(viewer: Viewer, volume: CTVolume) -> Image:
    """Add a CT to the viewer, in the middle slice with the abdomen's window.

    Parameters
    ----------
    viewer : Viewer
    volume : CTVolume
        Its array is shown, not copied.

    Returns
    -------
    Image
        The new layer, below all others.
    """
    layer = viewer.add_image(volume.hu, **ct_settings(volume))
    viewer.layers.move(viewer.layers.index(layer), 0)
    dress(viewer, layer)
    return layer


def add_beside(viewer: Viewer, layer: Layer) -> None:
    """Add a layer and leave the one active that was: the user's brush stays theirs."""
    active = viewer.layers.selection.active
    viewer.add_layer(layer)
    if active is not None:
        viewer.layers.selection.active = active


def hold_in_place(layer: Layer) -> None:
    """Keep a layer where the scanner saw it, whatever napari's handles are dragged.

    napari's key 2 takes hold of an image and means the brush on a mask: a CT moved
    against its masks would have them corrected where nothing was wrong.
    """
    layer.events.affine.connect(_put_back)


def _put_back(event: Any) -> None:
    layer, nowhere = event.source, np.eye(event.source.ndim + 1)
    if not np.array_equal(layer.affine.affine_matrix, nowhere):
        layer.affine = nowhere


def dress(viewer: Viewer, layer: Image) -> None:
    """Set what a reader cannot: the window's range, the slice, the zoom."""
    hold_in_place(layer)
    # The range is taken from contrast_limits at creation, so it comes after.
    low = min(HU_RANGE[0], float(np.min(layer.data)))
    layer.contrast_limits_range = (low, max(HU_RANGE[1], float(np.max(layer.data))))
    layer.contrast_limits = ABDOMEN.limits
    middle = layer.data_to_world([n // 2 for n in layer.data.shape])
    # A film beside the CT adds leading axes to the viewer.
    axes = range(viewer.dims.ndim)[-layer.ndim :]
    viewer.dims.set_point(axes, middle)
    viewer.reset_view()


def role(layer: Layer) -> str:
    """Return what a layer is to its case, empty for any other layer."""
    return str(layer.metadata.get(ROLE, ""))


def case_of(layer: Layer) -> CTVolume | None:
    """Return the CT that a layer belongs to."""
    return layer.metadata.get(CASE)


def find_layer(viewer: Viewer, wanted: str, volume: CTVolume | None) -> Layer | None:
    """Return the layer with a role in a case (any case if None), newest first."""
    for layer in reversed(viewer.layers):
        ours = volume is None or case_of(layer) is volume
        if role(layer) == wanted and ours:
            return layer
    return None

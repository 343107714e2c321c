"""Window and level by dragging with the right button, as on a workstation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_liverseg.ui.ct_layer import find_layer
from napari_liverseg.ui.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari import Viewer

RIGHT_BUTTON = 2
HU_PER_PIXEL = 2.0
NARROWEST_HU = 2.0


class WindowDrag:
    """Let a right-drag set the CT's window: sideways width, up and down level.

    In 2D and with no drawing tool in hand only: in 3D the right button zooms,
    and with the brush it encircles (both napari's own).
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        viewer.mouse_drag_callbacks.append(self._drag)

    def close(self) -> None:
        """Give the right button back."""
        if self._drag in self._viewer.mouse_drag_callbacks:
            self._viewer.mouse_drag_callbacks.remove(self._drag)

    def _drag(self, viewer: Viewer, event: Any) -> Iterator[None]:
        layer = find_layer(viewer, "ct", None)
        if layer is None or not layer.visible or not self._free(event):
            return
        # napari zooms with this button; its camera follows mouse_pan in a drag.
        camera = viewer.scene.camera
        pans, camera.mouse_pan = camera.mouse_pan, False
        start = Window.from_limits(*layer.contrast_limits)
        x, y = event.pos
        try:
            yield
            while event.type == "mouse_move":
                right, down = event.pos[0] - x, event.pos[1] - y
                width = max(start.width_hu + HU_PER_PIXEL * right, NARROWEST_HU)
                level = start.level_hu + HU_PER_PIXEL * down
                _set_limits(layer, Window("", width, level))
                yield
        finally:
            camera.mouse_pan = pans

    def _free(self, event: Any) -> bool:
        active = self._viewer.layers.selection.active
        return (
            event.button == RIGHT_BUTTON
            and not event.modifiers
            and self._viewer.dims.ndisplay == 2
            and (active is None or str(active.mode) == "pan_zoom")
        )


def _set_limits(layer: Any, window: Window) -> None:
    low, high = layer.contrast_limits_range
    bottom, top = window.limits
    bottom = min(max(bottom, low), high - NARROWEST_HU)
    layer.contrast_limits = (bottom, max(min(top, high), bottom + NARROWEST_HU))

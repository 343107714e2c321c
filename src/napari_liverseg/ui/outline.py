"""Masks as outlines that leave the organ in view, or filled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_liverseg.ui.ct_layer import role

if TYPE_CHECKING:
    from napari import Viewer

OUTLINE_PX = {"liver": 2, "tumour": 2, "truth": 1}
"""Thickness by role: ours lies visibly beside the truth."""

OUTLINE_OPACITY, FILL_OPACITY = 0.9, 0.35


class Outlines:
    """Keeps every mask of the viewer outlined, or filled, as the user wants.

    In 3D napari cannot draw outlines and warns about each: there masks are
    solid until the user comes back to 2D.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._filled = False
        # Before napari slices for 3D, and after it has sliced for 2D.
        viewer.dims.events.ndisplay.connect(self._before_3d, position="first")
        viewer.dims.events.ndisplay.connect(self._after_2d, position="last")
        viewer.layers.events.inserted.connect(self._draw, position="last")

    def set_filled(self, filled: bool) -> None:
        """Show areas, or outlines."""
        self._filled = filled
        self._draw()

    def close(self) -> None:
        """Stop following the viewer."""
        self._viewer.dims.events.ndisplay.disconnect(self._before_3d)
        self._viewer.dims.events.ndisplay.disconnect(self._after_2d)
        self._viewer.layers.events.inserted.disconnect(self._draw)

    def _before_3d(self) -> None:
        if self._viewer.dims.ndisplay == 3:
            self._draw()

    def _after_2d(self) -> None:
        if self._viewer.dims.ndisplay == 2:
            self._draw()

    def _draw(self) -> None:
        solid = self._filled or self._viewer.dims.ndisplay == 3
        for layer in self._viewer.layers:
            if role(layer) in OUTLINE_PX:
                layer.contour = 0 if solid else OUTLINE_PX[role(layer)]
                layer.opacity = FILL_OPACITY if self._filled else OUTLINE_OPACITY

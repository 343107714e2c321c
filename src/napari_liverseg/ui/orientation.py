"""Patient letters at the edges of the view: which side is right, which is head."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.components.overlays import TextOverlay

from napari_liverseg.ui.ct_layer import find_layer

if TYPE_CHECKING:
    from napari import Viewer

LETTERS = (("I", "S"), ("A", "P"), ("R", "L"))
"""Towards the low and the high end of world axis z, y and x (LPS)."""

EDGES = {
    "left": "middle_left",
    "right": "middle_right",
    "top": "top_center",
    "bottom": "bottom_center",
}


def edge_letters(
    displayed: tuple[int, int], vertical: str, horizontal: str
) -> dict[str, str]:
    """Return the letter at each edge of a 2D view.

    Parameters
    ----------
    displayed : tuple of int
        World axes down and across the canvas, 0 z, 1 y, 2 x.
    vertical, horizontal : str
        Where those axes grow: ``down`` or ``up``, ``right`` or ``left``.
    """
    low_v, high_v = LETTERS[displayed[0]]
    low_h, high_h = LETTERS[displayed[1]]
    top, bottom = (low_v, high_v) if vertical == "down" else (high_v, low_v)
    left, right = (low_h, high_h) if horizontal == "right" else (high_h, low_h)
    return {"left": left, "right": right, "top": top, "bottom": bottom}


COLOUR = "#F0E442"


class OrientationLetters:
    """Keep the letters, and the head up, whatever plane the user rolls to."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._before = viewer.scene.camera.orientation2d
        self._texts = {
            edge: TextOverlay(
                position=position, font_size=14, color=COLOUR, box_color="black"
            )
            for edge, position in EDGES.items()
        }
        for edge, text in self._texts.items():
            viewer.canvas.overlays[f"liverseg_{edge}"] = text
        viewer.dims.events.order.connect(self.update)
        viewer.dims.events.ndisplay.connect(self.update)
        viewer.scene.camera.events.orientation.connect(self._write)
        viewer.layers.events.inserted.connect(self.update)
        viewer.layers.events.removed.connect(self.update)
        self.update()

    def update(self) -> None:
        """Turn the head up in sagittal and coronal views and write the letters."""
        if self._shown:
            upwards = self._viewer.dims.displayed[0] == 0
            wanted = ("up" if upwards else "down", "right")
            if tuple(map(str, self._viewer.scene.camera.orientation2d)) != wanted:
                self._viewer.scene.camera.orientation2d = wanted
        self._write()

    def close(self) -> None:
        """Remove the letters and stop following the viewer."""
        viewer = self._viewer
        viewer.dims.events.order.disconnect(self.update)
        viewer.dims.events.ndisplay.disconnect(self.update)
        viewer.scene.camera.events.orientation.disconnect(self._write)
        viewer.layers.events.inserted.disconnect(self.update)
        viewer.layers.events.removed.disconnect(self.update)
        for edge in self._texts:
            viewer.canvas.overlays.pop(f"liverseg_{edge}", None)
        viewer.scene.camera.orientation2d = self._before

    @property
    def _shown(self) -> bool:
        viewer = self._viewer
        return viewer.dims.ndisplay == 2 and viewer.dims.ndim == 3 and self._has_ct

    @property
    def _has_ct(self) -> bool:
        return find_layer(self._viewer, "ct", None) is not None

    def _write(self) -> None:
        shown = self._shown
        letters = dict.fromkeys(self._texts, "")
        if shown:
            vertical, horizontal = self._viewer.scene.camera.orientation2d
            displayed = self._viewer.dims.displayed
            letters = edge_letters(
                (displayed[0], displayed[1]), str(vertical), str(horizontal)
            )
        for edge, text in self._texts.items():
            if text.text != letters[edge]:
                text.text = letters[edge]
            text.visible = shown
        self._viewer.canvas.overlays["scale_bar"].visible = self._has_ct

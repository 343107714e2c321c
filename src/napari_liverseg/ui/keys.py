"""Keys for correcting, none of which napari uses."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QShortcut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari import Viewer

    from napari_liverseg.ui.correct_section import CorrectSection
    from napari_liverseg.ui.session import Session

OUR_KEYS = {
    "Q": "Liver brush",
    "W": "Tumour brush",
    "G": "Outlines or filled masks",
    "H": "Hold to hide the masks",
    "F1": "This list (also ?)",
}
NAPARI_KEYS = {
    "2 or P": "Brush",
    "1 or E": "Eraser",
    "3": "Polygon",
    "4 or F": "Fill bucket",
    "6 or Z": "Move the view",
    "[ and ]": "Smaller or larger brush",
    "Ctrl+Z": "Undo the last stroke",
    "Ctrl+Shift+Z": "Redo it",
    "Left and right": "Previous or next slice",
    "Ctrl+E": "Other plane: axial, coronal, sagittal",
    "Ctrl+R": "Fit the view",
    "Space": "Hold to move the view",
}
MOUSE = {
    "Wheel": "Zoom",
    "Ctrl+wheel": "Scroll slices",
    "Right-drag": "Window: sideways width, up and down level",
    "Right-click with the brush": "Encircle and fill",
}


class Keys:
    """Binds the keys while the dock is open.

    Parameters
    ----------
    session : Session
    correct : CorrectSection
        What the keys do is done there.
    show_sheet : callable
        Shows the list of keys.
    """

    def __init__(self, session: Session, correct: CorrectSection) -> None:
        self._session = session
        self._correct = correct
        self._bound: list[str] = []
        actions = {
            "Q": lambda _: correct.take("liver", "paint"),
            "W": lambda _: correct.take("tumour", "paint"),
            "G": lambda _: correct.filled.toggle(),
            "H": self._hide_while_held,
        }
        for key, action in actions.items():
            # A key that someone else has bound stays theirs.
            with suppress(ValueError):
                session.viewer.bind_key(key, action, overwrite=False)
                self._bound.append(key)

    def close(self) -> None:
        """Give the keys back."""
        for key in self._bound:
            self._session.viewer.bind_key(key, None)
        self._bound.clear()

    def _hide_while_held(self, _viewer: Viewer) -> Iterator[None]:
        masks = self._session.masks
        shown = [layer for layer in masks or () if layer.visible]
        for layer in shown:
            layer.visible = False
        yield
        for layer in shown:
            layer.visible = True


def sheet_shortcuts(sheet_parent: object, show: object) -> None:
    """Let F1 and ? show the list; napari's own key names do not know '?'."""
    for sequence in ("F1", "?"):
        shortcut = QShortcut(QKeySequence(sequence), sheet_parent)
        shortcut.activated.connect(show)

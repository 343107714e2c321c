"""Text that is shown as it is written, and never wider than its place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QAction, QGuiApplication, QKeySequence
from qtpy.QtWidgets import QLabel

if TYPE_CHECKING:
    from qtpy.QtGui import QKeyEvent

BREAK = "\N{ZERO WIDTH SPACE}"
LONG = re.compile(r"[^\s/\\]{25,}")
"""A word that may not fit into a line of the dock; a UID is three times as long."""


class Words(QLabel):
    """A label that wraps, inside of words too where they are long.

    Qt makes a label as wide as its longest word: the name of one file would push all
    that stands in the dock out of sight.

    Parameters
    ----------
    text : str
        Plain: a file may be called ``<b>.nii``.
    """

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self._written = ""
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(True)
        self.setText(text)

    def text(self) -> str:
        """Return the text as it was set."""
        return self._written

    def setText(self, text: str) -> None:  # noqa: N802 - Qt's name
        """Show a text."""
        self._written = text
        super().setText(LONG.sub(_breakable, text))

    def allow_copying(self) -> None:
        """Let the user select parts and copy them, as they were set."""
        self.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        copy = QAction("Copy", self)
        copy.triggered.connect(self._copy)
        self.addAction(copy)
        # Qt's own menu would copy the breaks, and a path with them leads nowhere.
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.ActionsContextMenu)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Copy what is selected."""
        if event.matches(QKeySequence.StandardKey.Copy):
            self._copy()
        else:
            super().keyPressEvent(event)

    def _copy(self) -> None:
        if self.hasSelectedText():
            selected = self.selectedText().replace(BREAK, "")
            QGuiApplication.clipboard().setText(selected)


def _breakable(word: re.Match[str]) -> str:
    return re.sub(r".{8}(?=.)", rf"\g<0>{BREAK}", word[0])

"""A line of text that wraps, and takes no room while it is empty."""

from __future__ import annotations

from qtpy.QtWidgets import QLabel


class Line(QLabel):
    """A label for what there may be something to say about."""

    def __init__(self, text: str = "") -> None:
        super().__init__()
        self.setWordWrap(True)
        self.setText(text)

    def setText(self, text: str) -> None:  # noqa: N802 - Qt's name
        """Show a text; nothing and no gap where it is empty."""
        super().setText(text)
        self.setHidden(not text)

    def clear(self) -> None:
        """Show nothing."""
        self.setText("")

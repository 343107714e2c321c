"""A line of text that wraps, and takes no room while it is empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_liverseg.ui.words import Words

if TYPE_CHECKING:
    from qtpy.QtGui import QResizeEvent


class Line(Words):
    """A label for what there may be something to say about."""

    def setText(self, text: str) -> None:  # noqa: N802 - Qt's name
        """Show a text; nothing and no gap where it is empty."""
        super().setText(text)
        self.setHidden(not text)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Claim the height that the text needs at this width: layouts may not."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.setMinimumHeight(max(self.heightForWidth(self.width()), 0))

    def clear(self) -> None:
        """Show nothing."""
        self.setText("")

"""One step of the work: a title, a one-line status, and what is done there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFrame, QToolButton, QVBoxLayout, QWidget

from napari_liverseg.ui.message import MessageArea
from napari_liverseg.ui.words import Words

if TYPE_CHECKING:
    from qtpy.QtWidgets import QLayout


class Section(QFrame):
    """A collapsible step of the dock.

    Parameters
    ----------
    number : int
        Place in the order of work.
    title : str
        Name of the step.
    """

    toggled = Signal(bool)

    def __init__(self, number: int, title: str) -> None:
        super().__init__()
        self.title = title
        self._header = QToolButton()
        self._header.setText(f"{number}  {title}")
        self._header.setCheckable(True)
        self._header.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._header.setSizePolicy(self.sizePolicy().Policy.Expanding, _fixed(self))
        self._header.setStyleSheet(
            "QToolButton { text-align: left; border: none; font-weight: bold;"
            " padding: 5px 2px; }"
        )
        self._header.setAccessibleName(f"{title}, show or hide")
        self._header.toggled.connect(self._on_toggle)
        self._status = Words()
        self._status.setContentsMargins(22, 0, 4, 4)
        self._status.setStyleSheet("color: palette(mid);")
        self._status.hide()
        self.body = QWidget()
        self.rows = QVBoxLayout(self.body)
        self.rows.setContentsMargins(8, 2, 4, 8)
        self.rows.setSpacing(6)
        self.messages = MessageArea(self)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.setSpacing(0)
        for widget in (self._header, self._status, self.body):
            outer.addWidget(widget)
        self.set_open(False)
        self._on_toggle(False)

    @property
    def status(self) -> str:
        """The line shown while the section is closed."""
        return self._status.text()

    @property
    def is_open(self) -> bool:
        """Whether its content is shown."""
        return bool(self._header.isChecked())

    def set_open(self, is_open: bool) -> None:
        """Show or hide the content."""
        self._header.setChecked(is_open)

    def set_status(self, text: str) -> None:
        """Set the line that is shown while the section is closed."""
        self._status.setText(text)
        self._status.setVisible(bool(text) and not self.is_open)

    def add(self, item: QWidget | QLayout) -> None:
        """Append a row."""
        if isinstance(item, QWidget):
            self.rows.addWidget(item)
        else:
            self.rows.addLayout(item)

    def _on_toggle(self, is_open: bool) -> None:
        arrow = Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow
        self._header.setArrowType(arrow)
        self.body.setVisible(is_open)
        self._status.setVisible(bool(self._status.text()) and not is_open)
        self.toggled.emit(is_open)


def _fixed(widget: QWidget) -> QWidget:
    return widget.sizePolicy().Policy.Fixed

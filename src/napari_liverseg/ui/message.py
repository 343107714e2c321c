"""Sentences that stay on screen until they are answered or replaced."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtGui import QGuiApplication
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QPlainTextEdit,
    QVBoxLayout,
    QWidget,
)

from napari_liverseg.ui.button import quiet_button
from napari_liverseg.ui.sentence import explain
from napari_liverseg.ui.words import Words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

EDGE = {"error": "#D55E00", "warning": "#E69F00", "note": "#56B4E9"}
DETAILS_HEIGHT = 120


class Message(QFrame):
    """One sentence with its answers.

    Parameters
    ----------
    text : str
        What to say.
    kind : {'error', 'warning', 'note'}
        Colours the edge.
    details : str
        Behind 'Show details', copyable; no button when empty.
    answers : mapping of str to callable, optional
        Buttons; each also closes the message. Default: 'Close'.
    """

    closed = Signal()

    def __init__(
        self,
        text: str,
        kind: str = "note",
        details: str = "",
        answers: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        super().__init__()
        self.text = text
        self.setObjectName("message")
        self.setStyleSheet(f"#message {{ border-left: 3px solid {EDGE[kind]}; }}")
        label = Words(text)
        label.allow_copying()
        rows = QVBoxLayout(self)
        rows.setContentsMargins(8, 4, 4, 4)
        rows.setSpacing(4)
        rows.addWidget(label)
        buttons = QHBoxLayout()
        self.answers = {}
        for name, answer in (answers or {"Close": lambda: None}).items():
            button = quiet_button(name, "", partial(self._answer, answer))
            self.answers[name] = button
            buttons.addWidget(button)
        if details:
            self._details = QPlainTextEdit(details)
            self._details.setReadOnly(True)
            self._details.setFixedHeight(DETAILS_HEIGHT)
            self._details.hide()
            self.show_details = quiet_button("Show details", "", self._toggle_details)
            buttons.addWidget(self.show_details)
            copy = quiet_button("Copy details", "", lambda: copy_text(details))
            buttons.addWidget(copy)
            rows.addWidget(self._details)
        buttons.addStretch()
        rows.addLayout(buttons)

    def _answer(self, answer: Callable[[], None]) -> None:
        self.closed.emit()
        answer()

    def _toggle_details(self) -> None:
        shown = self._details.isHidden()
        self._details.setVisible(shown)
        self.show_details.setText("Hide details" if shown else "Show details")


class MessageArea(QWidget):
    """Room for messages, at most one on each topic."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._rows = QVBoxLayout(self)
        self._rows.setContentsMargins(0, 0, 0, 0)
        self._by_topic: dict[str, Message] = {}
        self.hide()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to read."""
        return not self._by_topic

    def show_message(self, topic: str, message: Message) -> None:
        """Show a message in place of an earlier one on the same topic."""
        self.clear(topic)
        self._by_topic[topic] = message
        message.closed.connect(lambda: self.clear(topic))
        self._rows.addWidget(message)
        self.show()

    def show_error(self, topic: str, error: BaseException) -> None:
        """Show an error as a sentence, its traceback behind 'Show details'."""
        sentence = explain(error)
        self.show_message(topic, Message(sentence.text, "error", sentence.details))

    def clear(self, topic: str) -> None:
        """Take away the message on a topic, if there is one."""
        message = self._by_topic.pop(topic, None)
        if message is not None:
            self._rows.removeWidget(message)
            message.hide()
            message.deleteLater()
        self.setVisible(bool(self._by_topic))

    def clear_all(self) -> None:
        """Take away every message."""
        for topic in list(self._by_topic):
            self.clear(topic)

    def message(self, topic: str) -> Message | None:
        """Return the message on a topic."""
        return self._by_topic.get(topic)


def copy_text(text: str) -> None:
    """Put a text on the clipboard."""
    QGuiApplication.clipboard().setText(text)

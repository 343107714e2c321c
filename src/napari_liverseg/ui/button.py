"""Buttons of two ranks: the next step of a section, and everything else."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

STYLE = """
QPushButton { padding: 5px 8px; min-height: 16px; }
QPushButton[primary="true"] {
    background-color: #0072B2; color: white; font-weight: bold;
}
QPushButton[primary="true"]:hover { background-color: #2288c4; }
QPushButton[primary="true"]:disabled {
    background-color: rgba(0, 114, 178, 60); color: rgba(160, 160, 160, 200);
    border: none;
}
"""


def wrapped(text: str) -> str:
    """Return a tooltip of several lines that Qt wraps; plain text it does not."""
    lines = "<br>".join(escape(line) for line in text.splitlines())
    return f"<qt>{lines}</qt>"


def quiet_button(text: str, tip: str, on_click: Callable[[], None]) -> QPushButton:
    """Return a button of second rank.

    Clicking leaves the keyboard with the canvas, where the keys are.
    """
    button = QPushButton(text)
    button.setToolTip(tip)
    button.setAccessibleName(text.rstrip("…"))
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    button.clicked.connect(lambda: on_click())
    return button


def primary_button(text: str, tip: str, on_click: Callable[[], None]) -> QPushButton:
    """Return the one button of a section that stands out."""
    button = quiet_button(text, tip, on_click)
    button.setProperty("primary", True)
    return button


def allow(widget: QWidget, reason: str, tip: str = "") -> None:
    """Enable a widget, or disable it with the reason as its tooltip.

    Parameters
    ----------
    widget : QWidget
    reason : str
        Why it cannot be used now; empty when it can.
    tip : str
        Its tooltip when it can.
    """
    widget.setEnabled(not reason)
    widget.setToolTip(reason or tip)

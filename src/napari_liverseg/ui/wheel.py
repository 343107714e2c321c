"""The wheel scrolls: what lies under it on the way is not changed."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QAbstractSpinBox, QComboBox, QSlider, QWidget

CHANGED_BY_WHEEL = (QComboBox, QSlider, QAbstractSpinBox)


class WheelScrolls(QObject):
    """Hands the wheel on to what scrolls a widget.

    Qt's lists and sliders take it, focused or not: whoever scrolled the dock would
    move a threshold, or choose another model, without seeing it.

    Parameters
    ----------
    widget : QWidget
        All that it holds now, as long as it lives.
    """

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        for kind in CHANGED_BY_WHEEL:
            for child in widget.findChildren(kind):
                child.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Keep the wheel from a child; ignored, it goes on to the parent."""
        if event.type() != QEvent.Type.Wheel:
            return bool(super().eventFilter(watched, event))
        event.ignore()
        return True

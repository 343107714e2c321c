"""The wheel scrolls what it is turned over, and changes no setting on its way."""

import pytest

pytestmark = pytest.mark.gui


def turn_wheel(widget):
    """Turn the wheel one notch over a widget; return whether it was taken there."""
    from qtpy.QtCore import QPoint, QPointF, Qt
    from qtpy.QtGui import QWheelEvent
    from qtpy.QtWidgets import QApplication

    middle = QPointF(widget.rect().center())
    event = QWheelEvent(
        middle,
        widget.mapToGlobal(middle),
        QPoint(0, 0),
        QPoint(0, -120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)
    return event.isAccepted()


def test_scrolling_the_dock_changes_no_setting(make_dock):
    dock = make_dock(show=True)
    sliders = (*dock.threshold.sliders.values(), dock.correct.brush.slider)
    boxes = (dock.segment.model, dock.segment.device, dock.segment.options.look)
    before = [w.value() for w in sliders], [w.currentIndex() for w in boxes]
    minutes = dock.retrain.minutes.value()
    for widget in (*sliders, *boxes, dock.retrain.minutes):
        widget.setEnabled(True)  # as with a case
        widget.setFocus()  # the user has just used it, and scrolls on
        assert not turn_wheel(widget)  # so it goes on to what scrolls
    after = [w.value() for w in sliders], [w.currentIndex() for w in boxes]
    assert after == before
    assert dock.retrain.minutes.value() == minutes


def test_scrolling_a_long_list_of_values_names_none(qtbot):
    from napari_liverseg.ui.mapping_dialog import MappingDialog

    dialog = MappingDialog(dict.fromkeys(range(1, 118), ""))
    qtbot.addWidget(dialog)
    dialog.show()
    qtbot.waitExposed(dialog)
    assert not turn_wheel(dialog.choices[5])
    assert not dialog.mapping()

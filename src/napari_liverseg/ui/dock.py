"""The dock 'Liver segmentation': the steps of the work, top to bottom."""

import napari
from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from napari_liverseg.ui.button import STYLE
from napari_liverseg.ui.case_section import CaseSection
from napari_liverseg.ui.cheat_sheet import CheatSheet
from napari_liverseg.ui.compare_section import CompareSection
from napari_liverseg.ui.correct_section import CorrectSection
from napari_liverseg.ui.export_section import ExportSection
from napari_liverseg.ui.keys import Keys, sheet_shortcuts
from napari_liverseg.ui.message import Message, MessageArea
from napari_liverseg.ui.offer import offer_corrections, tell_of_other_windows
from napari_liverseg.ui.orientation import OrientationLetters
from napari_liverseg.ui.retrain_section import RetrainSection
from napari_liverseg.ui.segment_section import SegmentSection
from napari_liverseg.ui.session import Session
from napari_liverseg.ui.threshold_section import ThresholdSection
from napari_liverseg.ui.wheel import WheelScrolls
from napari_liverseg.ui.window_drag import WindowDrag

WIDTH_PX = 360


class LiverDock(QWidget):
    """Segment, threshold, correct, compare and export one CT at a time.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        The viewer that the dock belongs to.
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.setObjectName("napari-liverseg")
        self.setStyleSheet(STYLE)
        self._open = True
        self._window: QWidget | None = None
        # napari hands plugins a proxy whose layers are new objects at each look;
        # we compare layers by identity and use nothing private of the viewer.
        self.viewer = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.session = Session(self.viewer)
        self.messages = MessageArea(self)
        self.case = CaseSection(self.session)
        self.segment = SegmentSection(self.session)
        self.threshold = ThresholdSection(self.session)
        self.correct = CorrectSection(self.session)
        self.compare = CompareSection(self.session)
        self.export = ExportSection(self.session, self.compare)
        self.retrain = RetrainSection(self.session, self.segment)
        self.sections = (
            self.case,
            self.segment,
            self.threshold,
            self.correct,
            self.compare,
            self.export,
            self.retrain,
        )
        self._lay_out()
        WheelScrolls(self)
        self.letters = OrientationLetters(self.viewer)
        self.window_drag = WindowDrag(self.viewer)
        self.keys = Keys(self.session, self.correct)
        self.sheet = CheatSheet(self)
        sheet_shortcuts(self, self.sheet.show)
        self._connect()
        self.case.set_open(True)
        self.session.start()
        # Only once napari has put the dock into its window is there one to follow.
        QTimer.singleShot(0, self._follow_window)

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return the width that the steps are designed for."""
        return QSize(WIDTH_PX, 600)

    @property
    def is_open(self) -> bool:
        """Whether it still follows its viewer."""
        return self._open

    def close_down(self) -> None:
        """Stop all work and let go of the viewer; once only."""
        if not self._open:
            return
        self._open = False
        for section in self.sections:
            close = getattr(section, "close_down", None)
            if close is not None:
                close()
        self.session.close()
        self.letters.close()
        self.window_drag.close()
        self.keys.close()
        if self._window is not None:
            self._window.removeEventFilter(self)
            self._window = None

    def event(self, event: QEvent) -> bool:
        """Notice when napari takes the dock out of its window."""
        if event.type() == QEvent.Type.ParentChange and self.parent() is None:
            self.close_down()
        elif event.type() == QEvent.Type.Show:
            self._follow_window()
        return bool(super().event(event))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Notice when the main window closes; the user may still say no."""
        if event.type() == QEvent.Type.Close and watched is self._window:
            if event.spontaneous():
                QTimer.singleShot(0, self._close_with_window)
            else:
                self.close_down()
        return bool(super().eventFilter(watched, event))

    def _follow_window(self) -> None:
        window = self.window()
        if not self._open or window in (self, self._window):
            return
        if self._window is not None:
            self._window.removeEventFilter(self)
        self._window = window
        window.installEventFilter(self)

    def _close_with_window(self) -> None:
        if self._window is not None and not self._window.isVisible():
            self.close_down()

    def _lay_out(self) -> None:
        steps = QWidget()
        rows = QVBoxLayout(steps)
        rows.setContentsMargins(4, 4, 4, 4)
        rows.setSpacing(2)
        rows.addWidget(self.messages)
        for section in self.sections:
            rows.addWidget(section)
        rows.addStretch()
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(steps)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(area)
        self.setMinimumWidth(WIDTH_PX - 20)

    def _connect(self) -> None:
        session = self.session
        session.case_changed.connect(self._on_case)
        session.case_closed.connect(self._on_case_closed)
        session.layers_changed.connect(self._on_layers)
        session.journal_failed.connect(self._on_journal_failed)
        self.segment.slot.done.connect(self._on_segmented)
        self.export.added_to.connect(self.retrain.use_folder)
        self.retrain.made.connect(self._on_made)
        self.compare.slot.done.connect(lambda _: self.compare.set_open(True))

    def _on_case(self) -> None:
        """Close the finished step and open the next."""
        self.messages.clear_all()
        self._go_to(self.segment)
        self.case.set_open(bool(self.session.volume and self.session.volume.problems))
        self._on_segmented()  # where an earlier dock has left a result
        tell_of_other_windows(self.session, self.messages)
        offer_corrections(self.session, self.messages, self._on_restored)

    def _on_segmented(self) -> None:
        if self.session.probabilities is not None:
            # What the run has to say stays in sight until it is closed.
            unread = () if self.segment.messages.is_empty else (self.segment,)
            self._go_to(*unread, self.threshold, self.correct)

    def _on_made(self, name: str) -> None:
        self.segment.use_model(name)
        self._go_to(self.segment)

    def _on_restored(self) -> None:
        self._go_to(self.correct)

    def _go_to(self, *steps: QWidget) -> None:
        for section in self.sections:
            section.set_open(section in steps)

    def _on_layers(self) -> None:
        removed = self.session.removed_layers()
        self.messages.clear("layers")
        if not removed:
            return
        *others, last = removed
        names = f"{', '.join(others)} and {last}" if others else last
        verb = "were" if others else "was"
        text = f"{names} {verb} removed from the layer list. Nothing is lost."
        answers = {"Show again": lambda: _do(self.session.show_layers)}
        self.messages.show_message("layers", Message(text, "warning", answers=answers))

    def _on_case_closed(self, name: str, edited: int, kept: bool) -> None:
        if not edited:
            return
        text = (
            f"The corrections of {name} are kept. They will be offered when you open "
            "it again."
        )
        if not kept:
            text = (
                f"The last corrections of {name} could not be written to the disk and "
                "are lost; what was written before will be offered when you open it "
                "again. Make room on the disk before you correct more."
            )
        kind = "note" if kept else "error"
        QTimer.singleShot(
            0, lambda: self.messages.show_message("closed", Message(text, kind))
        )

    def _on_journal_failed(self, error: Exception) -> None:
        self.messages.show_error("journal", error)


def _do(action: object) -> None:
    """Call for the effect alone."""
    action()  # type: ignore[operator]


def open_dock(viewer: napari.Viewer) -> LiverDock:
    """Open the dock in a viewer, or return the one that is open."""
    _, dock = viewer.window.add_plugin_dock_widget(
        "napari-liverseg", "Liver segmentation"
    )
    dock.show()
    return dock

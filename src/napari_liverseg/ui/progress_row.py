"""A bar with the time left and Cancel, shown while a job runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from napari_liverseg.ui.button import quiet_button
from napari_liverseg.ui.figures import duration
from napari_liverseg.ui.line import Line

if TYPE_CHECKING:
    from napari_liverseg.ui.job import JobSlot

STEPS = 1000
GUESS_AFTER_S = 2.0
GUESS_FROM_SHARE = 0.04


def time_left(elapsed_s: float, share: float) -> str:
    """Return the time left in words, empty while it would be a wild guess.

    Parameters
    ----------
    elapsed_s : float
        Seconds since the start.
    share : float
        Part of the work that is done, 0 to 1.
    """
    if elapsed_s < GUESS_AFTER_S or not GUESS_FROM_SHARE <= share < 1:
        return ""
    return f"about {duration(elapsed_s * (1 - share) / share)} left"


def tells_time(text: str) -> bool:
    """Whether a line ends in the time left, such as 'about 9 min left at most'."""
    return " left" in text.rpartition(", ")[2]


class ProgressRow(QWidget):
    """Follows one `JobSlot`.

    Of work that has no total, 0, the bar tells no share and no time.

    Parameters
    ----------
    slot : JobSlot
    stops : bool
        Whether the work asks `is_cancelled`; if not, Cancel drops its result.
    """

    def __init__(self, slot: JobSlot, *, stops: bool = False) -> None:
        super().__init__()
        self._slot = slot
        self._stops = stops
        self._began = 0.0
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(10)
        self.label = Line()
        self.cancel = quiet_button("Cancel", "Stop and keep what was", self._cancel)
        top = QHBoxLayout()
        top.addWidget(self.bar, 1)
        top.addWidget(self.cancel)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addLayout(top)
        rows.addWidget(self.label)
        slot.started.connect(self._on_start)
        slot.progressed.connect(self._on_progress)
        slot.ended.connect(self.hide)
        self.hide()

    def _on_start(self) -> None:
        self._began = time.monotonic()
        self.bar.setRange(0, 0)
        self.label.setText("Starting…")
        self.cancel.setEnabled(True)
        self.show()

    def _on_progress(self, done: int, total: int, text: str) -> None:
        if not self.cancel.isEnabled():
            return  # it says that it is stopping
        share = done / max(total, 1)
        self.bar.setRange(0, STEPS if total else 0)
        self.bar.setValue(round(share * STEPS))
        left = ""
        if not tells_time(text):  # some work knows better how long it takes
            left = time_left(time.monotonic() - self._began, share)
        self.label.setText(f"{text}, {left}" if left else text)

    def _cancel(self) -> None:
        if not self._stops:
            self._slot.drop()
            return
        self.cancel.setEnabled(False)
        self.label.setText("Stopping…")
        self._slot.cancel()

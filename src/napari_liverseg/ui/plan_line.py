"""What the run that is set up would need, told before it is begun."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

from napari_liverseg.inference.loading import loading
from napari_liverseg.ui.job import JobSlot
from napari_liverseg.ui.line import Line
from napari_liverseg.ui.message import EDGE
from napari_liverseg.ui.sentence import explain

if TYPE_CHECKING:
    from napari_liverseg.core.probabilities import Look
    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.inference.forecast import Forecast
    from napari_liverseg.models.contract import Model

REST_MS = 200
"""Settings that rest this long are worth a look: lists are filled step by step."""

WARNING = f"border-left: 3px solid {EDGE['warning']}; padding-left: 8px;"


@dataclass(frozen=True)
class Question:
    """A run that may be asked for."""

    model: Model
    device: str
    volume: CTVolume
    look: Look


class PlanLine(Line):
    """A line on the memory of a run: bounds before it, its own plan during it."""

    def __init__(self) -> None:
        super().__init__()
        self._question: Question | None = None
        self._next: Question | None = None
        self.slot = JobSlot(parent=self)
        self.slot.done.connect(self._on_forecast)
        self.slot.failed.connect(lambda error: self._say(explain(error).text, True))
        self._rest = QTimer(self, singleShot=True, interval=REST_MS)
        self._rest.timeout.connect(self._look_ahead)

    def ask(self, question: Question | None) -> None:
        """Say what a run would need, once that is known; nothing about None.

        What is said of the same run, be it by the run itself, stays.
        """
        self._next = question
        self._rest.start()

    def give_way(self) -> None:
        """Leave what was last asked about to its run, which will tell by itself."""
        self.stop()
        self._question = self._next

    def tell(self, text: str) -> None:
        """Say what a run has told of itself."""
        self.stop()
        self._say(text)

    def stop(self) -> None:
        """Wait for no forecast any more."""
        self._rest.stop()
        self.slot.drop()

    @property
    def is_warning(self) -> bool:
        """Whether what it says may keep the run from being done."""
        return bool(self.styleSheet())

    def _look_ahead(self) -> None:
        if self._next == self._question:
            return
        self.stop()
        self._question = self._next
        self._say("")
        if self._question is not None:
            self.slot.start(partial(look_ahead, self._question))

    def _on_forecast(self, found: Forecast) -> None:
        self._say(found.sentence, found.fits != "yes")

    def _say(self, text: str, is_warning: bool = False) -> None:
        self.setStyleSheet(WARNING if is_warning else "")
        self.setText(text)


def look_ahead(
    question: Question, on_progress: OnProgress, is_cancelled: IsCancelled
) -> Forecast:
    """Return what a run would need; in a job, so that PyTorch loads in its thread."""
    with loading():
        from napari_liverseg.inference.devices import resolve
        from napari_liverseg.inference.forecast import forecast

        device = resolve(question.device)
        return forecast(question.model, question.volume, device, question.look)

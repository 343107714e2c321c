"""What the run that is set up would need, told before it is begun."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, Signal

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
    """A run that may be asked for.

    Parameters
    ----------
    model : Model
    device : str or None
        None is a device of another computer: its memory is not known here.
    volume : CTVolume
    look : {'liver', 'body', 'everywhere'}
    """

    model: Model
    device: str | None
    volume: CTVolume
    look: Look


@dataclass(frozen=True)
class Outlook:
    """What is known of a run before it.

    Parameters
    ----------
    mirror_axes : tuple of int
        Along which the model may average mirror images.
    memory : Forecast or None
        None for a run on another computer.
    """

    mirror_axes: tuple[int, ...]
    memory: Forecast | None = None


class PlanLine(Line):
    """A line on the memory of a run: bounds before it, its own plan during it."""

    mirrors = Signal(object)
    """Axes along which the model may average mirror images, None: not known yet."""

    def __init__(self) -> None:
        super().__init__()
        self._question: Question | None = None
        self._next: Question | None = None
        self._mirror_axes: tuple[int, ...] | None = None
        self._is_run = False
        self.slot = JobSlot(parent=self)
        self.slot.done.connect(self._on_outlook)
        self.slot.failed.connect(self._on_failed)
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
        self._rest.stop()
        if self._next != self._question:
            self._turn_to_next()
        self._is_run = True

    def tell(self, text: str) -> None:
        """Say what a run has told of itself."""
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
        is_new = self._next != self._question
        if is_new:
            self._turn_to_next()
        # A run may have come first, or an earlier look have failed.
        is_unknown = self._mirror_axes is None and not self.slot.running
        if self._question is not None and (is_new or is_unknown):
            self.slot.start(partial(look_ahead, self._question))
        self.mirrors.emit(self._mirror_axes)

    def _turn_to_next(self) -> None:
        was, self._question = self._question, self._next
        self.slot.drop()
        self._is_run = False
        self._say("")
        if was is None or self._next is None or was.model != self._next.model:
            self._mirror_axes = None

    def _on_outlook(self, found: Outlook) -> None:
        self._mirror_axes = found.mirror_axes
        if self._next == self._question:  # else another model may be chosen already
            self.mirrors.emit(self._mirror_axes)
        if self._is_run:
            return
        memory = found.memory
        if memory is None:
            self._say("")
        else:
            self._say(memory.sentence, memory.fits != "yes")

    def _on_failed(self, error: Exception) -> None:
        if not self._is_run:
            self._say(explain(error).text, True)

    def _say(self, text: str, is_warning: bool = False) -> None:
        self.setStyleSheet(WARNING if is_warning else "")
        self.setText(text)


def look_ahead(
    question: Question, on_progress: OnProgress, is_cancelled: IsCancelled
) -> Outlook:
    """Return what is known of a run; in a job, so that PyTorch loads in its thread.

    A model by others says in its weights along which axes it may be mirrored.
    """
    with loading():
        axes = question.model.windows.mirror_axes
        if question.device is None:
            return Outlook(axes)
        from napari_liverseg.inference.devices import resolve
        from napari_liverseg.inference.forecast import forecast

        device = resolve(question.device)
        need = forecast(question.model, question.volume, device, question.look)
    return Outlook(axes, need)

"""Which workers may be given a case, and why the others may not."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_liverseg.batch.crew import full
from napari_liverseg.batch.hand import LostTakingError, LostWorkerError
from napari_liverseg.batch.turn import ATTEMPTS
from napari_liverseg.core.errors import DeviceError

if TYPE_CHECKING:
    from napari_liverseg.batch.crew import Crew
    from napari_liverseg.batch.order import Greeting, ModelCard
    from napari_liverseg.models.contract import Model

WAIT_S = 60.0
"""With nobody at work for so long, the batch ends; it can be taken up again."""

ASK_AGAIN_S = 10.0
"""A worker that was lost and is listed all the same is asked again after this time: it
may have been started anew under its address, or is listed for a while yet."""


@dataclass(frozen=True)
class _Unfit:
    error: DeviceError
    until: float


class Roll:
    """The workers of a crew, as a batch finds them.

    Parameters
    ----------
    crew : Crew
    model : Model
    card : ModelCard
    """

    def __init__(self, crew: Crew, model: Model, card: ModelCard) -> None:
        self._crew, self._model, self._card = crew, model, card
        self._unfit: dict[str, _Unfit] = {}
        self._lost_in_a_row = 0

    def call(self) -> tuple[str, ...]:
        """Return the workers that are there; those that come back are new ones.

        Raises
        ------
        DeviceError
            When the scheduler is gone.
        """
        present, now = self._crew.present(), time.monotonic()
        self._unfit = {
            worker: unfit
            for worker, unfit in self._unfit.items()
            if worker in present and now < unfit.until
        }
        return present

    def is_fit(self, worker: str) -> bool:
        """Whether nothing is known against a worker."""
        return worker not in self._unfit

    def lose(self, worker: str, error: LostWorkerError) -> None:
        """Take note of a worker that went away with what it had."""
        self._crew.forget(worker)
        self._unfit[worker] = _Unfit(error, time.monotonic() + ASK_AGAIN_S)

    def make_fit(self, worker: str) -> Greeting | None:
        """Return the greeting of a worker that takes a case now, or None.

        Raises
        ------
        DeviceError
            When the scheduler is gone.
        ModelError
            When the model that it lacks cannot be read.
        """
        if self._crew.is_paused(worker):
            return None
        try:
            greeting = self._crew.make_fit(worker, self._model, self._card)
        except LostWorkerError as error:
            self.lose(worker, error)
            self._lost_in_a_row += isinstance(error, LostTakingError)
            return None
        except DeviceError as error:
            self._unfit[worker] = _Unfit(error, float("inf"))
            return None
        self._lost_in_a_row = 0
        return greeting

    def refuse_to_wait(self, present: tuple[str, ...], since: float) -> None:
        """Raise `DeviceError` when nobody is left who could go on.

        Parameters
        ----------
        present : tuple of str
            From `call`.
        since : float
            When somebody was last at work.
        """
        if self._lost_in_a_row >= ATTEMPTS:
            found = f"Workers are lost while they take the model '{self._model.name}'."
            raise DeviceError(found, "Look for memory that ran out, and run again.")
        errors = [self._unfit[w].error for w in present if w in self._unfit]
        for_good = [e for e in errors if not isinstance(e, LostWorkerError)]
        if for_good and len(errors) == len(present):
            raise for_good[0]
        if time.monotonic() - since <= WAIT_S:
            return
        if errors:
            raise errors[0]
        if present:
            raise full(present[0])
        found = f"The scheduler at {self._crew.address} has no workers."
        raise DeviceError(found, "Start workers, and run again to go on.")

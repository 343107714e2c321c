"""The workers at the other end of a connection: who is there, and fit to work."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_liverseg.batch.hand import (
    LostTakingError,
    LostWorkerError,
    hand_model,
    lost,
)
from napari_liverseg.batch.model_copy import read_files
from napari_liverseg.batch.order import Refused
from napari_liverseg.batch.work import greet
from napari_liverseg.core.errors import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_liverseg.batch.order import Greeting, ModelCard
    from napari_liverseg.core.progress import IsCancelled
    from napari_liverseg.models.contract import Model

WAIT_S = 30.0
"""Workers that are started anew, as after a crash, come back within this time."""

ASK_AGAIN_S = 0.2


class Crew:
    """The workers of one scheduler.

    Parameters
    ----------
    client : distributed.Client
    address : str
        Of the scheduler.
    devices : tuple of str
        Where workers compute, shared out by their number.
    """

    def __init__(self, client: Any, address: str, devices: tuple[str, ...]) -> None:
        self.client = client
        self.address = address
        self._devices = devices
        self._fit: dict[str, Greeting] = {}

    def present(self) -> tuple[str, ...]:
        """Return the addresses of the workers that are there now.

        Raises
        ------
        DeviceError
            When the scheduler is gone.
        """
        with self.scheduler_there():
            present = tuple(self.client.nthreads())
        self._fit = {w: g for w, g in self._fit.items() if w in present}
        return present

    def wait(self, is_cancelled: IsCancelled) -> None:
        """Return once there is a worker, within `WAIT_S`.

        Raises
        ------
        CancelledError
            Once `is_cancelled` returns True.
        DeviceError
            When there is none after all that time.
        """
        from napari_liverseg.core.progress import stop_if

        until = time.monotonic() + WAIT_S
        while not self.present():
            stop_if(is_cancelled)
            if time.monotonic() > until:
                found = f"The scheduler at {self.address} has no workers."
                raise DeviceError(found, "Start workers, and run again.")
            time.sleep(ASK_AGAIN_S)

    def device_of(self, worker: str) -> str:
        """Return where a worker is to compute."""
        if len(self._devices) == 1:
            return self._devices[0]
        # A local worker that is started anew keeps its number.
        number = int(self._known().get(worker, {}).get("name", 0))
        return self._devices[number % len(self._devices)]

    def is_paused(self, worker: str) -> bool:
        """Whether Dask gives a worker nothing to do, as its memory is nearly full."""
        return bool(self._known().get(worker, {}).get("status") == "paused")

    def forget(self, worker: str) -> None:
        """Ask a worker again who it is: another may have come under its address."""
        self._fit.pop(worker, None)

    def make_fit(self, worker: str, model: Model, card: ModelCard) -> Greeting:
        """Return a worker's greeting once it runs our version and has the model.

        Raises
        ------
        DeviceError
            When it does not, and cannot be helped.
        LostWorkerError
            When the worker is lost meanwhile.
        ModelError
            When the model that it lacks cannot be read.
        """
        if worker not in self._fit:
            greeting = self.ask(worker, greet, card)
            self._refuse_other_version(worker, greeting)
            if not greeting.has_model:
                self._send(worker, model, card)
            self._fit[worker] = greeting
        return self._fit[worker]

    @contextmanager
    def scheduler_there(self) -> Iterator[None]:
        """Say in words that the scheduler was lost."""
        try:
            if self.client.status != "running":
                raise self._lost()
            yield
        except (OSError, TimeoutError) as error:
            raise self._lost() from error

    def ask(self, worker: str, question: Any, *words: Any) -> Any:
        """Call a function in a worker, even while it computes.

        Raises
        ------
        DeviceError
            When it does not know the function.
        LostWorkerError
            When the worker is lost meanwhile.
        """
        try:
            answers = self.client.run(question, *words, workers=[worker])
        except (OSError, TimeoutError) as error:
            raise lost(worker) from error
        except Exception as error:
            if worker not in self.present():
                raise lost(worker) from error
            # Dask wraps what a worker could not unpack, as a module it lacks.
            found = f"The worker at {worker} does not run this napari-liverseg."
            raise DeviceError(found, _same_version()) from error
        return answers[worker]

    def _refuse_other_version(self, worker: str, greeting: Greeting) -> None:
        from napari_liverseg import __version__

        if greeting.version != __version__:
            found = (
                f"The worker at {worker} runs napari-liverseg {greeting.version}, "
                f"this computer {__version__}."
            )
            raise DeviceError(found, _same_version())

    def _send(self, worker: str, model: Model, card: ModelCard) -> None:
        parcel = read_files(model)
        try:
            answer = hand_model(self, worker, card, parcel)
        except LostWorkerError as error:
            self.present()  # raises where it is the scheduler that is lost
            found = f"The worker at {worker} was lost while it took a model."
            raise LostTakingError(found, error.next_step) from error
        if isinstance(answer, Refused):
            found = (
                f"The worker at {worker} could not take the model '{model.name}'. "
                f"{answer.found}"
            )
            raise DeviceError(found, answer.next_step)

    def _known(self) -> dict[str, dict[str, Any]]:
        """Return what the scheduler knows of its workers, by their addresses."""
        with self.scheduler_there():
            known: dict[str, dict[str, Any]] = self.client.scheduler_info(n_workers=-1)[
                "workers"
            ]
        return known

    def _lost(self) -> DeviceError:
        found = f"The connection to the scheduler at {self.address} was lost."
        return DeviceError(found, "Check that it runs, and run again.")


def full(worker: str) -> DeviceError:
    """Return what to say of a worker that Dask gives nothing to do."""
    found = f"The worker at {worker} takes no case, since its memory is nearly full."
    step = "Start it anew with a higher --memory-limit, and run again."
    return DeviceError(found, step)


def _same_version() -> str:
    return "Install the same version of napari-liverseg on all computers."

"""A case in a worker's hand: an answer comes, or the worker is lost."""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_liverseg.batch.model_copy import receive_sent
from napari_liverseg.batch.work import predict_voxels, segment_path, segment_voxels
from napari_liverseg.core.errors import DeviceError, LiversegError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_liverseg.batch.crew import Crew
    from napari_liverseg.batch.order import ModelCard, Order, Parcel, Refused, Voxels

FETCH_S = 60.0
"""An answer that does not come over in this time went down with its worker."""

KEEP_S = 30.0
"""Time for a worker to write a small model down."""

SLOWEST = 1e6
"""Bytes that its disk is given a second for."""

_numbers = itertools.count()
_ours = secrets.token_hex(6)


class LostWorkerError(DeviceError):
    """A worker went away with the case that it had."""


class LostTakingError(LostWorkerError):
    """A worker went away while a case or a model was sent to it."""


@dataclass(frozen=True, eq=False)
class Held:
    """A task on one worker.

    Parameters
    ----------
    future : distributed.Future
    worker : str
    sent : distributed.Future or None
        Voxels; only this worker has them, so that they are lost with it.
    """

    future: Any
    worker: str
    sent: Any = None

    @property
    def key(self) -> str:
        """Names the task to the scheduler, and nothing else."""
        return str(self.future.key)

    @property
    def ended(self) -> bool:
        """Whether an answer is there, or none will come."""
        return bool(self.future.status != "pending")

    def answer(self) -> Any:
        """Return what the worker said.

        Raises
        ------
        LostWorkerError
            When it is gone, and its answer with it.
        LiversegError
            When it could not even begin.
        """
        from concurrent.futures import CancelledError as FutureCancelledError

        from distributed import KilledWorker

        try:
            return self.future.result(timeout=FETCH_S)
        except (OSError, TimeoutError, KilledWorker, FutureCancelledError) as error:
            raise lost(self.worker) from error
        except Exception as error:
            # What was sent to a worker goes down with it, and takes the task along.
            if self.future.status in ("cancelled", "lost"):
                raise lost(self.worker) from error
            found = f"The worker at {self.worker} failed ({type(error).__name__})."
            step = "Look into its log, and check that it runs the same versions."
            raise LiversegError(found, step) from error

    def let_go(self) -> None:
        """Tell the scheduler that nobody waits any more."""
        for future in (self.future, self.sent):
            if future is not None:
                future.release()

    def cancel(self) -> None:
        """Stop the work; it ends within one window of the network."""
        self.future.cancel()
        self.let_go()


def hand_out(crew: Crew, worker: str, order: Order, voxels: Voxels | None) -> Held:
    """Give a worker a case to segment, from a path or from voxels.

    It stays with this worker: the scheduler moves it to no other one, so that
    nothing is computed unseen for a second time.

    Raises
    ------
    LostWorkerError
        When the worker is gone.
    LostTakingError
        When it is lost while the voxels are sent to it.
    """
    if voxels is None:
        return _submit(crew, worker, segment_path, order)
    sent = _scatter(crew, worker, voxels)
    return _submit(crew, worker, segment_voxels, order, sent)


def hand_prediction(crew: Crew, worker: str, order: Order, voxels: Voxels) -> Held:
    """Ask a worker for the probabilities of a CT.

    Raises
    ------
    LostWorkerError
        When the worker is gone.
    """
    sent = _scatter(crew, worker, voxels)
    return _submit(crew, worker, predict_voxels, order, sent)


def hand_model(
    crew: Crew, worker: str, card: ModelCard, parcel: Parcel
) -> Refused | None:
    """Give a worker a model, and return why it cannot keep it, or None.

    A worker that computes takes it at once, be it for others and for hours.

    Raises
    ------
    LostWorkerError
        When the worker is gone.
    """
    sent = _scatter(crew, worker, parcel)
    try:
        within_s = KEEP_S + parcel.nbytes / SLOWEST
        answer: Refused | None = crew.ask(
            worker, receive_sent, card, sent.key, within_s
        )
    finally:
        sent.release()
    return answer


def lost(worker: str, kind: type[LostWorkerError] = LostWorkerError) -> LostWorkerError:
    """Return what to say of a worker that is gone."""
    found = f"The worker at {worker} was lost during the run."
    return kind(found, "Check its memory and its log, and run again.")


def refused(answer: Refused) -> LiversegError:
    """Return a worker's refusal as an error."""
    return LiversegError(answer.found, answer.next_step)


def _scatter(crew: Crew, worker: str, content: Voxels | Parcel) -> Any:
    """Return a future of what was sent to one worker."""
    with crew.scheduler_there():
        try:
            return crew.client.scatter(content, workers=[worker], hash=False)
        except KeyError as error:  # the scheduler's word for a worker that it lacks
            raise lost(worker) from error
        except TimeoutError as error:  # its word for one that takes nothing now
            crew.present()  # raises where it is the scheduler that is lost
            raise lost(worker) from error
        except OSError as error:
            crew.present()
            raise lost(worker, LostTakingError) from error


def _submit(
    crew: Crew,
    worker: str,
    work: Callable[..., Any],
    order: Order,
    *sent: Any,
) -> Held:
    key = f"liverseg-{_ours}-{next(_numbers)}"
    with crew.scheduler_there():
        future = crew.client.submit(
            work,
            order,
            *sent,
            key=key,
            workers=[worker],
            allow_other_workers=False,
            pure=False,
        )
    return Held(future, worker, *sent)

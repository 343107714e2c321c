"""A case in a worker's hand: an answer comes, or the worker is lost."""

from __future__ import annotations

import itertools
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_liverseg.batch.model_copy import receive
from napari_liverseg.batch.work import predict_voxels, segment_path, segment_voxels
from napari_liverseg.core.errors import DeviceError, LiversegError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_liverseg.batch.crew import Crew
    from napari_liverseg.batch.order import ModelCard, Order, Parcel, Refused, Voxels

FETCH_S = 60.0
"""An answer that does not come over in this time went down with its worker."""

_numbers = itertools.count()
_ours = secrets.token_hex(6)


class LostWorkerError(DeviceError):
    """A worker went away with the case that it had."""


class LostTakingModelError(LostWorkerError):
    """A worker went away while a model was sent to it."""


@dataclass(frozen=True, eq=False)
class Held:
    """A task on one worker.

    Parameters
    ----------
    future : distributed.Future
    worker : str
    sent : distributed.Future or None
        Voxels or a model; only this worker has them, so that they are lost with it.
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

    def answer(self, within_s: float = FETCH_S) -> Any:
        """Return what the worker said.

        Parameters
        ----------
        within_s : float
            It counts as lost afterwards.

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
            return self.future.result(timeout=within_s)
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
    """
    if voxels is None:
        return _submit(crew, worker, segment_path, order)
    return _with_sent(crew, worker, segment_voxels, order, voxels)


def hand_prediction(crew: Crew, worker: str, order: Order, voxels: Voxels) -> Held:
    """Ask a worker for the probabilities of a CT.

    Raises
    ------
    LostWorkerError
        When the worker is gone.
    """
    return _with_sent(crew, worker, predict_voxels, order, voxels)


def hand_model(crew: Crew, worker: str, card: ModelCard, parcel: Parcel) -> Held:
    """Give a worker a model to keep.

    Raises
    ------
    LostWorkerError
        When the worker is gone.
    """
    return _with_sent(crew, worker, receive, card, parcel)


def lost(worker: str) -> LostWorkerError:
    """Return what to say of a worker that is gone."""
    found = f"The worker at {worker} was lost during the run."
    return LostWorkerError(found, "Check its memory and its log, and run again.")


def refused(answer: Refused) -> LiversegError:
    """Return a worker's refusal as an error."""
    return LiversegError(answer.found, answer.next_step)


def _with_sent(
    crew: Crew,
    worker: str,
    work: Callable[..., Any],
    asked: Order | ModelCard,
    content: Voxels | Parcel,
) -> Held:
    with crew.scheduler_there():
        try:
            sent = crew.client.scatter(content, workers=[worker], hash=False)
        except KeyError as error:  # the scheduler's word for a worker that it lacks
            raise lost(worker) from error
        except (OSError, TimeoutError) as error:
            crew.present()  # raises where it is the scheduler that is lost
            raise lost(worker) from error
    return _submit(crew, worker, work, asked, sent)


def _submit(
    crew: Crew,
    worker: str,
    work: Callable[..., Any],
    asked: Order | ModelCard,
    *sent: Any,
) -> Held:
    key = f"liverseg-{_ours}-{next(_numbers)}"
    with crew.scheduler_there():
        future = crew.client.submit(
            work,
            asked,
            *sent,
            key=key,
            workers=[worker],
            allow_other_workers=False,
            pure=False,
        )
    return Held(future, worker, *sent)

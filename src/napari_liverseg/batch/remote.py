"""A prediction on another computer, as if its device were one of ours."""

from __future__ import annotations

import queue
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_liverseg.batch.cluster import connected
from napari_liverseg.batch.crew import full
from napari_liverseg.batch.hand import (
    LostWorkerError,
    hand_prediction,
    lost,
    refused,
)
from napari_liverseg.batch.order import Order, Refused, card_of, voxels_of
from napari_liverseg.batch.work import PLANS, TOPIC
from napari_liverseg.core.errors import DeviceError, LiversegError
from napari_liverseg.core.probabilities import Thresholds
from napari_liverseg.core.progress import ignore_progress, never_cancelled, stop_if
from napari_liverseg.inference.options import Listener, RunOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_liverseg.batch.address import TlsFiles
    from napari_liverseg.batch.crew import Crew
    from napari_liverseg.batch.hand import Held
    from napari_liverseg.core.probabilities import Probabilities
    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.models.contract import Model

LISTEN_S = 0.1
"""How often the user's wish to stop is asked for."""

LOOK_S = 1.0
"""How often we look whether the worker is still there."""

PLAN = "On the cluster: {plan}. The masks come whole, at the end of the run."

Report = tuple[int, int, str] | str
"""Progress, or the plan."""

Reports = queue.SimpleQueue[Report]


def predict_remotely(  # noqa: PLR0913 - as `Predictor.predict`, and where
    address: str,
    model: Model,
    volume: CTVolume,
    on_progress: OnProgress = ignore_progress,
    is_cancelled: IsCancelled = never_cancelled,
    options: RunOptions | None = None,
    tls: TlsFiles | None = None,
    listener: Listener | None = None,
) -> Probabilities:
    """Return what a model believes about a CT, computed by a worker of a scheduler.

    Voxels, their grid and the order of the file's axes are sent, no header and no
    name; a model that the worker lacks is sent too.

    Parameters
    ----------
    address : str
        ``tcp://HOST:PORT`` or ``tls://HOST:PORT`` of the scheduler.
    model : Model
    volume : CTVolume
    on_progress, is_cancelled : callable
        As `Predictor.predict` has them.
    options : RunOptions or None
        None is `RunOptions()`.
    tls : TlsFiles or None
        None takes what Dask's own configuration says.
    listener : Listener or None
        Told the worker's plan; of slices before the end it hears nothing.

    Raises
    ------
    CancelledError
        Once `is_cancelled` returns True; the worker stops before its next window.
    DeviceError
        When scheduler or worker cannot be reached, are lost, or do not fit.
    MissingExtraError
        When Dask is not installed.
    """
    on_progress(0, 1, "Connecting to the cluster")
    with connected(address, tls) as crew:
        on_progress(0, 1, "Looking for a worker")
        crew.wait(is_cancelled)
        worker = _idlest(crew)
        card = card_of(model)
        crew.make_fit(worker, model, card)
        on_progress(0, 1, "Sending the CT")
        stop_if(is_cancelled)
        device, wanted = crew.device_of(worker), options or RunOptions()
        order = Order(card, device, Thresholds(), options=wanted)
        with _reports(crew) as reports:
            held = hand_prediction(crew, worker, order, voxels_of(volume))
            try:
                ours = reports.setdefault(held.key, queue.SimpleQueue())
                tell = partial(_tell, on_progress, listener or Listener())
                answer = _await(held, crew, ours, tell, is_cancelled)
            finally:
                held.cancel()
    if isinstance(answer, Refused):
        raise _as_device_error(refused(answer))
    return _ours(answer)


def _idlest(crew: Crew) -> str:
    """Return the worker with the least to do."""
    with crew.scheduler_there():
        at_work = crew.client.processing()
    present = crew.present()
    if not present:
        found = f"The scheduler at {crew.address} has lost its workers."
        raise DeviceError(found, "Start workers, and run again.")
    free = [worker for worker in present if not crew.is_paused(worker)]
    if not free:
        raise full(present[0])
    return min(free, key=lambda worker: len(at_work.get(worker, ())))


@contextmanager
def _reports(crew: Crew) -> Iterator[dict[str, Reports]]:
    """Yield the progress and the plans of tasks by their key.

    Dask calls back in a thread of its own; windows want to be told in ours.
    """
    by_key: dict[str, Reports] = {}

    def of(key: str) -> Reports:
        return by_key.setdefault(key, queue.SimpleQueue())

    def hear(event: tuple[float, Any]) -> None:
        key, done, total, text = event[1]
        of(key).put((done, total, text))

    def hear_plan(event: tuple[float, Any]) -> None:
        key, text = event[1]
        of(key).put(text)

    topics = {TOPIC: hear, PLANS: hear_plan}
    for topic, hearer in topics.items():
        crew.client.subscribe_topic(topic, hearer)
    try:
        yield by_key
    finally:
        for topic in topics:
            crew.client.unsubscribe_topic(topic)


def _tell(on_progress: OnProgress, listener: Listener, report: Report) -> None:
    if not isinstance(report, str):
        on_progress(*report)
    elif listener.on_plan is not None:
        listener.on_plan(PLAN.format(plan=report))


def _await(
    held: Held,
    crew: Crew,
    ours: Reports,
    tell: Callable[[Report], None],
    is_cancelled: IsCancelled,
) -> Any:
    looked_at = time.monotonic()
    while not held.ended:
        stop_if(is_cancelled)
        with suppress(queue.Empty):
            tell(ours.get(timeout=LISTEN_S))
        if time.monotonic() - looked_at > LOOK_S:
            looked_at = time.monotonic()
            if held.worker not in crew.present():
                raise lost(held.worker)
    while not ours.empty():  # short runs end before they are listened to
        tell(ours.get())
    try:
        return held.answer()
    except LostWorkerError:
        crew.present()  # raises where it is the scheduler that is lost
        raise


def _as_device_error(error: LiversegError) -> DeviceError:
    return DeviceError(f"On the cluster: {error.found}", error.next_step)


def _ours(probabilities: Probabilities) -> Probabilities:
    """Say in the record that the device is none of this computer's."""
    run = replace(probabilities.run, device=f"{probabilities.run.device} (cluster)")
    return replace(probabilities, run=run)

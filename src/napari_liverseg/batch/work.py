"""What runs on a worker: one case at a time, and an answer whatever happens."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_liverseg.batch.order import (
    Done,
    Greeting,
    Refused,
    Unseen,
    pack,
    without_voxels,
)
from napari_liverseg.batch.sight import sight_of
from napari_liverseg.core.errors import CancelledError, DeviceError, LiversegError
from napari_liverseg.inference.options import Listener

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_liverseg.batch.order import Answer, ModelCard, Order, Voxels
    from napari_liverseg.core.probabilities import Probabilities
    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.core.volume import CTVolume

TOPIC = "napari-liverseg"
"""Where workers tell their progress; the scheduler keeps the latest events only."""

PLANS = "napari-liverseg-plans"
"""Where workers tell the plans of their runs. Masks are not told in this way: every
client hears every event, and the scheduler keeps the latest."""

REPORT_EVERY_S = 0.2
ASK_AGAIN_S = 0.1

_turn = threading.Lock()
"""Two runs at once in one process would share one device's memory."""

_loaded: dict[tuple[str, str], Any] = {}
"""The last model used, by digest and device."""


def greet(card: ModelCard) -> Greeting:
    """Return who this worker is, and whether it has a model."""
    from napari_liverseg import __version__
    from napari_liverseg.batch.model_copy import find_copy
    from napari_liverseg.io.keys import installation

    return Greeting(__version__, installation(), find_copy(card) is not None)


def segment_path(order: Order) -> Answer:
    """Segment a CT that this worker reads itself."""
    from napari_liverseg.batch.opening import BY_LIST, open_chosen

    path = Path(order.path)
    try:
        if sight_of(path) != order.sight:
            return Unseen()
        started = time.perf_counter()
        volume = open_chosen(path, order.series, order.decisions, BY_LIST)
        return _segment(order, volume, started, without_voxels(volume))
    except Exception as error:  # noqa: BLE001 - a worker logs what a raise would carry
        return refusal_of(error)


def segment_voxels(order: Order, voxels: Voxels) -> Answer:
    """Segment a CT whose voxels were sent."""
    try:
        return _segment(order, _volume(voxels), time.perf_counter(), None)
    except Exception as error:  # noqa: BLE001 - a worker logs what a raise would carry
        return refusal_of(error)


def predict_voxels(order: Order, voxels: Voxels) -> Probabilities | Refused:
    """Return what a model believes about a CT whose voxels were sent."""
    try:
        return _predict(order, _volume(voxels))
    except Exception as error:  # noqa: BLE001 - a worker logs what a raise would carry
        return refusal_of(error)


def refusal_of(error: Exception) -> Refused:
    """Return an error in words without paths, as it crosses to the user."""
    if isinstance(error, LiversegError):
        return Refused(error.found, error.next_step)
    if isinstance(error, CancelledError):
        return Refused("It was stopped.", "Run again.")
    if isinstance(error, MemoryError):
        found = "There was not enough memory."
        return Refused(found, "Use fewer workers on a computer, or a smaller CT.")
    reason = error.strerror if isinstance(error, OSError) else None
    said = f": {reason}" if reason else ""
    found = f"Something went wrong that should not ({type(error).__name__}{said})."
    step = "Segment it alone with --debug and report what it prints."
    return Refused(found, step)


def _segment(
    order: Order, volume: CTVolume, started: float, shell: dict[str, Any] | None
) -> Done:
    from napari_liverseg.batch.report import peak_memory_mb
    from napari_liverseg.inference.decision import decide

    probabilities = _predict(order, volume)
    segmentation = decide(probabilities, order.thresholds)
    return Done(
        labels=pack(segmentation, probabilities.box),
        box=probabilities.box,
        run=probabilities.run,
        seconds=time.perf_counter() - started,
        peak_memory_mb=peak_memory_mb(),
        volume=shell,
    )


def _predict(order: Order, volume: CTVolume) -> Probabilities:
    is_cancelled, on_progress, listener = _line_to_the_client()
    with _in_turn(is_cancelled, on_progress):
        on_progress(0, 1, "Preparing the model")
        predictor = _predictor(order)
        probabilities: Probabilities = predictor.predict(
            volume, on_progress, is_cancelled, order.options, listener
        )
    # The copy here may have another name or date; whoever asked goes by theirs.
    card = order.model
    run = replace(probabilities.run, model=card.name, model_version=card.version)
    return replace(probabilities, run=run)


def _predictor(order: Order) -> Any:
    """Return the model on its device; only the last one stays in memory."""
    from napari_liverseg.batch.model_copy import find_copy
    from napari_liverseg.inference.devices import load_torch
    from napari_liverseg.inference.predictor import Predictor

    wanted = (order.model.digest, order.device)
    if wanted not in _loaded:
        model: Any = find_copy(order.model)
        if model is None:
            found = f"The worker has no model '{order.model.name}' like the one here."
            raise DeviceError(found, "Run again: the model is sent to new workers.")
        _loaded.clear()
        _loaded[wanted] = Predictor(model, order.device)
    # Dask starts its processes with one thread for numerics, whatever they have.
    load_torch().set_num_threads(max(_worker().state.nthreads, 1))
    return _loaded[wanted]


@contextmanager
def _in_turn(is_cancelled: IsCancelled, on_progress: OnProgress) -> Iterator[None]:
    from napari_liverseg.core.progress import stop_if

    while not _turn.acquire(timeout=ASK_AGAIN_S):
        on_progress(0, 1, "Waiting for another run on this worker")
        stop_if(is_cancelled)
    try:
        stop_if(is_cancelled)
        yield
    finally:
        _turn.release()


def _line_to_the_client() -> tuple[IsCancelled, OnProgress, Listener]:
    """Return how this task hears that nobody wants it, and how it tells of itself.

    The scheduler drops a task when its client cancels it, and also when the
    client is gone; its own state on the worker then says so.
    """
    worker = _worker()
    key = worker.get_current_task()
    told_at = 0.0

    def is_cancelled() -> bool:
        task = worker.state.tasks.get(key)
        return task is None or task.state == "cancelled"

    def on_progress(done: int, total: int, text: str) -> None:
        nonlocal told_at
        now = time.monotonic()
        if done >= total or now - told_at >= REPORT_EVERY_S:
            told_at = now
            worker.log_event(TOPIC, [key, done, total, text])

    def on_plan(text: str) -> None:
        worker.log_event(PLANS, [key, text])

    return is_cancelled, on_progress, Listener(on_plan=on_plan)


def _worker() -> Any:
    from distributed import get_worker

    return get_worker()


def _volume(voxels: Voxels) -> CTVolume:
    from napari_liverseg.core.volume import CTVolume

    grid, turned = voxels.geometry, voxels.reorientation
    return CTVolume(voxels.hu, grid, grid, turned, name="", series_key="")

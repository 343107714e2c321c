"""Long work in a thread that reports, can be cancelled, and never fails in silence."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.qt.threading import WorkerBase, WorkerBaseSignals, create_worker
from qtpy.QtCore import QObject, QThreadPool, Signal

from napari_liverseg.core.errors import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_liverseg.core.progress import IsCancelled, OnProgress

    Work = Callable[[OnProgress, IsCancelled], Any]

REPORT_EVERY_S = 0.1

MOST_JOBS = 16
"""Threads that there are at least. A training and a cluster are waited for in one each:
of the two that a processor with two cores gets, none would be left to open a CT."""


class JobSignals(WorkerBaseSignals):
    """What a job tells the window, beside napari's own signals."""

    progressed = Signal(int, int, str)


class Job(WorkerBase):
    """One call of plain work in a thread.

    A generator worker would swallow every RuntimeError, out of memory among
    them; this base reports it.

    Parameters
    ----------
    work : callable
        Called with ``(on_progress, is_cancelled)``; its result is `returned`.
    """

    def __init__(self, work: Work) -> None:
        super().__init__(SignalsClass=JobSignals)
        self._work = work
        self._reported_at = 0.0

    def work(self) -> Any:
        """Run in the thread."""
        try:
            return self._work(self._report, lambda: self.abort_requested)
        except CancelledError:
            self.quit()
            return None

    def _report(self, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if done >= total or now - self._reported_at >= REPORT_EVERY_S:
            self._reported_at = now
            self.progressed.emit(done, total, text)


class JobSlot(QObject):
    """Room for one job: a new one supersedes the old, whose result is dropped.

    Parameters
    ----------
    title : str
        Of the bar in napari's activity list; without one there is no bar.
    parent : QObject or None
    """

    started = Signal()
    progressed = Signal(int, int, str)
    done = Signal(object)
    failed = Signal(object)
    stopped = Signal()
    ended = Signal()

    def __init__(self, title: str = "", parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._title = title
        self._job: Any = None

    @property
    def running(self) -> bool:
        """Whether a job's end is still waited for."""
        return self._job is not None

    def start(self, work: Work) -> None:
        """Run `work` in a thread, in place of a job that still runs."""
        self.drop()
        job: Any = create_worker(
            work,
            _worker_class=Job,
            _start_thread=False,
            _progress={"desc": self._title, "total": 100} if self._title else False,
            _ignore_errors=True,
        )
        self._job = job
        job.progressed.connect(partial(self._on_progress, job))
        job.returned.connect(partial(self._on_end, job, self.done))
        job.errored.connect(partial(self._on_end, job, self.failed))
        # Whenever it was asked to stop: what has neither result nor error was stopped.
        job.finished.connect(partial(self._on_end, job, self.stopped))
        pool = QThreadPool.globalInstance()
        pool.setMaxThreadCount(max(pool.maxThreadCount(), MOST_JOBS))
        self.started.emit()
        job.start()

    def cancel(self) -> None:
        """Ask the job to stop; `stopped` follows when it has."""
        if self._job is not None:
            self._job.quit()

    def drop(self) -> None:
        """Ask the job to stop and take no more notice of it."""
        job, self._job = self._job, None
        if job is not None:
            job.quit()
            self.ended.emit()

    def _on_progress(self, job: Any, done: int, total: int, text: str) -> None:
        if job is not self._job:
            return
        if self._title:
            bar = job.pbar
            bar.update(max(100 * done // max(total, 1) - bar.n, 0))
        self.progressed.emit(done, total, text)

    def _on_end(self, job: Any, signal: Any, *value: Any) -> None:
        if job is self._job:
            self._job = None
            self.ended.emit()
            signal.emit(*value)

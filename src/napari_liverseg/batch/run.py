"""Many cases through many workers: each once, whatever happens to one of them."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from napari_liverseg.batch.finished import ct_files, finished
from napari_liverseg.batch.hand import (
    LostTakingModelError,
    LostWorkerError,
    hand_out,
    lost,
)
from napari_liverseg.batch.opening import BY_LIST, open_chosen
from napari_liverseg.batch.order import (
    Order,
    Refused,
    Unseen,
    card_of,
    empty_volume,
    unpack,
    voxels_of,
    without_voxels,
)
from napari_liverseg.batch.outputs import all_or_none
from napari_liverseg.batch.result import FILES, Making, write_result
from napari_liverseg.batch.sight import sight_of
from napari_liverseg.batch.summary import Row, Summary, row_of
from napari_liverseg.batch.work import refusal_of
from napari_liverseg.core.errors import DeviceError, LiversegError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_liverseg.batch.cases import Case
    from napari_liverseg.batch.crew import Crew
    from napari_liverseg.batch.hand import Held
    from napari_liverseg.batch.order import Done, Greeting, Voxels, Wish
    from napari_liverseg.core.volume import CTVolume

ATTEMPTS = 2
"""A case or model that takes two workers down would take down the third as well."""

LOOK_S = 0.5
"""How often we look which workers are there."""

WAIT_S = 60.0
"""Without any worker for so long, the batch ends; it can be taken up again."""


class Listener(Protocol):
    """Who is told what becomes of the cases."""

    def ended(self, row: Row, ended: int, total: int, left_s: float | None) -> None:
        """Take note of a case; `left_s` is the time that the rest may take."""


@dataclass(eq=False)
class _Turn:
    """A case on its way, which files it is, and what was opened of it here."""

    case: Case
    attempts: int = 0
    files: str = ""
    opened: tuple[Voxels, CTVolume] | None = None


@dataclass(frozen=True, eq=False)
class _Running:
    turn: _Turn
    held: Held
    volume: CTVolume | None


class Batch:
    """Cases, and the folder of their results.

    One case is with each worker, and where voxels are sent one more is opened
    ahead. Workers read and compute; everything is written here, so that a
    worker that dies leaves nothing half done, and one that was thought dead
    nothing twice.

    Parameters
    ----------
    cases : iterable of Case
    output : Path
        Each case gets a folder of its name in it.
    wish : Wish
    listener : Listener

    Raises
    ------
    ExportError
        When the folder holds a table that no batch has written.
    """

    def __init__(
        self, cases: Iterable[Case], output: Path, wish: Wish, listener: Listener
    ) -> None:
        from napari_liverseg.io.keys import installation

        self._wish, self._output, self._listener = wish, output, listener
        self._card = card_of(wish.model)
        self._here = installation()
        self._turns = deque(_Turn(case) for case in cases)
        self._total = len(self._turns)
        self._rows: list[Row] = []
        self._summary = Summary(output)
        self._running: dict[str, _Running] = {}
        self._unfit: dict[str, DeviceError] = {}
        self._lost_in_a_row = 0
        self._news: SimpleQueue[object] = SimpleQueue()
        self._began, self._skipped = 0.0, 0
        self._sends = wish.send == "bytes"

    @property
    def waiting(self) -> int:
        """How many cases have still to be computed."""
        return len(self._turns) + len(self._running)

    @property
    def rows(self) -> tuple[Row, ...]:
        """What became of the cases so far."""
        return tuple(self._rows)

    def skip_finished(self) -> None:
        """Pass over what an earlier batch has done, and refuse what is in the way."""
        turns, self._turns = self._turns, deque()
        for turn in turns:
            name = turn.case.name
            try:
                report = finished(turn.case, self._output, self._wish)
            except (OSError, LiversegError) as error:
                self._rows.append(_refusal(name, refusal_of(error)))
                continue
            if report is None:
                self._turns.append(turn)
            else:
                self._rows.append(row_of(name, "skipped", report))
        self._skipped = len(self._rows)
        self._summary.put(*self._rows)
        for count, row in enumerate(self._rows, start=1):
            self._listener.ended(row, count, self._total, None)

    def run(self, crew: Crew) -> None:
        """Compute what is waiting.

        Raises
        ------
        DeviceError
            When the scheduler is lost, or no worker is left that is fit.
        ModelError
            When a worker needs the model's files, and they cannot be read.
        ExportError
            When the table cannot be written.
        """
        self._began = seen_at = time.monotonic()
        try:
            while self.waiting:
                present = crew.present()
                self._forget_lost(present)
                self._take_back(present)
                ended = self._collect()
                fit = [worker for worker in present if worker not in self._unfit]
                if fit or self._running or ended:
                    seen_at = time.monotonic()
                # Workers get their next case before results are written.
                self._hand_out(crew, fit)
                for running, answer in ended:
                    self._settle(running, answer)
                self._refuse_to_wait(crew, present, seen_at)
        finally:
            for running in self._running.values():
                running.held.cancel()

    def _forget_lost(self, present: tuple[str, ...]) -> None:
        """Let workers that went away come back under the same address."""
        for worker in [w for w in self._unfit if w not in present]:
            del self._unfit[worker]

    def _take_back(self, present: tuple[str, ...]) -> None:
        """Take the cases of lost workers back."""
        for worker in [w for w in self._running if w not in present]:
            running = self._running.pop(worker)
            running.held.cancel()
            self._again(running.turn, lost(worker))

    def _collect(self) -> list[tuple[_Running, Any]]:
        """Wait for an answer, not for long, and return all that are there."""
        with contextlib.suppress(Empty):
            self._news.get(timeout=LOOK_S if self._running else 0.0)
        answers = []
        for worker in [w for w, r in self._running.items() if r.held.ended]:
            running = self._running.pop(worker)
            try:
                answers.append((running, running.held.answer()))
            except LostWorkerError as error:
                self._unfit[worker] = error
                self._again(running.turn, error)
            except LiversegError as error:
                self._end(_refusal(running.turn.case.name, refusal_of(error)))
            finally:
                running.held.let_go()
        return answers

    def _hand_out(self, crew: Crew, fit: list[str]) -> None:
        for worker in fit:
            if worker in self._running or not self._turns:
                continue
            greeting = self._make_fit(crew, worker)
            if greeting is None:
                continue
            # Keys of DICOM series are an installation's own, see `io.keys`.
            foreign = not self._here or greeting.installation != self._here
            self._sends |= foreign and self._wish.send == "auto"
            # A case that cannot be opened leaves its worker free for the next.
            while self._turns and self._is_free(worker):
                self._start(crew, worker, self._turns.popleft())
        if (
            self._sends
            and self._running
            and self._turns
            and self._turns[0].opened is None
        ):
            self._open(self._turns.popleft(), put_back=True)

    def _is_free(self, worker: str) -> bool:
        return worker not in self._running and worker not in self._unfit

    def _make_fit(self, crew: Crew, worker: str) -> Greeting | None:
        """Return the greeting of a worker that is fit, or note why it is not."""
        try:
            greeting = crew.make_fit(worker, self._wish.model, self._card)
        except DeviceError as error:
            self._unfit[worker] = error
            if isinstance(error, LostTakingModelError):
                self._lost_in_a_row += 1
            return None
        self._lost_in_a_row = 0
        return greeting

    def _start(self, crew: Crew, worker: str, turn: _Turn) -> None:
        """Give a worker a case, or end the case where it cannot be opened."""
        by_voxels = self._sends
        device = crew.device_of(worker)
        try:
            if by_voxels and turn.opened is None and not self._open(turn):
                return
            order = self._order(turn, device, by_path=not by_voxels)
        except OSError as error:
            self._end(_refusal(turn.case.name, refusal_of(error)))
            return
        voxels, volume = turn.opened if by_voxels and turn.opened else (None, None)
        try:
            held = hand_out(crew, worker, order, voxels)
        except LostWorkerError as error:
            # The case never got there: that is no attempt.
            self._unfit[worker] = error
            self._turns.append(turn)
            return
        turn.opened = None
        turn.attempts += 1
        held.future.add_done_callback(self._news.put)
        self._running[worker] = _Running(turn, held, volume)

    def _order(self, turn: _Turn, device: str, *, by_path: bool) -> Order:
        wish = self._wish
        order = Order(
            self._card,
            device,
            wish.thresholds,
            wish.decisions,
            options=wish.options,
        )
        if not by_path:
            return order
        path = turn.case.path.resolve()
        sight = sight_of(path)
        turn.files = ct_files(turn.case, sight)
        return replace(order, path=str(path), series=turn.case.series, sight=sight)

    def _open(self, turn: _Turn, *, put_back: bool = False) -> bool:
        """Open a case here; a case that cannot be opened ends."""
        case = turn.case
        try:
            # First, so that files that are replaced meanwhile count as others.
            turn.files = ct_files(case, sight_of(case.path.resolve()))
            volume = open_chosen(case.path, case.series, self._wish.decisions, BY_LIST)
        except Exception as error:  # noqa: BLE001 - one bad case must not end the others
            self._end(_refusal(case.name, refusal_of(error)))
            return False
        turn.opened = (voxels_of(volume), empty_volume(without_voxels(volume)))
        if put_back:
            self._turns.appendleft(turn)
        return True

    def _settle(self, running: _Running, answer: Any) -> None:
        turn = running.turn
        if isinstance(answer, Refused):
            self._end(_refusal(turn.case.name, answer))
        elif isinstance(answer, Unseen):
            self._unseen(turn)
        else:
            try:
                row = self._write(turn, answer, running.volume)
            except Exception as error:  # noqa: BLE001 - one bad case must not end the others
                row = _refusal(turn.case.name, refusal_of(error))
            self._end(row)

    def _write(self, turn: _Turn, done: Done, volume: CTVolume | None) -> Row:
        if volume is None:
            volume = empty_volume(done.volume or {})
        making = Making(
            done.run, self._wish.thresholds, done.seconds, done.peak_memory_mb,
            self._wish.model_digest, turn.files,
        )  # fmt: skip
        segmentation = unpack(done, volume.geometry)
        name = turn.case.name
        folder, overwrite = self._output / name, self._wish.overwrite
        with all_or_none(folder, FILES, overwrite=overwrite) as unfinished:
            report = write_result(unfinished, segmentation, volume, making)
        warnings = (p.message for p in volume.problems if p.severity == "warning")
        return row_of(name, "done", report, tuple(warnings))

    def _unseen(self, turn: _Turn) -> None:
        """Send the voxels of this case and the rest: the worker does not see it."""
        turn.attempts -= 1
        if self._wish.send != "paths":
            self._sends = True
            self._turns.appendleft(turn)
            return
        found = "The worker does not see the files of this case as they are here."
        step = "Leave out '--send paths', or use a disk that all computers share."
        self._end(_refusal(turn.case.name, Refused(found, step)))

    def _again(self, turn: _Turn, error: LostWorkerError) -> None:
        """Put a case back into the queue, once."""
        if turn.attempts < ATTEMPTS:
            self._turns.append(turn)
            return
        found = f"{error.found} It was the second one that this case took with it."
        step = "Look for memory that ran out, and run again."
        self._end(_refusal(turn.case.name, Refused(found, step)))

    def _end(self, row: Row) -> None:
        self._rows.append(row)
        self._summary.put(row)
        ended, computed = len(self._rows), len(self._rows) - self._skipped
        passed = time.monotonic() - self._began
        left_s = passed / computed * (self._total - ended)
        self._listener.ended(row, ended, self._total, left_s)

    def _refuse_to_wait(
        self, crew: Crew, present: tuple[str, ...], seen_at: float
    ) -> None:
        """Raise `DeviceError` when nobody is left who could go on."""
        if self._running or not self._turns:
            return
        if self._lost_in_a_row >= ATTEMPTS:
            name = self._wish.model.name
            found = f"Workers are lost while they take the model '{name}'."
            raise DeviceError(found, "Look for memory that ran out, and run again.")
        unfit = [self._unfit[worker] for worker in present if worker in self._unfit]
        if len(unfit) < len(present):
            return
        # The lost are listed for a while, and may be started anew.
        there = [error for error in unfit if not isinstance(error, LostWorkerError)]
        if there:
            raise there[0]
        if time.monotonic() - seen_at <= WAIT_S:
            time.sleep(LOOK_S)
            return
        if unfit:
            raise unfit[0]
        found = f"The scheduler at {crew.address} has no workers."
        raise DeviceError(found, "Start workers, and run again to go on.")


def _refusal(name: str, answer: Refused) -> Row:
    said = f"{answer.found} {answer.next_step}".strip()
    return Row(name, "refused", problems=said)

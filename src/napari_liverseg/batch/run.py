"""Many cases through many workers: each once, whatever happens to one of them."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from napari_liverseg.batch.finished import finished
from napari_liverseg.batch.hand import (
    LostTakingError,
    LostWorkerError,
    hand_out,
    lost,
)
from napari_liverseg.batch.ledger import Ledger, refusal
from napari_liverseg.batch.order import Order, Refused, Unseen, card_of
from napari_liverseg.batch.roll import Roll
from napari_liverseg.batch.turn import Turn
from napari_liverseg.core.errors import LiversegError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_liverseg.batch.cases import Case
    from napari_liverseg.batch.crew import Crew
    from napari_liverseg.batch.hand import Held
    from napari_liverseg.batch.ledger import Listener
    from napari_liverseg.batch.order import Wish
    from napari_liverseg.batch.summary import Row
    from napari_liverseg.core.volume import CTVolume

LOOK_S = 0.5
"""How often we look which workers are there."""


@dataclass(frozen=True, eq=False)
class _Running:
    turn: Turn
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

        self._wish, self._output = wish, output
        self._card = card_of(wish.model)
        self._here = installation()
        self._turns = deque(Turn(case) for case in cases)
        self._ledger = Ledger(output, wish, len(self._turns), listener)
        self._running: dict[str, _Running] = {}
        self._news: SimpleQueue[object] = SimpleQueue()
        self._at_work = 0.0
        self._sends = wish.send == "bytes"

    @property
    def waiting(self) -> int:
        """How many cases have still to be computed."""
        return len(self._turns) + len(self._running)

    @property
    def rows(self) -> tuple[Row, ...]:
        """What became of the cases so far."""
        return self._ledger.rows

    def skip_finished(self) -> None:
        """Pass over what an earlier batch has done, and refuse what is in the way."""
        turns, self._turns = self._turns, deque()
        rows: list[Row] = []
        for turn in turns:
            name = turn.case.name
            try:
                report = finished(turn.case, self._output, self._wish)
            except (OSError, LiversegError) as error:
                rows.append(refusal(name, error))
                continue
            if report is None:
                self._turns.append(turn)
            else:
                rows.append(self._ledger.skipped(name, report))
        self._ledger.skip(rows)

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
        roll = Roll(crew, self._wish.model, self._card)
        self._ledger.begin()
        self._at_work = time.monotonic()
        try:
            while self.waiting:
                present = roll.call()
                self._take_back(present)
                ended = self._collect(roll)
                # Workers get their next case before results are written.
                self._hand_out(crew, roll, present)
                for running, answer in ended:
                    self._settle(running, answer)
                if self._running or ended:
                    self._at_work = time.monotonic()
                elif self._turns:
                    roll.refuse_to_wait(present, self._at_work)
                    time.sleep(LOOK_S)
        finally:
            for running in self._running.values():
                running.held.cancel()

    def _take_back(self, present: tuple[str, ...]) -> None:
        """Take the cases of lost workers back."""
        for worker in [w for w in self._running if w not in present]:
            running = self._running.pop(worker)
            running.held.cancel()
            self._again(running.turn, lost(worker))

    def _collect(self, roll: Roll) -> list[tuple[_Running, Any]]:
        """Wait for an answer, not for long, and return all that are there."""
        with contextlib.suppress(Empty):
            self._news.get(timeout=LOOK_S if self._running else 0.0)
        answers = []
        for worker in [w for w, r in self._running.items() if r.held.ended]:
            running = self._running.pop(worker)
            try:
                answers.append((running, running.held.answer()))
            except LostWorkerError as error:
                roll.lose(worker, error)
                self._again(running.turn, error)
            except LiversegError as error:
                self._ledger.refuse(running.turn, error)
            finally:
                running.held.let_go()
        return answers

    def _hand_out(self, crew: Crew, roll: Roll, present: tuple[str, ...]) -> None:
        for worker in filter(roll.is_fit, present):
            if worker in self._running or not self._turns:
                continue
            greeting = roll.make_fit(worker)
            if greeting is None:
                continue
            # Keys of DICOM series are an installation's own, see `io.keys`.
            foreign = not self._here or greeting.installation != self._here
            self._sends |= foreign and self._wish.send == "auto"
            # A case that cannot be opened leaves its worker free for the next.
            while self._turns and worker not in self._running and roll.is_fit(worker):
                self._start(crew, roll, worker)
        if (
            self._sends
            and self._running
            and self._turns
            and self._turns[0].opened is None
        ):
            turn = self._turns.popleft()
            if self._open(turn):
                self._turns.appendleft(turn)

    def _start(self, crew: Crew, roll: Roll, worker: str) -> None:
        """Give a worker the next case, or end the case where it cannot be opened."""
        turn, wish = self._turns.popleft(), self._wish
        order = Order(
            self._card,
            crew.device_of(worker),
            wish.thresholds,
            wish.decisions,
            options=wish.options,
        )
        if self._sends:
            if turn.opened is None and not self._open(turn):
                return
        else:
            try:
                order = turn.by_path(order)
            except OSError as error:
                self._ledger.refuse(turn, error)
                return
        voxels, volume = turn.opened if self._sends and turn.opened else (None, None)
        try:
            held = hand_out(crew, worker, order, voxels)
        except LostWorkerError as error:
            roll.lose(worker, error)
            # Of a worker that was gone before, the case is not guilty.
            turn.attempts += isinstance(error, LostTakingError)
            self._again(turn, error)
            return
        turn.opened = None
        turn.attempts += 1
        held.future.add_done_callback(self._news.put)
        self._running[worker] = _Running(turn, held, volume)

    def _open(self, turn: Turn) -> bool:
        """Open a case here; a case that cannot be opened ends."""
        try:
            turn.open(self._wish.decisions)
        except Exception as error:  # noqa: BLE001 - one bad case must not end the others
            self._ledger.refuse(turn, error)
        self._at_work = time.monotonic()
        return turn.opened is not None

    def _settle(self, running: _Running, answer: Any) -> None:
        turn = running.turn
        if isinstance(answer, Refused):
            self._ledger.refuse(turn, answer)
        elif isinstance(answer, Unseen):
            self._unseen(turn)
        else:
            self._ledger.settle(turn, answer, running.volume)

    def _unseen(self, turn: Turn) -> None:
        """Send the voxels of this case and the rest: the worker does not see it."""
        turn.attempts -= 1
        if self._wish.send != "paths":
            self._sends = True
            self._turns.appendleft(turn)
            return
        found = "The worker does not see the files of this case as they are here."
        step = "Leave out '--send paths', or use a disk that all computers share."
        self._ledger.refuse(turn, Refused(found, step))

    def _again(self, turn: Turn, error: LostWorkerError) -> None:
        """Put a case back into the queue, unless it took too many workers with it."""
        if not turn.is_spent:
            self._turns.append(turn)
            return
        found = f"{error.found} It was the second one that this case took with it."
        step = "Look for memory that ran out, and run again."
        self._ledger.refuse(turn, Refused(found, step))

"""What became of the cases of a batch: written, counted and told."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from napari_liverseg.batch.order import empty_volume, unpack
from napari_liverseg.batch.outputs import all_or_none
from napari_liverseg.batch.result import FILES, PROBABILITY_FILES, Making, write_result
from napari_liverseg.batch.summary import Row, Summary, row_of, warning_codes
from napari_liverseg.batch.work import refusal_of

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.batch.order import Done, Refused, Wish
    from napari_liverseg.batch.turn import Turn
    from napari_liverseg.core.volume import CTVolume


class Listener(Protocol):
    """Who is told what becomes of the cases."""

    def ended(self, row: Row, ended: int, total: int, left_s: float | None) -> None:
        """Take note of a case; `left_s` is the time that the rest may take."""


class Ledger:
    """The rows of a batch, in the order in which its cases end.

    Parameters
    ----------
    output : Path
        Each case gets a folder of its name in it.
    wish : Wish
    total : int
        How many cases there are.
    listener : Listener

    Raises
    ------
    ExportError
        When the folder holds a table that no batch has written.
    """

    def __init__(
        self, output: Path, wish: Wish, total: int, listener: Listener
    ) -> None:
        self._output, self._wish = output, wish
        self._total, self._listener = total, listener
        self._summary = Summary(output)
        self._rows: list[Row] = []
        self._began, self._skipped = 0.0, 0

    @property
    def rows(self) -> tuple[Row, ...]:
        """What became of the cases so far."""
        return tuple(self._rows)

    def skipped(self, name: str, report: dict[str, Any]) -> Row:
        """Return the row of a case by the report that is there already.

        What its earlier row says stays; without one, warnings are told by their
        codes, for no report holds their words.
        """
        row = row_of(name, "skipped", report, warning_codes(report))
        said = self._summary.problems_of(row)
        return row if said is None else replace(row, problems=said)

    def skip(self, rows: list[Row]) -> None:
        """Take note of all cases that need not, or must not, be computed.

        Raises
        ------
        ExportError
            When the table cannot be written.
        """
        self._rows += rows
        self._skipped = len(self._rows)
        self._summary.put(*rows)
        for count, row in enumerate(rows, start=1):
            self._listener.ended(row, count, self._total, None)

    def begin(self) -> None:
        """Take the time from now on."""
        self._began = time.monotonic()

    def refuse(self, turn: Turn, reason: Refused | Exception) -> None:
        """Take note of a case that could not be segmented; see `skip`."""
        self._end(refusal(turn.case.name, reason))

    def settle(self, turn: Turn, done: Done, volume: CTVolume | None) -> None:
        """Write the files of a case that was segmented, and take note; see `skip`.

        Parameters
        ----------
        turn : Turn
        done : Done
        volume : CTVolume or None
            None where the worker has read the CT, and tells of it.
        """
        try:
            row = self._write(turn, done, volume)
        except Exception as error:  # noqa: BLE001 - one bad case must not end the others
            row = refusal(turn.case.name, error)
        self._end(row)

    def _write(self, turn: Turn, done: Done, volume: CTVolume | None) -> Row:
        if volume is None:
            volume = empty_volume(done.volume or {})
        making = Making(
            done.run, self._wish.thresholds, done.seconds, done.peak_memory_mb,
            self._wish.model_digest, turn.files,
        )  # fmt: skip
        segmentation = unpack(done, volume.geometry)
        name = turn.case.name
        folder, overwrite = self._output / name, self._wish.overwrite
        with all_or_none(
            folder, FILES, PROBABILITY_FILES, overwrite=overwrite
        ) as unfinished:
            report = write_result(unfinished, segmentation, volume, making)
        warnings = (p.message for p in volume.problems if p.severity == "warning")
        return row_of(name, "done", report, tuple(warnings))

    def _end(self, row: Row) -> None:
        self._rows.append(row)
        self._summary.put(row)
        ended, computed = len(self._rows), len(self._rows) - self._skipped
        passed = time.monotonic() - self._began
        left_s = passed / computed * (self._total - ended)
        self._listener.ended(row, ended, self._total, left_s)


def refusal(name: str, reason: Refused | Exception) -> Row:
    """Return the row of a case that could not be segmented."""
    answer = refusal_of(reason) if isinstance(reason, Exception) else reason
    said = f"{answer.found} {answer.next_step}".strip()
    return Row(name, "refused", problems=said)

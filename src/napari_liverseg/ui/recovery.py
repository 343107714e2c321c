"""Corrections reach the journal a moment after each stroke, off the GUI's thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from napari_liverseg.editing.journal import Journal, journal_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from pathlib import Path

    from napari_liverseg.editing.corrections import Corrections
    from napari_liverseg.ui.masks import Masks

PAUSE_MS = 600
"""Strokes within this share a version; none waits longer, but for an earlier one."""


class Recovery(QObject):
    """Keeps the journal of one case up to date with its masks.

    Parameters
    ----------
    masks : Masks
        Of the case whose CT was just opened. What an earlier sitting has left of
        it is set aside, to be offered.
    """

    failed = Signal(object)

    def __init__(self, masks: Masks) -> None:
        super().__init__()
        self._masks = masks
        self._journal = Journal(journal_folder(masks.volume.series_key))
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="liverseg-journal")
        self._timer = QTimer(self, singleShot=True, interval=PAUSE_MS)
        self._timer.timeout.connect(self._write_in_turn)
        masks.edited.connect(self._write_soon)
        self._closed = False
        self._last: Future[Path] | None = None
        self._journalled = 0
        """`Masks.strokes` that are on disk; -1 after a write that failed."""
        self._try(self._journal.set_aside)

    @property
    def is_kept(self) -> bool:
        """Whether every finished stroke is on disk."""
        return self._journalled == self._masks.strokes

    def found(self) -> Corrections | None:
        """Return the corrections of an earlier sitting, None when all are answered."""
        return self._journal.offered()

    def answer(self) -> None:
        """Offer what `found` returns no more.

        What was restored is on disk in this sitting's journal first; while
        that fails, the offer stays for the next time.
        """
        self.flush()
        if self.is_kept:
            self._try(self._journal.answer)

    def discard(self) -> None:
        """Set the stored corrections aside; those on screen are stored anew."""
        self.flush()
        self._try(self._journal.discard)
        if self._masks.corrections().count:
            self._write()

    def flush(self) -> None:
        """Write what is not on disk, a failed write's too; `is_kept` tells the end."""
        self._timer.stop()
        self._wait()
        if not self.is_kept or self._in_stroke:
            self._write()
            self._wait()

    def close(self) -> None:
        """Write what is waiting and end the writer."""
        if not self._closed:
            self._closed = True
            self._masks.edited.disconnect(self._write_soon)
            self.flush()
            self._writer.shutdown()

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            failure = error
            # Nobody listens before the case is on screen.
            QTimer.singleShot(0, lambda: self.failed.emit(failure))

    @property
    def _in_stroke(self) -> bool:
        return any(layer.edits.in_stroke for layer in self._masks)

    def _write_soon(self) -> None:
        # Not anew with each stroke: those of a quick hand would wait for ever.
        if not self._timer.isActive():
            self._timer.start()

    def _write_in_turn(self) -> None:
        if self._last is not None and not self._last.done():
            self._timer.start()  # versions of a slow disk must not pile up
            return
        self._write()

    def _write(self) -> None:
        # In mid-drag too: each dab claims its voxels and paints them in one call.
        corrections, strokes = self._masks.corrections(), self._masks.strokes
        self._last = self._writer.submit(self._journal.write, corrections)
        self._last.add_done_callback(partial(self._report, strokes))

    def _wait(self) -> None:
        self._writer.submit(lambda: None).result()

    def _report(self, strokes: int, written: Future[Path]) -> None:
        error = written.exception()
        self._journalled = strokes if error is None else -1
        if error is not None:
            self.failed.emit(error)

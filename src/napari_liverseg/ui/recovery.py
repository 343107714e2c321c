"""Corrections reach the journal a moment after each stroke, off the GUI's thread."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from napari_liverseg.editing.journal import Journal, journal_folder

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from napari_liverseg.editing.corrections import Corrections
    from napari_liverseg.ui.masks import Masks

PAUSE_MS = 600
"""Strokes that follow each other faster share a version."""


class Recovery(QObject):
    """Keeps the journal of one case up to date with its masks.

    Parameters
    ----------
    masks : Masks
        Of the case whose CT was just opened.
    journalled : int, optional
        `Masks.strokes` that an earlier dock has written of the same masks; the
        rest is written at once. Without it the masks are new, and what an
        earlier sitting has left is set aside, to be offered.
    """

    failed = Signal(object)

    def __init__(self, masks: Masks, journalled: int | None = None) -> None:
        super().__init__()
        self._masks = masks
        self._journal = Journal(journal_folder(masks.volume.series_key))
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="liverseg-journal")
        self._timer = QTimer(self, singleShot=True, interval=PAUSE_MS)
        self._timer.timeout.connect(self._write)
        masks.edited.connect(self._timer.start)
        self._closed = False
        self.journalled = journalled or 0
        if journalled is None:
            self._set_aside()
        elif journalled != masks.strokes:
            self._write()

    def found(self) -> Corrections | None:
        """Return the corrections of an earlier sitting, None when all are answered."""
        return self._journal.offered()

    def answer(self) -> None:
        """Offer what `found` returns no more.

        What was restored is on disk in this sitting's journal first; while
        that fails, the offer stays for the next time.
        """
        self.flush()
        if self.journalled == self._masks.strokes:
            self._journal.answer()

    def discard(self) -> None:
        """Set the stored corrections aside; those on screen are stored anew."""
        self.flush()
        self._journal.discard()
        if self._masks.corrections().count:
            self._write()

    def flush(self) -> None:
        """Write what is waiting and return when it is on disk."""
        if self._timer.isActive():
            self._timer.stop()
            self._write()
        self._writer.submit(lambda: None).result()

    def close(self) -> None:
        """Write what is waiting and end the writer."""
        if not self._closed:
            self._closed = True
            self._masks.edited.disconnect(self._timer.start)
            self.flush()
            self._writer.shutdown()

    def _set_aside(self) -> None:
        try:
            self._journal.set_aside()
        except OSError as error:
            failure = error
            # Nobody listens before the case is on screen.
            QTimer.singleShot(0, lambda: self.failed.emit(failure))

    def _write(self) -> None:
        if any(layer.edits.in_stroke for layer in self._masks):
            self._timer.start()
            return
        corrections = self._masks.corrections()
        self.journalled = self._masks.strokes
        written = self._writer.submit(self._journal.write, corrections)
        written.add_done_callback(self._report)

    def _report(self, written: Future[Path]) -> None:
        error = written.exception()
        if error is not None:
            self.journalled = -1
            self.failed.emit(error)

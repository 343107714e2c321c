"""Corrections reach the journal a moment after each stroke, off the GUI's thread."""

from __future__ import annotations

import atexit
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from qtpy.QtCore import QCoreApplication, QObject, Qt, QTimer, Signal

from napari_liverseg.editing.journal import Journal, journal_folder

if TYPE_CHECKING:
    from concurrent.futures import Future

    from napari_liverseg.editing.corrections import Corrections
    from napari_liverseg.editing.journal import Offer
    from napari_liverseg.ui.masks import Masks

PAUSE_MS = 600
"""Strokes within this share a version; none waits longer, but for an earlier one."""

_waiting: set[Recovery] = set()
"""Those with strokes that are not on disk; kept alive until they are."""


class Recovery(QObject):
    """Keeps the journal of one case up to date with its masks.

    Parameters
    ----------
    masks : Masks
        Of the case whose CT was just opened.
    """

    failed = Signal(object)
    stored = Signal()

    def __init__(self, masks: Masks) -> None:
        super().__init__()
        self._masks = masks
        self._journal = Journal(journal_folder(masks.volume.series_key))
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="liverseg-journal")
        self._timer = QTimer(self, singleShot=True, interval=PAUSE_MS)
        self._timer.timeout.connect(self._write_in_turn)
        self.stored.connect(self._on_stored, Qt.ConnectionType.QueuedConnection)
        masks.edited.connect(self._write_soon)
        # Without a dock nobody else sees that the program ends.
        QCoreApplication.instance().aboutToQuit.connect(self.flush)
        self._closed = False
        self._has_dock = True
        self._last: Future[None] | None = None
        self._journalled = 0
        """`Masks.strokes` that are on disk; -1 after a write that failed."""

    @property
    def is_kept(self) -> bool:
        """Whether every finished stroke is on disk."""
        return self._journalled == self._masks.strokes

    def found(self) -> Offer | None:
        """Return what an earlier sitting has left, None when all are answered."""
        return self._journal.offered()

    def is_open_elsewhere(self) -> bool:
        """Whether another window has corrections of this CT in work."""
        return self._journal.is_open_elsewhere()

    def answer(self, offer: Offer) -> None:
        """Offer what `found` has returned no more.

        What was restored is on disk in this sitting's journal first; while
        that fails, the offer stays for the next time.
        """
        self.flush()
        if not self.is_kept:
            return
        try:
            self._journal.answer(offer)
        except OSError as error:
            self.failed.emit(error)

    def discard(self) -> None:
        """Set the stored corrections aside; those on screen are stored anew."""
        self.flush()
        try:
            self._journal.discard()
        except OSError as error:
            self.failed.emit(error)
        if self._masks.corrections().count:
            self._write()

    def flush(self) -> None:
        """Write what is not on disk, a failed write's too; `is_kept` tells the end."""
        self._timer.stop()
        self._wait()
        if not self.is_kept or self._in_stroke:
            # Here: when the interpreter ends, no other thread takes work any more.
            self._store(self._masks.corrections(), self._masks.strokes)
        self._on_stored()

    def leave(self) -> None:
        """Write on without a dock: another window may be offered what is on disk."""
        self._has_dock = False
        self.flush()
        self._journal.release()

    def resume(self) -> None:
        """Take up again for a new dock what one has left."""
        self._has_dock = True
        if self._masks.strokes:
            # Meanwhile another window may have put it away; and it has to be held.
            self._journalled = -1
            self.flush()

    def close(self) -> None:
        """Write what is waiting and end the writer."""
        if not self._closed:
            self._closed = True
            self._masks.edited.disconnect(self._write_soon)
            self.flush()
            self._writer.shutdown()
            self._journal.release()
            _waiting.discard(self)

    @property
    def _in_stroke(self) -> bool:
        return any(layer.edits.in_stroke for layer in self._masks)

    def _write_soon(self) -> None:
        _waiting.add(self)
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
        self._last = self._writer.submit(self._store, corrections, strokes)

    def _wait(self) -> None:
        if self._last is not None:
            self._last.result()

    def _store(self, corrections: Corrections, strokes: int) -> None:
        """Add a version to the journal, in either thread, one at a time."""
        try:
            self._journal.write(corrections)
        except Exception as error:  # noqa: BLE001 - told, and tried again
            self._journalled = -1
            self.failed.emit(error)
            return
        self._journalled = strokes
        if not self._has_dock:
            self._journal.release()
        self.stored.emit()

    def _on_stored(self) -> None:
        if self.is_kept:
            _waiting.discard(self)


def _flush_waiting() -> None:
    """Write at the end of a script or a notebook, where no event loop ends."""
    for recovery in tuple(_waiting):
        recovery.flush()


atexit.register(_flush_waiting)

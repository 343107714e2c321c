"""napari with the dock open: on a case, or on the demonstration."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import napari
from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtWidgets import QApplication

from napari_liverseg.core.errors import LiversegError
from napari_liverseg.io.sample import sample_ct_path, sample_truth_path
from napari_liverseg.measure.table import as_csv
from napari_liverseg.models.store import default_model
from napari_liverseg.ui.dock import open_dock

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.ui.dock import LiverDock
    from napari_liverseg.ui.job import JobSlot

HEADLESS = "NAPARI_LIVERSEG_HEADLESS"
"""Set to 1 where nobody watches: the demonstration saves its pictures and ends."""

WINDOW_PX = (1500, 950)
SETTLE_MS = 300


class _WindowClosedError(Exception):
    """The user has seen enough of the demonstration."""


def view(path: Path | None = None) -> None:
    """Open napari with the dock, and return when the user closes it.

    Parameters
    ----------
    path : Path or None
        A CT to open.
    """
    dock = open_window()
    if path is not None:
        dock.case.open(path)
    napari.run()


def demo(out: Path) -> None:
    """Segment, compare and export the sample case in the real window.

    Parameters
    ----------
    out : Path
        Folder for labels.nii.gz, metrics.csv, metrics.json and screenshot.png;
        files of an earlier demonstration are replaced. With a display the
        window stays open on the result.

    Raises
    ------
    LiversegError
        When a step fails.
    """
    out.mkdir(parents=True, exist_ok=True)
    dock = open_window()
    try:
        _demonstrate(dock, out)
    except _WindowClosedError:
        sys.stdout.write("The window was closed before the demonstration ended.\n")
        return
    except Exception:
        dock.viewer.close()
        raise
    sys.stdout.write(f"Masks, measures and a screenshot are in {out.resolve()}\n")
    if os.environ.get(HEADLESS) == "1":
        dock.viewer.close()
    else:
        napari.run()


def _demonstrate(dock: LiverDock, out: Path) -> None:
    labels = out / "labels.nii.gz"
    _finish(dock, dock.case.slot, lambda: dock.case.open(sample_ct_path()))
    default_model()  # it says what to do where there is none
    _finish(dock, dock.segment.slot, dock.segment.segment)
    truth = dock.compare
    _finish(dock, truth.opener.slot, lambda: truth.open_truth(sample_truth_path()))
    _finish(dock, truth.slot, truth.compare)
    _finish(
        dock, dock.export.slot, lambda: dock.export.save_labels(labels, overwrite=True)
    )
    _write_measures(dock, out)
    _look_at_tumour(dock)
    _wait(SETTLE_MS)
    if not dock.is_open:
        raise _WindowClosedError
    dock.viewer.screenshot(str(out / "screenshot.png"), canvas_only=False, flash=False)


def open_window() -> LiverDock:
    """Return the dock in a new viewer."""
    viewer = napari.Viewer(title="Liver segmentation", show_welcome_screen=False)
    viewer.window.resize(*WINDOW_PX)
    return open_dock(viewer)


def _finish(dock: LiverDock, slot: JobSlot, start: object) -> None:
    """Start a job and return when it has ended well."""
    failures: list[Exception] = []
    loop = QEventLoop()
    slot.failed.connect(failures.append)
    slot.ended.connect(loop.quit)
    start()  # type: ignore[operator]
    if slot.running:
        loop.exec()
    QApplication.processEvents()  # what follows a job's end is queued
    if not dock.is_open:
        raise _WindowClosedError  # Qt may have deleted the slot by now
    slot.failed.disconnect(failures.append)
    slot.ended.disconnect(loop.quit)
    if failures:
        raise failures[0]


def _write_measures(dock: LiverDock, out: Path) -> None:
    measures = dock.compare.measures
    if measures is None:
        found = "The demonstration's comparison gave no result."
        raise LiversegError(found, "Run it again in the window to see why.")
    (out / "metrics.csv").write_text(as_csv(measures), encoding="utf-8", newline="")
    text = json.dumps(measures.as_dict(), indent=2)
    (out / "metrics.json").write_text(text + "\n", encoding="utf-8")


def _look_at_tumour(dock: LiverDock) -> None:
    """Go to the slice with the most tumour, or with the most liver."""
    masks = dock.session.masks
    if masks is None:
        return
    counts = (masks.tumour.data != 0).sum(axis=(1, 2))
    if not counts.any():
        counts = (masks.liver.data != 0).sum(axis=(1, 2))
    middle = masks.liver.data_to_world((int(counts.argmax()), 0, 0))
    dock.viewer.dims.set_point(0, middle[0])


def _wait(milliseconds: int) -> None:
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()

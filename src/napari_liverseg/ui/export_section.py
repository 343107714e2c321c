"""Step 6: write the masks and the measures to disk."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QMessageBox

from napari_liverseg.core.errors import ExportError, LiversegError
from napari_liverseg.io.formats import WRITABLE
from napari_liverseg.io.label_map import write_label_map
from napari_liverseg.io.proven_file import is_there, write_proven
from napari_liverseg.io.retraining_set import add_case, known_case
from napari_liverseg.measure.table import as_csv
from napari_liverseg.ui import figures
from napari_liverseg.ui.button import allow, primary_button, quiet_button
from napari_liverseg.ui.job import JobSlot
from napari_liverseg.ui.message import Message
from napari_liverseg.ui.progress_row import ProgressRow
from napari_liverseg.ui.section import Section
from napari_liverseg.ui.session import UNFINISHED

if TYPE_CHECKING:
    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.core.segmentation import Segmentation
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.measure.case import CaseMeasures
    from napari_liverseg.ui.compare_section import CompareSection
    from napari_liverseg.ui.session import Session

FORMATS = "NIfTI (*.nii.gz);;NRRD (*.nrrd);;MHA (*.mha)"
CSV = "CSV (*.csv)"
NO_PATIENT = "This file names no patient: it counts as a patient of its own."
SUFFIXES = {FORMATS: WRITABLE, CSV: (".csv",)}
"""Endings that a name may have as it is typed, by what the file dialog offers."""


class ExportSection(Section):
    """Writes label maps on the CT's own grid, CSV, and retraining sets."""

    added_to = Signal(object)
    """Folder of the retraining set that a case was added to."""

    def __init__(self, session: Session, compare: CompareSection) -> None:
        super().__init__(6, "Export")
        self._session = session
        self._compare = compare
        self._volume: CTVolume | None = None
        self._set: Path | None = None
        self._last_set: Path | None = None
        self.slot = JobSlot("Exporting", self)
        self.slot.done.connect(self._on_done)
        self.slot.failed.connect(self._on_failed)
        self.slot.started.connect(self.refresh)
        self.slot.ended.connect(self.refresh)
        self.labels = primary_button("Save label map…", "", self._ask_labels)
        self.csv = quiet_button("Save measures as CSV…", "", self._ask_csv)
        self.retraining = quiet_button("Add to retraining set…", "", self._ask_set)
        for widget in (
            self.labels,
            self.csv,
            self.retraining,
            self._progress(),
            self.messages,
        ):
            self.add(widget)
        session.case_changed.connect(self._on_case)
        session.layers_changed.connect(self.refresh)
        session.masks_changed.connect(self.refresh)
        session.partial_changed.connect(self.refresh)
        compare.measured.connect(self.refresh)
        self.refresh()

    def save_labels(self, path: Path, *, overwrite: bool = False) -> None:
        """Write the masks as one label map, proven by reading it back.

        Parameters
        ----------
        path : Path
            Its ending names the format.
        overwrite : bool
            The user has agreed to replace the file.
        """
        self._set = self._last_set = None
        self._start(partial(write_masks, path, overwrite=overwrite))

    def save_csv(self, path: Path) -> None:
        """Write the measures of the last comparison."""
        measures, refusal = self._compare.measures, self._compare.refusal
        try:
            if measures is None or refusal:  # a run may have ended since the question
                found = "The measures were not saved."
                raise ExportError(found, f"{refusal}.")
            write_measures(path, measures)
        except LiversegError as error:
            self.messages.show_error("export", error)
            return
        self._say(f"Measures saved in {path}.")

    def add_to_set(self, folder: Path, *, overwrite: bool = False) -> None:
        """Add the CT and the masks to a retraining set.

        Parameters
        ----------
        folder : Path
        overwrite : bool
            The user has agreed to replace what the set holds of this CT.
        """
        self._set, self._last_set = None if overwrite else folder, folder
        self._start(partial(write_case, folder, overwrite=overwrite))

    def close_down(self) -> None:
        """Take no more notice of an export; it ends on its own."""
        self.slot.drop()

    def refresh(self) -> None:
        """Allow what is possible now, and say why the rest is not."""
        session = self._session
        reason = "" if session.volume is not None else "Open a CT first"
        if not reason and not session.has_masks:
            reason = "There are no masks yet: press Segment or paint"
        if not reason and session.is_partial:
            reason = UNFINISHED
        if not reason and self.slot.running:
            reason = "An export is running"
        allow(self.labels, reason, "NIfTI, NRRD or MHA on the voxels of your CT")
        allow(self.retraining, reason, "Copy CT and masks in the nnU-Net layout")
        allow(self.csv, self._compare.refusal, "Every measure in full precision")

    def _progress(self) -> ProgressRow:
        row = ProgressRow(self.slot)
        row.cancel.hide()  # a file is written whole
        return row

    def _start(self, write: partial[str]) -> None:
        volume = self._session.volume
        if volume is None:
            return
        self.messages.clear_all()
        try:
            segmentation = self._session.segmentation()
        except LiversegError as error:
            self.messages.show_error("export", error)
            return
        self._volume = volume
        # A copy: what is written is the mask of this moment.
        self.slot.start(partial(write, segmentation, volume))

    def _ask_labels(self) -> None:
        path = self._ask_path("Save label map", "_labels.nii.gz", FORMATS)
        if path is not None:
            self.save_labels(path, overwrite=is_there(path))

    def _ask_csv(self) -> None:
        path = self._ask_path("Save measures", "_measures.csv", CSV)
        if path is not None:
            self.save_csv(path)

    def _ask_set(self) -> None:
        volume = self._session.volume
        folder = QFileDialog.getExistingDirectory(
            self, "Choose the retraining set", self._session.start_folder
        )
        if folder and self._still_shows(volume):
            self.add_to_set(Path(folder))

    def _ask_path(self, title: str, end: str, formats: str) -> Path | None:
        """Return a path with an ending, None when the user thinks again."""
        volume = self._session.volume
        # 'CHEST/PELVIS W/CONTRAST' describes a series and would name folders.
        name = re.sub(r'[\\/:*?"<>|]', "-", volume.name if volume else "case")
        start = str(Path(self._session.start_folder) / f"{name}{end}")
        chosen, wanted = QFileDialog.getSaveFileName(self, title, start, formats)
        if not chosen or not self._still_shows(volume):
            return None
        path = Path(chosen)
        ending = wanted.partition("*")[2].rstrip(")")
        if path.name.lower().endswith(SUFFIXES[formats]):
            return path
        path = path.with_name(path.name + ending)
        if is_there(path) and not self._may_replace(path):
            return None  # the file dialog asked about the name without ending
        return path if self._still_shows(volume) else None

    def _may_replace(self, path: Path) -> bool:
        answer = QMessageBox.question(
            self, "Replace the file?", f"{path.name} is there already. Replace it?"
        )
        return bool(answer == QMessageBox.StandardButton.Yes)

    def _say(self, text: str) -> None:
        self.messages.show_message("export", Message(text))
        self.set_status(text)

    def _on_done(self, text: str) -> None:
        self._say(text)
        if self._last_set is not None:
            self.added_to.emit(self._last_set)
            self._last_set = None

    def _on_failed(self, error: Exception) -> None:
        folder, volume = self._set, self._volume
        refused = isinstance(error, ExportError)
        ours = volume is self._session.volume and refused
        # Before any question: the case may be there, and the export have failed of
        # something else, which a 'no' must not hide.
        self.messages.show_error("export", error)
        if not ours or folder is None or volume is None or not holds(folder, volume):
            return
        question = "This case is in the retraining set already. Replace it?"
        answer = QMessageBox.question(self, "Replace the case?", question)
        if answer == QMessageBox.StandardButton.Yes and self._still_shows(volume):
            self.add_to_set(folder, overwrite=True)

    def _still_shows(self, volume: CTVolume | None) -> bool:
        """Whether a CT is still on screen after a question; says so if not."""
        if volume is self._session.volume:
            return True
        found = "Another CT was opened before the question was answered."
        step = "Nothing was written: export this CT if you meant it."
        self.messages.show_error("export", ExportError(found, step))
        return False

    def _on_case(self) -> None:
        self.messages.clear_all()
        self.set_status("")
        self.refresh()


def write_masks(
    path: Path,
    segmentation: Segmentation,
    volume: CTVolume,
    on_progress: OnProgress,
    is_cancelled: IsCancelled,
    *,
    overwrite: bool,
) -> str:
    """Write a label map and return what to tell the user; for a job."""
    on_progress(0, 1, "Writing and reading back")
    written = write_label_map(path, segmentation, volume, overwrite=overwrite)
    liver = figures.millilitres(segmentation.liver_ml)
    tumour = figures.millilitres(segmentation.tumour_ml)
    return f"Saved and checked {written}: liver {liver}, tumour {tumour}."


def write_case(
    folder: Path,
    segmentation: Segmentation,
    volume: CTVolume,
    on_progress: OnProgress,
    is_cancelled: IsCancelled,
    *,
    overwrite: bool,
) -> str:
    """Add a case to a retraining set and return what to tell; for a job."""
    on_progress(0, 1, "Copying CT and masks")
    case = add_case(folder, volume, segmentation, overwrite=overwrite)
    text = f"{'Replaced' if overwrite else 'Added as'} {case} in {folder}."
    if volume.patient_key is None:
        return f"{text} {NO_PATIENT}"
    return text


def holds(folder: Path, volume: CTVolume) -> bool:
    """Whether a retraining set has a CT as a case, and not another part of its series.

    It is none to replace where the set cannot be read.
    """
    try:
        return known_case(folder, volume) is not None
    except (ExportError, OSError):
        return False


def write_measures(path: Path, measures: CaseMeasures) -> None:
    """Write measures as CSV, whole or not at all.

    Raises
    ------
    ExportError
        The folder cannot be written; a file that was there stays.
    """
    content = as_csv(measures).encode()

    def prove(file: Path) -> None:
        if file.read_bytes() != content:
            found = f"'{path.name}' did not read back as it was written."
            raise ExportError(found, "Save it again.")

    write_proven(path, lambda file: _write(file, content), prove, overwrite=True)


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)

"""A label map from disk for the case on screen, with the questions that it raises."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QFileDialog, QMessageBox, QWidget

from napari_liverseg.core.errors import CaseError, GeometryMismatchError
from napari_liverseg.ui.job import JobSlot
from napari_liverseg.ui.label_map_file import ForeignValuesError, read_for_case
from napari_liverseg.ui.mapping_dialog import MappingDialog

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_liverseg.core.segmentation import Segmentation
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.ui.session import Session

FILES = "Label maps (*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd);;All files (*)"


class LabelMapOpener(QObject):
    """Reads a label map in the background and asks what only the user knows.

    Foreign values ask for their meaning, another grid asks for resampling.

    Parameters
    ----------
    session : Session
    parent : QWidget
        The questions' window.
    title : str
        What the reading is for, such as ``Reading the truth``.
    """

    opened = Signal(object)
    """The `Segmentation`, on the grid of the case that is still on screen."""
    failed = Signal(object)

    def __init__(self, session: Session, parent: QWidget, title: str) -> None:
        super().__init__(parent)
        self._session, self._window = session, parent
        self._case: CTVolume | None = None
        self._path: Path | None = None
        self._values: Mapping[int, int] | None = None
        self.slot = JobSlot(title, self)
        self.slot.done.connect(self._on_read)
        self.slot.failed.connect(self._on_unread)

    def ask(self) -> None:
        """Let the user choose a file and open it."""
        case = self._session.volume
        name, _ = QFileDialog.getOpenFileName(
            self._window, "Open masks", self._session.start_folder, FILES
        )
        if name and self._still_shows(case):
            self.open(Path(name))

    def open(
        self,
        path: Path,
        *,
        resample: bool = False,
        values: Mapping[int, int] | None = None,
    ) -> None:
        """Read a label map; `opened` or `failed` follows.

        Parameters
        ----------
        path : Path
        resample : bool
            Bring it to the CT's grid by nearest neighbour.
        values : mapping of int to int, optional
            What its values mean.
        """
        if self._session.volume is None:
            return
        self._path, self._values, self._case = path, values, self._session.volume
        self.slot.start(
            partial(read_for_case, path, self._case, resample=resample, values=values)
        )

    def _on_read(self, labels: Segmentation) -> None:
        if self._case is not None and self._case is self._session.volume:
            self.opened.emit(labels)

    def _on_unread(self, error: Exception) -> None:
        case, path, values = self._case, self._path, self._values
        if isinstance(error, ForeignValuesError) and path is not None:
            mapping = MappingDialog.ask(error.values, self._window)
            if mapping and self._still_shows(case):
                self.open(path, values=mapping)
        elif isinstance(error, GeometryMismatchError) and path is not None:
            if self._wants_resampling(error) and self._still_shows(case):
                self.open(path, resample=True, values=values)
        else:
            self.failed.emit(error)

    def _still_shows(self, case: CTVolume | None) -> bool:
        """Whether a case is still on screen after a question; says so if not."""
        if case is self._session.volume:
            return True
        found = "Another CT was opened before the question was answered."
        step = "Nothing was read: open the label map again if it is of this CT."
        self.failed.emit(CaseError(found, step))
        return False

    def _wants_resampling(self, error: GeometryMismatchError) -> bool:
        question = f"{error.found}\n\nBring it to the CT's voxels by nearest neighbour?"
        answer = QMessageBox.question(self._window, "Another grid", question)
        return bool(answer == QMessageBox.StandardButton.Yes)

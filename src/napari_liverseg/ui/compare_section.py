"""Step 5: compare the masks with ground truth."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QMessageBox

from napari_liverseg.core.errors import GeometryMismatchError, LiversegError
from napari_liverseg.measure.case import measure_case
from napari_liverseg.measure.table import as_csv, as_rows
from napari_liverseg.ui.button import allow, primary_button, quiet_button
from napari_liverseg.ui.job import JobSlot
from napari_liverseg.ui.mapping_dialog import MappingDialog
from napari_liverseg.ui.masks import read_masks
from napari_liverseg.ui.measures_table import MeasuresTable
from napari_liverseg.ui.message import copy_text
from napari_liverseg.ui.progress_row import ProgressRow
from napari_liverseg.ui.section import Section
from napari_liverseg.ui.truth_file import ForeignValuesError, read_truth
from napari_liverseg.ui.truth_layer import show_truth, truth_candidates, truth_from

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Layer

    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.core.segmentation import Segmentation
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.measure.case import CaseMeasures
    from napari_liverseg.ui.session import Session

FILES = "Label maps (*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd);;All files (*)"


class CompareSection(Section):
    """Takes the truth from a layer or a file and shows the measures."""

    def __init__(self, session: Session) -> None:
        super().__init__(5, "Compare")
        self._session = session
        self.measures: CaseMeasures | None = None
        self._case: CTVolume | None = None
        self._path: Path | None = None
        self._values: Mapping[int, int] | None = None
        self.reading = JobSlot("Reading the truth", self)
        self.reading.done.connect(self._on_truth)
        self.reading.failed.connect(self._on_unread)
        self.slot = JobSlot("Comparing", self)
        self.slot.done.connect(self._on_done)
        self.slot.failed.connect(lambda error: self.messages.show_error("run", error))
        self.slot.ended.connect(self.refresh)
        self.slot.started.connect(self.refresh)
        self.truth = QComboBox()
        self.truth.setAccessibleName("Layer with the ground truth")
        self.truth.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.from_file = quiet_button(
            "From file…", "A label map: NIfTI, NRRD or MHA", self._ask_file
        )
        self.run = primary_button("Compare", "", self.compare)
        self.table = MeasuresTable()
        self.copy = quiet_button("Copy as CSV", "", self._copy)
        self._lay_out()
        session.case_changed.connect(self._on_case)
        session.layers_changed.connect(self.refresh)
        session.masks_changed.connect(self._on_masks)
        self.refresh()

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.addWidget(self.truth, 1)
        row.addWidget(self.from_file)
        self.add(row)
        for widget in (
            self.run,
            ProgressRow(self.reading),
            ProgressRow(self.slot),
            self.messages,
            self.table,
            self.copy,
        ):
            self.add(widget)

    def open_truth(
        self,
        path: Path,
        *,
        resample: bool = False,
        values: Mapping[int, int] | None = None,
    ) -> None:
        """Read a label map in the background and outline it as the truth.

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
        self._path, self._values = path, values
        self._case = self._session.volume
        self.messages.clear_all()
        self.reading.start(
            partial(read_truth, path, self._case, resample=resample, values=values)
        )

    def compare(self) -> None:
        """Measure the masks against the chosen truth in the background."""
        volume, layer = self._session.volume, self.truth.currentData()
        if volume is None or layer is None:
            return
        self.messages.clear_all()
        self._session.settle()
        try:
            prediction = read_masks(self._session.viewer, volume)
            truth = truth_from(layer, volume)
        except LiversegError as error:
            self.messages.show_error("run", error)
            return
        self._case = volume
        self.slot.start(partial(measure, prediction, truth))

    def close_down(self) -> None:
        """Take no more notice of what is being read or measured."""
        self.reading.drop()
        self.slot.drop()

    def refresh(self) -> None:
        """List the layers that can be the truth and allow what is possible."""
        chosen = self.truth.currentData()
        layers: list[Layer] = truth_candidates(self._session.viewer)
        self.truth.clear()
        for layer in layers:
            self.truth.addItem(layer.name, layer)
        if chosen in layers:
            self.truth.setCurrentIndex(layers.index(chosen))
        if not layers:
            self.truth.addItem("No layer with a truth", None)
        reason = "" if self._session.volume is not None else "Open a CT first"
        allow(self.from_file, reason, "A label map: NIfTI, NRRD or MHA")
        if not reason and not layers:
            reason = "Choose the truth first"
        if self.slot.running:
            reason = "The comparison is running"
        allow(self.truth, "" if layers else reason)
        allow(self.run, reason, "Measure the masks against the truth")
        allow(self.copy, "" if self.measures else "Compare first")
        self.table.setVisible(self.measures is not None)
        self.copy.setVisible(self.measures is not None)

    def _ask_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Open the truth", "", FILES)
        if name:
            self.open_truth(Path(name))

    def _on_truth(self, truth: Segmentation) -> None:
        volume = self._session.volume
        if volume is None or volume is not self._case:
            return
        layer = show_truth(self._session.viewer, volume, truth)
        self.refresh()
        self.truth.setCurrentIndex(self.truth.findData(layer))

    def _on_unread(self, error: Exception) -> None:
        path = self._path
        if isinstance(error, ForeignValuesError) and path is not None:
            mapping = MappingDialog.ask(error.values, self)
            if mapping:
                self.open_truth(path, values=mapping)
        elif isinstance(error, GeometryMismatchError) and path is not None:
            if self._wants_resampling(error):
                self.open_truth(path, resample=True, values=self._values)
        else:
            self.messages.show_error("read", error)

    def _wants_resampling(self, error: GeometryMismatchError) -> bool:
        question = f"{error.found}\n\nBring it to the CT's voxels by nearest neighbour?"
        answer = QMessageBox.question(self, "Another grid", question)
        return bool(answer == QMessageBox.StandardButton.Yes)

    def _on_done(self, measures: CaseMeasures) -> None:
        if self._case is not self._session.volume:
            return
        self.measures = measures
        self.table.show_rows(as_rows(measures))
        self.set_status(self._summary())
        self.refresh()

    def _on_masks(self) -> None:
        if self.measures is not None:
            self.set_status(f"{self._summary()}; the masks have changed since")
            self.table.set_stale(True)

    def _on_case(self) -> None:
        self.close_down()
        self.measures = None
        self.set_status("")
        self.messages.clear_all()
        self.refresh()

    def _summary(self) -> str:
        if self.measures is None:
            return ""
        parts = (("Liver", self.measures.liver), ("tumour", self.measures.tumour))
        dices = ((name, mask.as_dict()["dice"]) for name, mask in parts)
        known = [f"{name} Dice {dice:.3f}" for name, dice in dices if dice is not None]
        return ", ".join(known) or "Nothing to compare in either"

    def _copy(self) -> None:
        if self.measures is not None:
            copy_text(as_csv(self.measures))


def measure(
    prediction: Segmentation,
    truth: Segmentation,
    on_progress: OnProgress,
    is_cancelled: IsCancelled,
) -> CaseMeasures:
    """Compare two label maps; for a job."""
    on_progress(0, 1, "Measuring surfaces and lesions")
    return measure_case(prediction, truth)

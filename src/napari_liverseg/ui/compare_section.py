"""Step 5: compare the masks with ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout

from napari_liverseg.core.errors import LiversegError
from napari_liverseg.measure.case import measure_case
from napari_liverseg.measure.table import as_csv, as_rows
from napari_liverseg.ui.button import allow, primary_button, quiet_button
from napari_liverseg.ui.job import JobSlot
from napari_liverseg.ui.label_map_opener import LabelMapOpener
from napari_liverseg.ui.measures_table import MeasuresTable
from napari_liverseg.ui.message import Message, copy_text
from napari_liverseg.ui.progress_row import ProgressRow
from napari_liverseg.ui.repaints import Repaints
from napari_liverseg.ui.section import Section
from napari_liverseg.ui.session import UNFINISHED
from napari_liverseg.ui.truth_layer import show_truth, truth_candidates, truth_from

if TYPE_CHECKING:
    from pathlib import Path

    from napari.layers import Labels

    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.core.segmentation import Segmentation
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.measure.case import CaseMeasures
    from napari_liverseg.ui.session import Session


STALE = "The masks have changed: compare again"
STALE_TRUTH = "The truth has changed: compare again"
SINCE = {
    STALE: "the masks have changed since",
    STALE_TRUTH: "the truth has changed since",
}


NO_TRUE_TUMOUR = (
    "The truth has no tumour, so all that the masks call tumour counts as invented. "
    "Where nobody marked tumours in it, only the liver's measures mean something."
)


@dataclass(frozen=True, eq=False)
class Compared:
    """What a comparison has looked at.

    Parameters
    ----------
    volume : CTVolume
    changes : int
        `Masks.changes` at its start.
    truth : Labels
    repaints : int
        Of the truth, at its start.
    """

    volume: CTVolume
    changes: int
    truth: Labels
    repaints: int


class CompareSection(Section):
    """Takes the truth from a layer or a file and shows the measures."""

    measured = Signal()
    """There are measures, they have gone, or the masks have moved on since."""

    def __init__(self, session: Session) -> None:
        super().__init__(5, "Compare")
        self._session = session
        self.measures: CaseMeasures | None = None
        self._asked: Compared | None = None
        self._measured: Compared | None = None
        self._repaints = Repaints(self._show_age)
        self.opener = LabelMapOpener(session, self, "Reading the truth")
        self.opener.opened.connect(self._on_truth)
        self.opener.failed.connect(partial(self.messages.show_error, "read"))
        self.slot = JobSlot("Comparing", self)
        self.slot.done.connect(self._on_done)
        self.slot.failed.connect(lambda error: self.messages.show_error("run", error))
        self.slot.ended.connect(self.refresh)
        self.slot.started.connect(self.refresh)
        self.truth = QComboBox()
        self.truth.setAccessibleName("Layer with the ground truth")
        self.truth.currentIndexChanged.connect(self._show_age)
        self.truth.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.from_file = quiet_button(
            "From file…", "A label map: NIfTI, NRRD or MHA", self._ask_truth
        )
        self.run = primary_button("Compare", "", self.compare)
        self.table = MeasuresTable()
        self.copy = quiet_button("Copy as CSV", "", self._copy)
        self._lay_out()
        session.case_changed.connect(self._on_case)
        session.layers_changed.connect(self.refresh)
        session.masks_changed.connect(self._on_masks)
        session.partial_changed.connect(self.refresh)
        self.refresh()

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.addWidget(self.truth, 1)
        row.addWidget(self.from_file)
        self.add(row)
        for widget in (
            self.run,
            ProgressRow(self.opener.slot),
            ProgressRow(self.slot),
            self.messages,
            self.table,
            self.copy,
        ):
            self.add(widget)

    def open_truth(self, path: Path) -> None:
        """Read a label map in the background and outline it as the truth."""
        self.messages.clear_all()
        self.opener.open(path)

    def compare(self) -> None:
        """Measure the masks against the chosen truth in the background."""
        volume, layer = self._session.volume, self.truth.currentData()
        if volume is None or layer is None:
            return
        self.messages.clear_all()
        try:
            prediction = self._session.segmentation()
            truth = truth_from(layer, volume)
        except LiversegError as error:
            self.messages.show_error("run", error)
            return
        self._repaints.follow(layer)
        repaints = self._repaints.count(layer)
        self._asked = Compared(volume, self._changes_now, layer, repaints)
        self.slot.start(partial(measure, prediction, truth))

    @property
    def refusal(self) -> str:
        """Why the measures cannot be copied or saved; empty when they can."""
        of = self._measured
        if self.measures is None or of is None:
            return "Compare with a truth first"
        if of.changes != self._changes_now or self._session.is_partial:
            return STALE
        painted = self._repaints.count(of.truth) != of.repaints
        other = self.truth.currentData() is not of.truth
        return STALE_TRUTH if painted or other else ""

    @property
    def _changes_now(self) -> int:
        masks = self._session.masks
        return 0 if masks is None else masks.changes

    def close_down(self) -> None:
        """Take no more notice of what is being read or measured."""
        self.opener.slot.drop()
        self.slot.drop()
        self._repaints.forget()

    def refresh(self) -> None:
        """List the layers that can be the truth and allow what is possible."""
        chosen = self.truth.currentData()
        layers = truth_candidates(self._session.viewer)
        self.truth.blockSignals(True)
        self.truth.clear()
        for layer in layers:
            self.truth.addItem(layer.name, layer)
        if chosen in layers:
            self.truth.setCurrentIndex(layers.index(chosen))
        if not layers:
            self.truth.addItem("No layer with a truth", None)
        self.truth.blockSignals(False)
        reason = "" if self._session.volume is not None else "Open a CT first"
        allow(self.from_file, reason, "A label map: NIfTI, NRRD or MHA")
        if not reason and not self._session.has_masks:
            reason = "There are no masks yet: press Segment or paint"
        if not reason and self._session.is_partial:
            reason = UNFINISHED
        if not reason and not layers:
            reason = "Choose the truth first"
        if self.slot.running:
            reason = "The comparison is running"
        allow(self.truth, "" if layers else reason)
        allow(self.run, reason, "Measure the masks against the truth")
        self.table.setVisible(self.measures is not None)
        self.copy.setVisible(self.measures is not None)
        self._show_age()

    def _ask_truth(self) -> None:
        self.messages.clear_all()
        self.opener.ask()

    def _on_truth(self, truth: Segmentation) -> None:
        volume = self._session.volume
        if volume is None:
            return
        layer = show_truth(self._session.viewer, volume, truth)
        self.refresh()
        self.truth.setCurrentIndex(self.truth.findData(layer))

    def _on_done(self, measures: CaseMeasures) -> None:
        if self._asked is None or self._asked.volume is not self._session.volume:
            return
        self.measures, self._measured = measures, self._asked
        self.table.show_rows(as_rows(measures))
        if measures.tumour.counts.prediction and not measures.tumour.counts.truth:
            self.messages.show_message("tumour", Message(NO_TRUE_TUMOUR, "warning"))
        self.refresh()

    def _on_masks(self) -> None:
        if self.measures is None:
            self.refresh()
        else:
            self._show_age()

    def _show_age(self) -> None:
        """Tell whether the measures are still of what is chosen and shown."""
        refusal = self.refusal
        allow(self.copy, refusal, "Every measure in full precision")
        if self.measures is None:
            return
        summary = self._summary()
        self.set_status(f"{summary}; {SINCE[refusal]}" if refusal else summary)
        self.table.set_stale(refusal)
        self.measured.emit()

    def _on_case(self) -> None:
        self.close_down()
        self.measures = self._asked = self._measured = None
        self.measured.emit()
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

"""Step 7: make a new model of the corrections, and hold it against the old one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QFormLayout, QSpinBox

from napari_liverseg.core.errors import CaseError
from napari_liverseg.io.retraining_set import count_cases
from napari_liverseg.models.store import coarse_model
from napari_liverseg.training.start import trained_part
from napari_liverseg.ui.button import allow, primary_button, quiet_button
from napari_liverseg.ui.job import JobSlot
from napari_liverseg.ui.line import Line
from napari_liverseg.ui.message import Message
from napari_liverseg.ui.progress_row import ProgressRow
from napari_liverseg.ui.section import Section

if TYPE_CHECKING:
    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.models.contract import Model
    from napari_liverseg.training.own_process import Retraining
    from napari_liverseg.ui.segment_section import SegmentSection
    from napari_liverseg.ui.session import Session

MINUTES, MOST_MINUTES = 20, 24 * 60

CHOOSE = "Choose retraining set…"

COMPARED = (
    ("organ_dice", "liver Dice", ".3f"),
    ("lesion_dice", "tumour Dice", ".3f"),
    ("false_lesion_ml", "ml of tumour invented in cases without any", ".1f"),
)
"""Measures of held-out cases that the window tells, what it calls them, and how."""


class RetrainSection(Section):
    """Trains on a retraining set, in a process of its own."""

    made = Signal(str)
    """Name of a new model that the user wants to use."""

    def __init__(self, session: Session, segment: SegmentSection) -> None:
        super().__init__(7, "Retrain")
        self._session, self._segment = session, segment
        self.folder: Path | None = None
        self.start: Model | None = None
        self.slot = JobSlot("Retraining", self)
        self.slot.done.connect(self._on_done)
        self.slot.failed.connect(self._on_failed)
        self.slot.stopped.connect(self._on_stopped)
        self.slot.started.connect(self.refresh)
        self.slot.ended.connect(self.refresh)
        self.choose = quiet_button(CHOOSE, "The folder of step 6", self._ask_folder)
        self.chosen = Line()
        self.begins = Line()
        self.minutes = QSpinBox()
        self.minutes.setAccessibleName("Minutes")
        self.minutes.setRange(1, MOST_MINUTES)
        self.minutes.setValue(MINUTES)
        self.minutes.setSuffix(" min")
        self.train = primary_button("Retrain on my corrections", "", self.retrain)
        form = QFormLayout()
        form.addRow("At most", self.minutes)
        self.add(self.choose)
        self.add(self.chosen)
        self.add(self.begins)
        self.add(form)
        for widget in (self.train, ProgressRow(self.slot, stops=True), self.messages):
            self.add(widget)
        segment.model.currentIndexChanged.connect(self.refresh)
        self.refresh()

    def use_folder(self, folder: Path) -> None:
        """Take a retraining set, and say how much is in it."""
        self.messages.clear_all()
        try:
            said = say_set(folder)
        except CaseError as error:
            self.messages.show_error("set", error)
            return
        self.folder = folder
        self.chosen.setText(said)
        self.refresh()

    def retrain(self) -> None:
        """Start the training in the background."""
        from napari_liverseg.training.own_process import Retraining, new_folder

        if self.folder is None or self.start is None:
            return
        self.messages.clear_all()
        wish = Retraining(self.folder, self.start.name, self.minutes.value())
        self.slot.start(partial(_retrain, wish, new_folder()))

    def close_down(self) -> None:
        """Stop a training and take no notice of its end."""
        self.slot.drop()

    def refresh(self) -> None:
        """Allow what is possible now, and say why the rest is not."""
        if not self.slot.running:
            self.start, said = begin_with(self._segment.spec)
            self.begins.setText(said)
        reason = ""
        if self.folder is None:
            reason = "Choose the retraining set first"
        elif self.start is None:
            reason = "No model is installed that can be trained"
        elif self.slot.running:
            reason = "A training is in progress"
        allow(self.train, reason, "Make a new model; the old one stays as it is")
        for widget in (self.choose, self.minutes):
            widget.setEnabled(not self.slot.running)

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(
            self, "Choose the retraining set", self._session.start_folder
        )
        if folder:
            self.use_folder(Path(folder))

    def _on_done(self, result: dict[str, Any]) -> None:
        self._segment.list_anew()
        name = result["name"]
        listed = self._segment.listed(name)
        answers = {"Use it": lambda: self.made.emit(name), "Later": lambda: None}
        said = Message(say_result(result, listed), answers=answers)
        self.messages.show_message("made", said)
        self.set_status(f"Made {listed}")

    def _on_failed(self, error: Exception) -> None:
        self._segment.list_anew()  # Cancel may come when the model is made
        self.messages.show_error("training", error)

    def _on_stopped(self) -> None:
        text = "Stopped. No model was made; the old one stays as it is."
        self.messages.show_message("training", Message(text))


def begin_with(chosen: Model | None) -> tuple[Model | None, str]:
    """Return the model that a training begins from, and what to tell of it.

    Parameters
    ----------
    chosen : Model or None
        In step 2; where it cannot be trained further, the quick starter model is
        taken instead.
    """
    if chosen is not None and trained_part(chosen) is not None:
        return chosen, f"Begins from '{chosen.title}', the model of step 2."
    quick = coarse_model()
    if quick is None or chosen is None:
        return quick, f"Begins from '{quick.title}'." if quick else ""
    why = f"'{chosen.title}' was not made by this program and cannot be trained here"
    return quick, f"{why}: begins from '{quick.title}' instead."


def say_set(folder: Path) -> str:
    """Return how many cases and patients a retraining set has, in words.

    Raises
    ------
    CaseError
        When it cannot be read.
    """
    count, owners = count_cases(folder)
    if not count:
        return f"{folder.name}: no cases yet; add some in step 6."
    cases = "1 case" if count == 1 else f"{count} cases"
    people = "1 patient" if owners == 1 else f"{owners} patients"
    return f"{folder.name}: {cases} of {people}."


def say_result(result: dict[str, Any], listed: str) -> str:
    """Return what a training came to, beside the model that it began from.

    Parameters
    ----------
    result : dict
        See `own_process.read_comparison`.
    listed : str
        What the list of models calls the new one.
    """
    new, old = result["held_out"], result["start_held_out"]
    cases = len(new)
    lines = [
        f"'{listed}' is in the list of models; the old one is unchanged. "
        f"On {cases} held-out case{'s' if cases != 1 else ''}, old and new:"
    ]
    for key, title, form in COMPARED:
        pairs = [
            (a[key], b[key])
            for a, b in zip(old, new, strict=True)
            if a[key] is not None and b[key] is not None
        ]
        if pairs:
            before, after = (
                sum(side) / len(pairs) for side in zip(*pairs, strict=True)
            )
            lines.append(f"{title} {before:{form}}, then {after:{form}}")
    lines += result["broke_down"]
    if cases < 5:
        lines.append("So few cases prove little: look at both on a new CT.")
    return "\n".join(lines)


def _retrain(
    wish: Retraining, out: Path, on_progress: OnProgress, is_cancelled: IsCancelled
) -> dict[str, Any]:
    from napari_liverseg.training.own_process import retrain

    return retrain(wish, out, on_progress, is_cancelled)

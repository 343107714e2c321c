"""Step 1: open a CT, see what it is, set its window."""

from __future__ import annotations

from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QButtonGroup, QFileDialog, QGridLayout, QHBoxLayout, QLabel

from napari_liverseg.io.open import open_ct
from napari_liverseg.io.sample import sample_ct_path
from napari_liverseg.io.scan import list_series
from napari_liverseg.ui import figures
from napari_liverseg.ui.button import primary_button, quiet_button
from napari_liverseg.ui.job import JobSlot
from napari_liverseg.ui.line import Line
from napari_liverseg.ui.message import Message
from napari_liverseg.ui.progress_row import ProgressRow
from napari_liverseg.ui.section import Section
from napari_liverseg.ui.series_dialog import Choice, SeriesDialog, choices, needs_choice
from napari_liverseg.ui.window import PRESETS, Window

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari.layers import Layer

    from napari_liverseg.core.problem import Decision, Problem
    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.io.series import SeriesInfo
    from napari_liverseg.ui.session import Session

FILES = "CT (*.nii *.nii.gz *.nrrd *.nhdr *.mha *.mhd *.dcm *.zip);;All files (*)"
PRESETS_A_ROW = 3
DONE: dict[Decision, str] = {
    "resample": "As you decided, it was resampled onto a straight, even grid.",
    "keep-first": "As you decided, the first of the images at a position was kept.",
}


class CaseSection(Section):
    """Opens a case and tells what was opened."""

    def __init__(self, session: Session) -> None:
        super().__init__(1, "Case")
        self._session = session
        self._path: Path | None = None
        self._ct: Layer | None = None
        self.slot = JobSlot("Opening a CT", self)
        self.slot.done.connect(self._on_read)
        self.slot.failed.connect(self._on_failed)
        self.open_file = quiet_button(
            "Open file…", "NIfTI, NRRD, MHA, a DICOM file or a zip", self._ask_file
        )
        self.open_folder = primary_button(
            "Open folder…", "A folder with DICOM files", self._ask_folder
        )
        self.open_sample = quiet_button(
            "Try the sample case",
            "A made-up CT with a liver and tumours that comes with the plugin",
            lambda: self.open(sample_ct_path()),
        )
        self.about = Line("Open a CT, or try the sample case.")
        self.window_label = QLabel()
        self.presets = QButtonGroup(self)
        self._lay_out()
        session.case_changed.connect(self._on_case)
        session.layers_changed.connect(self._on_layers)

    def _lay_out(self) -> None:
        self.add(self.about)
        row = QHBoxLayout()
        row.addWidget(self.open_folder)
        row.addWidget(self.open_file)
        self.add(row)
        self.add(self.open_sample)
        self.progress = ProgressRow(self.slot)
        self.add(self.progress)
        self.add(self.messages)
        grid = QGridLayout()
        grid.setSpacing(4)
        for index, preset in enumerate(PRESETS):
            tip = f"{preset}: window width and level in HU"
            button = quiet_button(preset.name, tip, partial(self.set_window, preset))
            button.hide()
            self.presets.addButton(button, index)
            grid.addWidget(button, *divmod(index, PRESETS_A_ROW))
        grid.addWidget(self.window_label, *divmod(len(PRESETS), PRESETS_A_ROW))
        self.add(grid)

    def open(self, path: Path, choice: Choice | None = None) -> None:
        """Read a CT in the background and show it; ask which when it is not clear.

        Parameters
        ----------
        path : Path
            A file or a folder.
        choice : Choice or None
            Series and decisions that the user has chosen.
        """
        self._path = path
        self._session.folder = path.parent
        self.messages.clear("open")  # what is known of the case on screen stays
        self.slot.start(partial(read_case, path, choice))

    def close_down(self) -> None:
        """Take no more notice of a CT that is being read."""
        self.slot.drop()
        self._follow(None)

    def set_window(self, window: Window) -> None:
        """Show the CT in a window."""
        layer = self._session.ct_layer
        if layer is not None:
            layer.contrast_limits = window.limits

    def _ask_file(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "Open a CT", self._session.start_folder, FILES
        )
        if name:
            self.open(Path(name))

    def _ask_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(
            self, "Open a folder of DICOM files", self._session.start_folder
        )
        if name:
            self.open(Path(name))

    def _on_read(self, result: CTVolume | tuple[SeriesInfo, ...]) -> None:
        if not isinstance(result, tuple):
            self._session.open_volume(result)
            return
        choice = SeriesDialog.ask(result, self)
        if choice is not None and self._path is not None:
            self.open(self._path, choice)

    def _on_failed(self, error: Exception) -> None:
        self.messages.show_error("open", error)

    def _on_case(self) -> None:
        volume = self._session.volume
        if volume is None:
            return
        self.slot.drop()  # one that is still read was asked for before this one
        lines = [volume.name, volume.description, figures.grid(volume)]
        self.about.setText("\n".join(dict.fromkeys(line for line in lines if line)))
        self.set_status(", ".join([volume.description or volume.name, lines[2]]))
        self.messages.clear_all()
        for problem in volume.problems:
            kind = "note" if problem.severity == "note" else "warning"
            text = after_decision(problem, volume.decisions)
            self.messages.show_message(problem.code, Message(text, kind))
        for button in self.presets.buttons():
            button.show()
        self._on_layers()

    def _on_layers(self) -> None:
        layer = self._session.ct_layer
        if layer is not self._ct:
            self._follow(layer)
            self._on_window()

    def _follow(self, layer: Layer | None) -> None:
        """Follow the window of this layer instead of the one before."""
        if self._ct is not None:
            self._ct.events.contrast_limits.disconnect(self._on_window)
        if layer is not None:
            layer.events.contrast_limits.connect(self._on_window)
        self._ct = layer

    def _on_window(self) -> None:
        layer = self._session.ct_layer
        if layer is not None:
            self.window_label.setText(str(Window.from_limits(*layer.contrast_limits)))
            self.window_label.setToolTip("Drag with the right button to change it")


def after_decision(problem: Problem, decisions: Collection[Decision]) -> str:
    """Return what was found, and what was decided about it where the user did."""
    if problem.decision is None or problem.decision not in decisions:
        return problem.message
    sentences = problem.message.split(". ")
    found = takewhile(lambda sentence: "ecide '" not in sentence, sentences)
    return f"{'. '.join(found)}. {DONE[problem.decision]}"


def read_case(
    path: Path,
    choice: Choice | None,
    on_progress: OnProgress,
    is_cancelled: IsCancelled,
) -> CTVolume | tuple[SeriesInfo, ...]:
    """Return the CT at a path, or its series when the user must choose.

    Parameters
    ----------
    path : Path
    choice : Choice or None
    on_progress, is_cancelled : callable
        As for any job; reading one series cannot be stopped half-way.
    """
    if choice is None:
        on_progress(0, 2, "Looking at the files")
        series = list_series(path)
        if needs_choice(series):
            return choices(series)
        choice = Choice(None, ())
    on_progress(1, 2, "Reading the CT")
    return open_ct(path, choice.series, choice.decisions)

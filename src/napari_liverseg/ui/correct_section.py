"""Step 4: correct the masks by hand, with napari's own brushes."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QMessageBox,
    QPushButton,
)

from napari_liverseg.core.errors import CaseError
from napari_liverseg.editing.corrections import corrections_from
from napari_liverseg.ui import figures
from napari_liverseg.ui.brush import Brush
from napari_liverseg.ui.button import allow, quiet_button
from napari_liverseg.ui.label_map_opener import LabelMapOpener
from napari_liverseg.ui.line import Line
from napari_liverseg.ui.message import Message
from napari_liverseg.ui.outline import Outlines
from napari_liverseg.ui.progress_row import ProgressRow
from napari_liverseg.ui.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_liverseg.core.segmentation import Segmentation
    from napari_liverseg.ui.mask_layer import MaskLayer
    from napari_liverseg.ui.session import Session

TOOLS = (
    ("liver", "paint", "Liver brush (Q)"),
    ("liver", "erase", "Liver eraser"),
    ("tumour", "paint", "Tumour brush (W)"),
    ("tumour", "erase", "Tumour eraser"),
)
NO_CASE = "Open a CT first"
NO_EDITS = "Nothing is edited yet"
CONTINUE = "Continue from saved masks…"
CONTINUE_TIP = "Open a label map that you exported earlier; all of it counts as edited"


class CorrectSection(Section):
    """Hands the user a brush, counts what is edited, and takes it back."""

    def __init__(self, session: Session) -> None:
        super().__init__(4, "Correct")
        self._session = session
        self.tools: dict[tuple[str, str], QPushButton] = {}
        grid = QGridLayout()
        grid.setSpacing(4)
        for index, (mask, mode, title) in enumerate(TOOLS):
            button = quiet_button(title, "", partial(self.take, mask, mode))
            button.setCheckable(True)
            self.tools[mask, mode] = button
            grid.addWidget(button, *divmod(index, 2))
        self.add(grid)
        self.brush = Brush(session.viewer)
        self.add(self.brush.row)
        self.outlines = Outlines(session.viewer)
        self.filled = QCheckBox("Fill the masks (G)")
        self.filled.toggled.connect(self.outlines.set_filled)
        self.filled.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.add(self.brush.ball)
        self.add(self.filled)
        self.undo = quiet_button("Undo", "", lambda: self._step("undo"))
        self.redo = quiet_button("Redo", "", lambda: self._step("redo"))
        self.discard = quiet_button("Discard corrections…", "", self._ask_discard)
        row = QHBoxLayout()
        for widget in (self.undo, self.redo, self.discard):
            row.addWidget(widget)
        self.add(row)
        self.opener = LabelMapOpener(session, self, "Reading saved masks")
        self.opener.opened.connect(self._on_saved_masks)
        self.opener.failed.connect(partial(self.messages.show_error, "read"))
        self.resume = quiet_button(CONTINUE, "", self._ask_saved_masks)
        self.edited = Line()
        for widget in (
            self.resume,
            ProgressRow(self.opener.slot),
            self.edited,
            Line("Hold H to hide the masks. All keys: F1."),
            self.messages,
        ):
            self.add(widget)
        self._followed: tuple[MaskLayer, ...] = ()
        session.case_changed.connect(self._on_case)
        session.layers_changed.connect(self.refresh)
        session.masks_changed.connect(self.refresh)
        self._active = session.viewer.layers.selection.events.active
        self._active.connect(self._show_tool)
        self.refresh()

    def take(self, mask: str, mode: str) -> None:
        """Select a mask with a tool in hand, ready to paint.

        Parameters
        ----------
        mask : {'liver', 'tumour'}
        mode : {'paint', 'erase'}
        """
        if self._session.volume is None:
            return
        masks = self._session.show_layers()
        layer = masks.liver if mask == "liver" else masks.tumour
        layer.visible = True
        self._session.viewer.layers.selection.active = layer
        if layer.selected_label == 0:
            layer.selected_label = 1
        layer.mode = mode
        self._show_tool()

    def close_down(self) -> None:
        """Stop following the viewer."""
        self.opener.slot.drop()
        self._active.disconnect(self._show_tool)
        self._follow(())
        self.brush.close()
        self.outlines.close()

    def refresh(self) -> None:
        """Show what is edited, and allow what is possible now."""
        masks = self._session.masks
        reason = "" if masks else NO_CASE
        brush = (self.brush.ball, self.brush.slider)
        for widget in (*self.tools.values(), self.filled, *brush):
            allow(widget, reason)
        counts = [layer.edits.count for layer in masks or ()] or [0, 0]
        allow(self.discard, reason or ("" if any(counts) else NO_EDITS))
        layers = list(masks) if masks else []
        can_undo = any(layer.edits.next_undo for layer in layers)
        can_redo = any(layer.edits.next_redo for layer in layers)
        allow(self.resume, reason, CONTINUE_TIP)
        allow(self.undo, "" if can_undo else "No stroke to undo", "Ctrl+Z")
        allow(self.redo, "" if can_redo else "No stroke to redo", "Ctrl+Shift+Z")
        self._show_counts(counts)

    def _show_counts(self, counts: list[int]) -> None:
        volume = self._session.volume
        if volume is None or not any(counts):
            self.edited.setText("Nothing is edited by hand.")
            self.set_status("")
            return
        leaves = "Thresholds and new runs leave these voxels."
        if min(counts) == volume.hu.size:
            self.edited.setText(f"Edited by hand: the whole volume. {leaves}")
            self.set_status("The whole volume counts as edited by hand")
            return
        parts = [
            f"{name} {figures.millilitres(n * volume.geometry.voxel_ml)} ({n:,} voxels)"
            for name, n in zip(("liver", "tumour"), counts, strict=True)
            if n
        ]
        text = f"Edited by hand: {', '.join(parts)}"
        self.edited.setText(f"{text}. {leaves}")
        self.set_status(text)

    def _on_case(self) -> None:
        self.opener.slot.drop()
        masks, recovery = self._session.masks, self._session.recovery
        self.messages.clear_all()
        if masks is None or recovery is None:
            return
        self._follow(masks)
        self.brush.follow(masks)
        self.refresh()

    def _follow(self, layers: Iterable[MaskLayer]) -> None:
        """Follow these layers instead of those before."""
        for layer in self._followed:
            layer.events.mode.disconnect(self._show_tool)
        self._followed = tuple(layers)
        for layer in self._followed:
            layer.events.mode.connect(self._show_tool)

    def _show_tool(self) -> None:
        masks = self._session.masks
        active = self._session.viewer.layers.selection.active
        layers = {"liver": masks.liver, "tumour": masks.tumour} if masks else {}
        for (mask, mode), button in self.tools.items():
            layer = layers.get(mask)
            in_hand = layer is not None and layer is active and layer.mode == mode
            button.setChecked(in_hand)

    def _step(self, way: str) -> None:
        masks = self._session.masks
        if masks is None:
            return
        following = {layer: getattr(layer.edits, f"next_{way}") for layer in masks}
        numbers = {la: stroke.number for la, stroke in following.items() if stroke}
        if numbers:
            pick = max if way == "undo" else min
            getattr(pick(numbers, key=numbers.__getitem__), way)()

    def open_saved_masks(self, path: Path) -> None:
        """Read a label map in the background and go on correcting it."""
        self.messages.clear_all()
        self.opener.open(path)

    def _ask_saved_masks(self) -> None:
        self.messages.clear_all()
        self.opener.ask()

    def _on_saved_masks(self, saved: Segmentation) -> None:
        if not saved.labels.any():
            found = "The label map is empty."
            error = CaseError(found, "Choose the one that you exported.")
            self.messages.show_error("read", error)
            return
        if not self._may_replace_edits():
            return
        masks, recovery = self._session.show_layers(), self._session.recovery
        masks.discard_corrections()
        masks.restore(corrections_from(saved, datetime.now(UTC)))
        if recovery is not None:
            recovery.discard()
        volumes = masks.volumes()
        found = figures.masks(volumes.liver_ml, volumes.lesions, volumes.tumour_ml)
        self.messages.show_message("read", Message(f"Saved masks opened: {found}."))

    def _may_replace_edits(self) -> bool:
        """Whether the user gives up what is edited, while the file was read too."""
        masks = self._session.masks
        if masks is None or not masks.edited_voxels:
            return True
        question = (
            "Put saved masks in the place of the present corrections? These "
            "cannot be brought back: save them first if you may want them."
        )
        answer = QMessageBox.question(self, "Saved masks", question)
        # Another CT may come while the question is open.
        is_ours = masks is self._session.masks
        return bool(answer == QMessageBox.StandardButton.Yes) and is_ours

    def _ask_discard(self) -> None:
        question = (
            "Discard every correction of this case? The masks go back to what the "
            "model says. This cannot be undone."
        )
        buttons, masks = QMessageBox.StandardButton, self._session.masks
        answer = QMessageBox.question(
            self,
            "Discard corrections",
            question,
            buttons.Discard | buttons.Cancel,
            buttons.Cancel,
        )
        if answer == buttons.Discard and masks is self._session.masks:
            self.discard_all()

    def discard_all(self) -> None:
        """Give every voxel back to the model, and set the journal aside."""
        masks, recovery = self._session.masks, self._session.recovery
        if masks is None or recovery is None:
            return
        masks.discard_corrections()
        recovery.discard()
        self.messages.show_message("discard", Message("Corrections discarded."))

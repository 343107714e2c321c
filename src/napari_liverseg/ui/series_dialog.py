"""Which series to open, and what to do about one that is not a plain volume."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QIcon
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QFrame,
    QHeaderView,
    QLabel,
    QScrollArea,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_liverseg.ui.button import STYLE
from napari_liverseg.ui.figures import BY
from napari_liverseg.ui.words import Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_liverseg.core.problem import Decision, Problem
    from napari_liverseg.io.series import SeriesInfo

COLUMNS = ("Series", "Size", "Spacing (mm)", "Kernel", "Phase", "Problems")
ROW_PX, MOST_ROWS, PROBLEMS_PX = 32, 12, 96
DECISIONS: dict[str, str] = {
    "resample": "Resample onto a straight, even grid (voxels are interpolated)",
    "keep-first": "Keep the first of the images that share a position",
}


@dataclass(frozen=True)
class Choice:
    """What the user chose.

    Parameters
    ----------
    series : str or None
        Its uid; None where there is only one.
    decisions : tuple of {'resample', 'keep-first'}
    """

    series: str | None
    decisions: tuple[Decision, ...]


def choices(series: Sequence[SeriesInfo]) -> tuple[SeriesInfo, ...]:
    """Return those that may be meant; all, to say why none opens, where none may be."""
    return tuple(s for s in series if s.may_be_meant) or tuple(series)


def needs_choice(series: Sequence[SeriesInfo]) -> bool:
    """Whether the user must say which series, or decide about an error."""
    meant = choices(series)
    if len(meant) != 1:
        return len(meant) > 1
    errors = meant[0].errors
    return bool(errors) and all(p.decision for p in errors)


class SeriesDialog(QDialog):
    """A table of series with the problems of the selected one in plain words."""

    def __init__(
        self, series: Sequence[SeriesInfo], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._series = series
        self.setWindowTitle("Choose a series")
        self.setStyleSheet(STYLE)
        self.resize(760, 220 + ROW_PX * min(len(series), MOST_ROWS))
        self.table = self._make_table()
        self.problems = Words()
        self.decisions = {name: QCheckBox(text) for name, text in DECISIONS.items()}
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Open
            | QDialogButtonBox.StandardButton.Cancel
        )
        self.open_button = buttons.button(QDialogButtonBox.StandardButton.Open)
        self.open_button.setProperty("primary", True)
        for button in buttons.buttons():
            button.setIcon(QIcon())
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        rows = QVBoxLayout(self)
        head = QLabel(f"{len(series)} series found. Which one do you want to open?")
        if len(series) == 1:
            head.setText("This series is not an even volume. What should be done?")
        for widget in (head, self.table, _scrolling(self.problems)):
            rows.addWidget(widget)
        for box in self.decisions.values():
            rows.addWidget(box)
        rows.addWidget(buttons)
        self.table.itemSelectionChanged.connect(self._on_select)
        for box in self.decisions.values():
            box.toggled.connect(self._allow)
        suggested = [i for i, info in enumerate(series) if info.suggested]
        self.table.selectRow(suggested[0] if suggested else 0)

    @classmethod
    def ask(
        cls, series: Sequence[SeriesInfo], parent: QWidget | None = None
    ) -> Choice | None:
        """Show the dialog and return the choice, None when the user cancels."""
        dialog = cls(series, parent)
        accepted = dialog.exec() == QDialog.DialogCode.Accepted
        choice = dialog.choice() if accepted else None
        dialog.deleteLater()
        return choice

    def choice(self) -> Choice:
        """Return what is selected now."""
        chosen = [name for name, box in self.decisions.items() if box.isChecked()]
        needed = [name for name in chosen if name in self._wanted()]
        return Choice(self._selected.uid, tuple(needed))  # type: ignore[arg-type]

    @property
    def _selected(self) -> SeriesInfo:
        return self._series[max(self.table.currentRow(), 0)]

    def _wanted(self) -> set[str]:
        """Return the decisions that open the selected series; none where none does."""
        errors = self._selected.errors
        if any(p.decision is None for p in errors):
            return set()
        return {p.decision for p in errors if p.decision is not None}

    def _on_select(self) -> None:
        wanted = self._wanted()
        for name, box in self.decisions.items():
            box.setVisible(name in wanted)
            box.setChecked(False)
        # What cannot be decided about comes first: it is why a series stays shut.
        problems = sorted(self._selected.problems, key=_urgency)
        text = "\n".join(p.message for p in problems)
        self.problems.setText(text or "No problems found.")
        self._allow()

    def _allow(self) -> None:
        hopeless = any(p.decision is None for p in self._selected.errors)
        decided = all(self.decisions[name].isChecked() for name in self._wanted())
        self.open_button.setEnabled(decided and not hopeless)
        tip = "" if decided else "Tick what should be done first"
        self.open_button.setToolTip("This series cannot be opened" if hopeless else tip)

    def _make_table(self) -> QTableWidget:
        table = QTableWidget(len(self._series), len(COLUMNS))
        table.setHorizontalHeaderLabels(COLUMNS)
        table.verticalHeader().hide()
        # Files of a study often differ by their folder alone.
        table.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        for row, info in enumerate(self._series):
            for column, text in enumerate(_cells(info)):
                table.setItem(row, column, QTableWidgetItem(text))
            table.item(row, 0).setToolTip(escape(info.description))
        header = table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        return table


def _urgency(problem: Problem) -> int:
    """Return the place of a problem among others: errors, hopeless ones first."""
    if problem.severity != "error":
        return 2
    return 1 if problem.decision else 0


def _scrolling(label: QLabel) -> QScrollArea:
    """Return room for a text of any length: none of it is ever cut."""
    label.setAlignment(Qt.AlignmentFlag.AlignTop)
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    area.setMinimumHeight(PROBLEMS_PX)
    area.setWidget(label)
    return area


def _cells(info: SeriesInfo) -> tuple[str, ...]:
    name = info.description or "Without a name"
    errors = len(info.errors)
    others = len(info.problems) - errors
    found = [f"{errors} to solve"] if errors else []
    found += [f"{others} to know"] if others else []
    size = f" {BY} ".join(str(n) for n in reversed(info.shape))
    # 0 is a distance that nothing tells, as of a single slice.
    sides = (f"{s:.2f}" if s else "?" for s in reversed(info.spacing_mm))
    spacing = f" {BY} ".join(sides)
    return (
        f"{name} (suggested)" if info.suggested else name,
        size,
        spacing,
        info.kernel,
        info.phase,
        ", ".join(found) or "none",
    )

"""The measures of a comparison, liver beside tumour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_liverseg.ui import colours

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_liverseg.measure.table import Cell, Row

LEGEND = (
    ("liver", colours.LIVER),
    ("tumour", colours.TUMOUR),
    ("true liver", colours.TRUTH_LIVER),
    ("true tumour", colours.TRUTH_TUMOUR),
)
ROW_PX = 22
VALUE_PX = 56
SHORT = {
    "rvd": "Relative volume difference",
    "assd_mm": "Mean surface distance",
    "rmsd_mm": "RMS surface distance",
    "msd_mm": "Maximum surface distance",
    "hd95_mm": "95 % Hausdorff distance",
    "accuracy": "Voxel accuracy",
    "tumour_burden.prediction": "Tumour burden, prediction",
    "tumour_burden.truth": "Tumour burden, truth",
}
"""Names that fit the dock; the full ones are in the tooltip and the CSV."""


class MeasuresTable(QWidget):
    """A table with one row for each measure and the reason for each gap."""

    def __init__(self) -> None:
        super().__init__()
        self.table = QTableWidget(0, 3)
        self.table.setHorizontalHeaderLabels(("", "Liver", "Tumour"))
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(ROW_PX)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.table.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
            self.table.setColumnWidth(column, VALUE_PX)
        self.stale = QLabel()
        self.stale.setWordWrap(True)
        legend = "&nbsp; ".join(
            f"<span style='color:{colour}'>&#9632;</span> {name}"
            for name, colour in LEGEND
        )
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        for widget in (QLabel(legend), self.stale, self.table):
            rows.addWidget(widget)
        self.set_stale("")

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Show measures in place of earlier ones."""
        self.table.setRowCount(len(rows))
        for index, row in enumerate(rows):
            unit = f" ({row.unit})" if row.unit else ""
            name = QTableWidgetItem(f"{SHORT.get(row.key, row.name)}{unit}")
            name.setToolTip(row.name)
            self.table.setItem(index, 0, name)
            for column, cell in ((1, row.liver), (2, row.tumour)):
                self.table.setItem(index, column, _item(cell))
        header = self.table.horizontalHeader().sizeHint().height()
        self.table.setFixedHeight(header + ROW_PX * len(rows) + 4)
        self.set_stale("")

    def set_stale(self, reason: str) -> None:
        """Say why the measures are no longer true; empty where they are."""
        self.stale.setText(f"{reason}.")
        self.stale.setVisible(bool(reason))
        self.table.setEnabled(not reason)


def _item(cell: Cell) -> QTableWidgetItem:
    item = QTableWidgetItem(cell.text)
    item.setToolTip(cell.note)
    item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    return item

"""What the values of a foreign label map mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtGui import QIcon
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLabel,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_liverseg.core.segmentation import BACKGROUND, LIVER, TUMOUR
from napari_liverseg.ui.button import STYLE

if TYPE_CHECKING:
    from collections.abc import Sequence

MEANINGS = (("Background", BACKGROUND), ("Liver", LIVER), ("Tumour", TUMOUR))


class MappingDialog(QDialog):
    """One row for each value that a file holds."""

    def __init__(self, values: Sequence[int], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("What do the values mean?")
        self.setStyleSheet(STYLE)
        self.choices: dict[int, QComboBox] = {}
        form_widget = QWidget()
        form = QFormLayout(form_widget)
        for value in values:
            box = QComboBox()
            for title, meaning in MEANINGS:
                box.addItem(title, meaning)
            self.choices[value] = box
            form.addRow(f"Value {value}", box)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(form_widget)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        for button in buttons.buttons():
            button.setIcon(QIcon())
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        text = QLabel("This label map holds other values than 0, 1 and 2.")
        rows = QVBoxLayout(self)
        for widget in (text, area, buttons):
            rows.addWidget(widget)
        self.resize(360, 420)

    def mapping(self) -> dict[int, int]:
        """Return the meaning of each value that is not background."""
        chosen = {value: box.currentData() for value, box in self.choices.items()}
        return {value: meaning for value, meaning in chosen.items() if meaning}

    @classmethod
    def ask(
        cls, values: Sequence[int], parent: QWidget | None = None
    ) -> dict[int, int] | None:
        """Show the dialog and return the mapping, None when the user cancels."""
        dialog = cls(values, parent)
        accepted = dialog.exec() == QDialog.DialogCode.Accepted
        mapping = dialog.mapping() if accepted else None
        dialog.deleteLater()
        return mapping

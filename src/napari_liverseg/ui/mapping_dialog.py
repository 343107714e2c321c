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
from napari_liverseg.io.segment_names import meaning
from napari_liverseg.ui.button import STYLE, allow
from napari_liverseg.ui.wheel import WheelScrolls

if TYPE_CHECKING:
    from collections.abc import Mapping

MEANINGS = (("Background", BACKGROUND), ("Liver", LIVER), ("Tumour", TUMOUR))


class MappingDialog(QDialog):
    """One row for each value that a file holds.

    Parameters
    ----------
    values : mapping of int to str
        And what the file calls each; what such a name says is chosen already.
    parent : QWidget or None
    """

    def __init__(
        self, values: Mapping[int, str], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("What do the values mean?")
        self.setStyleSheet(STYLE)
        self.choices: dict[int, QComboBox] = {}
        form_widget = QWidget()
        form = QFormLayout(form_widget)
        for value, name in values.items():
            box = QComboBox()
            for title, label in MEANINGS:
                box.addItem(title, label)
            box.setCurrentIndex(box.findData(meaning(name) or BACKGROUND))
            self.choices[value] = box
            form.addRow(f"{value}, '{name}'" if name else f"Value {value}", box)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(form_widget)
        buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        self.ok = buttons.button(QDialogButtonBox.StandardButton.Ok)
        for button in buttons.buttons():
            button.setIcon(QIcon())
        for box in self.choices.values():
            box.currentIndexChanged.connect(self._allow)
        self._allow()
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        text = QLabel("Say which values are liver and which are tumour.")
        rows = QVBoxLayout(self)
        for widget in (text, area, buttons):
            rows.addWidget(widget)
        WheelScrolls(self)
        self.resize(360, 420)

    def _allow(self) -> None:
        reason = "" if self.mapping() else "Name at least one value first"
        allow(self.ok, reason)

    def mapping(self) -> dict[int, int]:
        """Return the meaning of each value that is not background."""
        chosen = {value: box.currentData() for value, box in self.choices.items()}
        return {value: label for value, label in chosen.items() if label}

    @classmethod
    def ask(
        cls, values: Mapping[int, str], parent: QWidget | None = None
    ) -> dict[int, int] | None:
        """Show the dialog and return the mapping, None when the user cancels."""
        dialog = cls(values, parent)
        accepted = dialog.exec() == QDialog.DialogCode.Accepted
        mapping = dialog.mapping() if accepted else None
        dialog.deleteLater()
        return mapping

"""The list of keys, on F1 or ?."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QLabel, QVBoxLayout, QWidget

from napari_liverseg.ui.keys import MOUSE, NAPARI_KEYS, OUR_KEYS


class CheatSheet(QDialog):
    """Keys and mouse, ours and napari's."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys")
        rows = QVBoxLayout(self)
        parts = (("Liver segmentation", OUR_KEYS), ("napari", NAPARI_KEYS))
        text = "".join(
            _table(title, keys) for title, keys in (*parts, ("Mouse", MOUSE))
        )
        label = QLabel(text)
        label.setTextFormat(Qt.TextFormat.RichText)
        rows.addWidget(label)


def _table(title: str, keys: dict[str, str]) -> str:
    rows = "".join(
        f"<tr><td><b>{key}</b>&nbsp;&nbsp;&nbsp;</td><td>{what}</td></tr>"
        for key, what in keys.items()
    )
    return f"<p><b>{title}</b></p><table cellpadding='3'>{rows}</table>"

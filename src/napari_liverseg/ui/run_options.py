"""The rare settings of a run, behind 'More'."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_liverseg.inference.options import RunOptions
from napari_liverseg.ui.button import allow

LOOKS = {
    "liver": "Around the liver (fastest)",
    "body": "Whole body",
    "everywhere": "Every voxel",
}
MIRROR = "Average mirror images"
NO_MIRROR = "This model was not trained on mirror images"
UNKNOWN_MIRROR = (
    "Where the model was trained on mirror images, the run takes twice as long for "
    "each of its axes; it is looked up once a CT is open"
)


class RunOptionsBox(QWidget):
    """Where to look, mirror images, and whether faster ways may be used."""

    def __init__(self) -> None:
        super().__init__()
        self.more = QToolButton()
        self.more.setText("More")
        self.more.setCheckable(True)
        self.more.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.more.setArrowType(Qt.ArrowType.RightArrow)
        self.more.setAccessibleName("More settings of the run, show or hide")
        self.more.setStyleSheet("QToolButton { border: none; }")
        self.look = QComboBox()
        for name, title in LOOKS.items():
            self.look.addItem(title, name)
        self.look.setAccessibleName("Where to look")
        self.look.setToolTip(
            "Around the liver: a quick coarse run finds it first, where the model is "
            "finer than that. The network then sees other windows, so its masks can "
            "differ from those of the whole body"
        )
        self.mirror = QCheckBox(MIRROR)
        self.tune = QCheckBox("Use the fastest way of computing")
        self.tune.setChecked(True)
        self.tune.setToolTip(
            "Measured once for each model on this computer, and used only where the "
            "masks stay the same; off: plain 32-bit numbers"
        )
        self.body = QWidget()
        form = QFormLayout(self.body)
        form.setContentsMargins(8, 0, 0, 0)
        form.addRow("Look at", self.look)
        form.addRow(self.mirror)
        form.addRow(self.tune)
        rows = QVBoxLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addWidget(self.more)
        rows.addWidget(self.body)
        self.more.toggled.connect(self._on_more)
        self.body.hide()
        self.fit(None)

    def fit(self, mirror_axes: tuple[int, ...] | None) -> None:
        """Offer what a model can do, and say what it costs.

        Parameters
        ----------
        mirror_axes : tuple of int or None
            See `Windows`; None where its weights were not looked at. The wish is
            then taken, and comes to nothing where the model knows no such axis.
        """
        if mirror_axes is None:
            allow(self.mirror, "", UNKNOWN_MIRROR)
            self.mirror.setText(MIRROR)
            return
        factor = 2 ** len(mirror_axes)
        reason = "" if mirror_axes else NO_MIRROR
        allow(self.mirror, reason, f"The run takes {factor} times as long")
        cost = f" ({factor} times as long)" if mirror_axes else ""
        self.mirror.setText(f"{MIRROR}{cost}")

    def options(self, focus: int | None) -> RunOptions:
        """Return what is set.

        Parameters
        ----------
        focus : int or None
            Slice of the CT to begin with.
        """
        return RunOptions(
            look=self.look.currentData(),
            mirror=self.mirror.isEnabled() and self.mirror.isChecked(),
            focus=focus,
            tune=self.tune.isChecked(),
        )

    def _on_more(self, is_open: bool) -> None:
        arrow = Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow
        self.more.setArrowType(arrow)
        self.body.setVisible(is_open)

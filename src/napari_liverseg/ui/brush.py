"""The brush of both masks: as many millimetres across in every plane, and in a ball."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, QTimer
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QSlider

if TYPE_CHECKING:
    from napari import Viewer

    from napari_liverseg.ui.masks import Masks

LARGEST_PX, FIRST_PX = 100, 10


class Brush(QObject):
    """Keeps the brush's width in millimetres, whatever is painted across.

    napari counts a brush in voxels of the finest side that it paints. Left alone, 10 mm
    of voxels of 0.8 mm in the axial plane are 4 mm in a coronal one and in a ball,
    where slices are 0.3 mm thick.

    Parameters
    ----------
    viewer : Viewer
        Its plane is the one that is painted.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._masks: Masks | None = None
        self._wanted_mm: float | None = None
        self._soon = QTimer(self, singleShot=True, interval=0)
        self._soon.timeout.connect(self._follow_napari)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(1, LARGEST_PX)
        self.slider.setValue(FIRST_PX)
        self.slider.setAccessibleName("Brush size in pixels")
        self.slider.valueChanged.connect(self._on_slider)
        self.size_label = QLabel()
        self.size_label.setMinimumWidth(64)
        self.row = QHBoxLayout()
        for widget in (QLabel("Brush"), self.slider, self.size_label):
            self.row.addWidget(widget)
        self.ball = QCheckBox("Paint through slices (a ball)")
        self.ball.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.ball.toggled.connect(self._on_ball)
        viewer.dims.events.order.connect(self._fit)
        # Where napari makes controls, they put the layer back to two dimensions.
        self._controls = (
            viewer.layers.events.inserted,
            viewer.layers.selection.events.changed,
        )
        for event in self._controls:
            event.connect(self._after_controls, position="last")
        self._fit()

    @property
    def across_mm(self) -> float | None:
        """Width of what a dab paints, along the finest side; None without a case."""
        unit = self._unit_mm
        return None if unit is None else _voxels_across(self.slider.value()) * unit

    def follow(self, masks: Masks | None) -> None:
        """Be the brush of these masks instead of those before."""
        for layer in self._masks or ():
            layer.events.brush_size.disconnect(self._on_brush)
            layer.events.n_edit_dimensions.disconnect(self._on_dimensions)
        self._masks = masks
        self._on_ball(self.ball.isChecked())
        for layer in masks or ():
            layer.events.brush_size.connect(self._on_brush)
            layer.events.n_edit_dimensions.connect(self._on_dimensions)

    def close(self) -> None:
        """Stop following the viewer."""
        self.follow(None)
        self._viewer.dims.events.order.disconnect(self._fit)
        for event in self._controls:
            event.disconnect(self._after_controls)
        self._soon.stop()

    @property
    def _painted_mm(self) -> list[float]:
        """Voxel sides that a dab covers, the one through the slices first."""
        if self._masks is None:
            return []
        spacing = self._masks.volume.geometry.spacing_mm
        # A film beside the CT adds leading axes to the viewer, not to the masks.
        lead = self._viewer.dims.ndim - len(spacing)
        order = [axis - lead for axis in self._viewer.dims.order if axis >= lead]
        return [spacing[axis] for axis in order[-3 if self.ball.isChecked() else -2 :]]

    @property
    def _unit_mm(self) -> float | None:
        return min(self._painted_mm, default=None)

    def _on_slider(self) -> None:
        self._wanted_mm = self.across_mm
        self._apply()

    def _on_ball(self, ball: bool) -> None:
        for layer in self._masks or ():
            layer.n_edit_dimensions = 3 if ball else 2
        self._fit()

    def _on_brush(self, event: Any) -> None:
        # napari's keys and its Alt-drag change one layer's brush; ours is one for both.
        self.slider.setValue(round(event.source.brush_size))

    def _on_dimensions(self) -> None:
        # Later: what napari's own controls did is taken back by then.
        self._soon.start()

    def _after_controls(self) -> None:
        self._on_ball(self.ball.isChecked())

    def _follow_napari(self) -> None:
        """Take over what the user has chosen in napari's controls of one mask."""
        balls = [layer.n_edit_dimensions == 3 for layer in self._masks or ()]
        if self.ball.isChecked() and not all(balls):
            self.ball.setChecked(False)
        elif not self.ball.isChecked() and any(balls):
            self.ball.setChecked(True)

    def _fit(self) -> None:
        """Take the voxels that come closest to the width that is wanted."""
        unit = self._unit_mm
        if unit is not None and self._wanted_mm is None:
            self._wanted_mm = self.across_mm
        elif unit is not None and self._wanted_mm is not None:
            self._set_slider(_pixels(self._wanted_mm / unit, self.slider.value()))
        self._apply()

    def _set_slider(self, pixels: int) -> None:
        self.slider.blockSignals(True)  # this width is not what the user has chosen
        self.slider.setValue(pixels)
        self.slider.blockSignals(False)

    def _apply(self) -> None:
        for layer in self._masks or ():
            layer.brush_size = self.slider.value()
        self.size_label.setText(self._size())

    def _size(self) -> str:
        across = self.across_mm
        if across is None:
            return f"{self.slider.value()} px"
        if not self.ball.isChecked():
            return f"{across:.1f} mm"
        slices = 2 * int(across / 2 / self._painted_mm[0]) + 1
        return f"{across:.1f} mm, {slices} slice{'s' if slices > 1 else ''}"


def _voxels_across(pixels: int) -> int:
    """Return how many voxels napari paints across: always an odd number."""
    return pixels // 2 * 2 + 1


def _pixels(voxels: float, present: int) -> int:
    """Return the brush size of a width, the present one where it has that already."""
    across = 2 * max(round((voxels - 1) / 2), 0) + 1
    same = _voxels_across(present) == across
    return present if same else min(across, LARGEST_PX - 1)

"""Step 3: move the thresholds of liver and tumour, live."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QGridLayout, QLabel, QSlider

from napari_liverseg.core.probabilities import Thresholds
from napari_liverseg.ui import figures
from napari_liverseg.ui.button import allow, quiet_button
from napari_liverseg.ui.line import Line
from napari_liverseg.ui.probability_layer import ProbabilityLayer
from napari_liverseg.ui.section import Section

if TYPE_CHECKING:
    from napari_liverseg.ui.session import Session

MIDDLE = 50
OWN = "model's own"
SHOW, HIDE = "Show tumour probability", "Hide tumour probability"
NOT_YET = "Press Segment first: there is nothing to move yet"


class ThresholdSection(Section):
    """Two sliders in per cent; what the user has edited stays as it is."""

    def __init__(self, session: Session) -> None:
        super().__init__(3, "Threshold")
        self._session = session
        self._chosen: dict[str, float | None] = {"liver": None, "tumour": None}
        self.sliders: dict[str, QSlider] = {}
        self.values: dict[str, QLabel] = {}
        grid = QGridLayout()
        for row, (name, title) in enumerate((("liver", "Liver"), ("tumour", "Tumour"))):
            self.sliders[name] = self._make_slider(name, title)
            self.values[name] = QLabel(OWN)
            self.values[name].setMinimumWidth(78)
            grid.addWidget(QLabel(title), row, 0)
            grid.addWidget(self.sliders[name], row, 1)
            grid.addWidget(self.values[name], row, 2)
        self.add(grid)
        self.own = quiet_button("Model's own decision", "", self.reset)
        self.held = Line()
        self.map = ProbabilityLayer(session)
        self.map_button = quiet_button(SHOW, "", self.map.toggle)
        self.map.changed.connect(self._show_map_button)
        self.add(self.own)
        self.add(self.map_button)
        self.add(self.held)
        # Slider moves that arrive while a mask is written become one.
        self._soon = QTimer(self, singleShot=True, interval=0)
        self._soon.timeout.connect(self._apply)
        self._later = QTimer(self, singleShot=True, interval=200)
        self._later.timeout.connect(self._show_held)
        session.masks_changed.connect(self._later.start)
        session.result_changed.connect(self._on_result)
        self._on_result()

    def reset(self) -> None:
        """Go back to the model's own decision for both."""
        self._chosen = dict.fromkeys(self._chosen)
        self._show_values()
        self._soon.start()

    def close_down(self) -> None:
        """Stop the timers and take the map away: no button would hide it."""
        self._soon.stop()
        self._later.stop()
        self.map.hide()

    def _make_slider(self, name: str, title: str) -> QSlider:
        slider = QSlider(Qt.Orientation.Horizontal)
        slider.setRange(1, 99)
        slider.setValue(MIDDLE)
        slider.setAccessibleName(f"{title} threshold in per cent")
        slider.valueChanged.connect(lambda value: self._on_move(name, value))
        return slider

    def _on_move(self, name: str, per_cent: int) -> None:
        self._chosen[name] = per_cent / 100
        self._show_values()
        self._soon.start()

    def _apply(self) -> None:
        self._session.set_thresholds(Thresholds(**self._chosen))

    def _on_result(self) -> None:
        there = self._session.probabilities is not None
        if not there or not self._soon.isActive():
            set_to = self._session.thresholds
            self._chosen = {"liver": set_to.liver, "tumour": set_to.tumour}
        reason = "" if there else NOT_YET
        tip = "A lower threshold gives a larger mask; your corrections stay"
        for slider in self.sliders.values():
            allow(slider, reason, tip)
        allow(self.own, reason, "Undo both sliders; your corrections stay")
        allow(self.map_button, reason, "How sure the model is, as a glow over the CT")
        self._show_map_button()
        self._show_values()
        self._later.start()

    def _show_map_button(self) -> None:
        self.map_button.setText(HIDE if self.map.is_shown else SHOW)
        self.map_button.setAccessibleName(self.map_button.text())

    def _show_values(self) -> None:
        for name, value in self._chosen.items():
            self.values[name].setText(OWN if value is None else f"{value:.0%}")
            slider = self.sliders[name]
            slider.blockSignals(True)
            slider.setValue(MIDDLE if value is None else round(100 * value))
            slider.blockSignals(False)

    def _show_held(self) -> None:
        masks = self._session.masks
        if self._session.is_partial:
            return  # the line is of the result before, which a cancelled run leaves
        if masks is None or self._session.probabilities is None:
            self.held.setText(NOT_YET + ".")
            self.set_status("")
            return
        held = masks.volumes()
        text = figures.masks(held.liver_ml, held.lesions, held.tumour_ml)
        self.held.setText(text)
        own = all(value is None for value in self._chosen.values())
        self.set_status(f"{OWN.capitalize()}. {text}" if own else text)

"""The case on screen: its CT, masks, probabilities and journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_liverseg.core.probabilities import Thresholds
from napari_liverseg.inference.decision import decide_in_box
from napari_liverseg.ui.ct_layer import case_of, dress, find_layer, role, show_ct
from napari_liverseg.ui.masks import Masks, show_masks
from napari_liverseg.ui.preview import decide_in_slice
from napari_liverseg.ui.recovery import Recovery

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Layer

    from napari_liverseg.core.probabilities import Probabilities
    from napari_liverseg.core.volume import CTVolume


REST_MS = 120
"""A slider that rests this long has arrived."""


class Session(QObject):
    """One case at a time in one viewer.

    A CT that comes in by any way, the dock, a drop or File > Open, becomes the
    case; the layers of the one before are taken away, its corrections stay in
    the journal.
    """

    case_changed = Signal()
    result_changed = Signal()
    masks_changed = Signal()
    layers_changed = Signal()
    case_closed = Signal(str, int)
    """Name of the case that was taken away, and how many edited voxels it had."""
    journal_failed = Signal(object)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.volume: CTVolume | None = None
        self.masks: Masks | None = None
        self.recovery: Recovery | None = None
        self.probabilities: Probabilities | None = None
        self.thresholds = Thresholds()
        self._rest = QTimer(self, singleShot=True, interval=REST_MS)
        self._rest.timeout.connect(self._decide)
        # Last: napari's own views of the new layer must exist before we act.
        viewer.layers.events.inserted.connect(self._on_inserted, position="last")
        viewer.layers.events.removed.connect(self._on_removed, position="last")

    def start(self) -> None:
        """Take up a CT that the viewer already shows."""
        layer = find_layer(self.viewer, "ct", None)
        if layer is not None:
            self._adopt(layer)

    def close(self) -> None:
        """Stop following the viewer; corrections are on disk when it returns."""
        self._rest.stop()
        self.viewer.layers.events.inserted.disconnect(self._on_inserted)
        self.viewer.layers.events.removed.disconnect(self._on_removed)
        if self.recovery is not None:
            self.recovery.close()
            self.recovery = None

    def open_volume(self, volume: CTVolume) -> None:
        """Show a CT and make it the case."""
        show_ct(self.viewer, volume)

    @property
    def ct_layer(self) -> Layer | None:
        """The CT's layer, None when there is no case or the user removed it."""
        if self.volume is None:
            return None
        return find_layer(self.viewer, "ct", self.volume)

    def show_result(self, probabilities: Probabilities) -> None:
        """Show what a model found, under the thresholds that are set."""
        self.probabilities = probabilities
        self.show_layers()
        self._decide()
        self.result_changed.emit()

    def set_thresholds(self, thresholds: Thresholds) -> None:
        """Move the thresholds; edited voxels stay.

        The slice in view follows at once, the volume after a short rest.
        """
        self.thresholds = thresholds
        self._preview()
        self._rest.start()

    def settle(self) -> None:
        """Decide now what a moving slider has left for later."""
        if self._rest.isActive():
            self._rest.stop()
            self._decide()

    def show_layers(self) -> Masks:
        """Return the masks, shown; the CT comes back too if it was removed."""
        if self.masks is None or self.volume is None:
            msg = "there is no case to show masks of"
            raise ValueError(msg)
        if self.ct_layer is None:
            show_ct(self.viewer, self.volume)
        show_masks(self.viewer, self.masks)
        return self.masks

    def removed_layers(self) -> list[str]:
        """Return the names of the case's layers that the user has removed."""
        if self.volume is None or self.masks is None:
            return []
        names = [] if self.ct_layer is not None else ["CT"]
        if self.probabilities is None and not self._edited:
            return names
        missing = [m.name for m in self.masks if m not in self.viewer.layers]
        return names + missing

    @property
    def _edited(self) -> int:
        return 0 if self.masks is None else sum(m.edits.count for m in self.masks)

    def _decide(self) -> None:
        if self.probabilities is None or self.masks is None:
            return
        labels = decide_in_box(self.probabilities, self.thresholds)
        self.masks.say(labels, self.probabilities.box)

    def _preview(self) -> None:
        dims = self.viewer.dims
        if self.probabilities is None or self.masks is None or dims.ndisplay != 2:
            return
        axis = dims.not_displayed[0]
        index = round(self.masks.liver.world_to_data(dims.point)[axis])
        seen = decide_in_slice(self.probabilities, self.thresholds, axis, index)
        if seen is not None:
            self.masks.preview(*seen)

    def _on_inserted(self, event: Any) -> None:
        layer = event.value
        if role(layer) == "ct" and case_of(layer) is not self.volume:
            self._adopt(layer)
        self.layers_changed.emit()

    def _on_removed(self) -> None:
        self.layers_changed.emit()

    def _adopt(self, layer: Layer) -> None:
        self._put_away()
        volume = case_of(layer)
        if volume is None:
            return
        self.volume = volume
        self.masks = Masks(volume)
        self.masks.changed.connect(self.masks_changed)
        self.recovery = Recovery(self.masks)
        self.recovery.failed.connect(self.journal_failed)
        layer.name = "CT"
        dress(self.viewer, layer)
        self.case_changed.emit()
        self.result_changed.emit()

    def _put_away(self) -> None:
        """Take the case off the screen; what was edited is in its journal."""
        self._rest.stop()
        old, edited = self.volume, self._edited
        if old is None:
            return
        if self.recovery is not None:
            self.recovery.close()
        self.volume = self.masks = self.recovery = self.probabilities = None
        self.thresholds = Thresholds()
        for layer in [la for la in self.viewer.layers if case_of(la) is old]:
            self.viewer.layers.remove(layer)
        self.case_closed.emit(old.name, edited)

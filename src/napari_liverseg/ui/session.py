"""The case on screen: its CT, masks, probabilities and journal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QObject, Qt, Signal

from napari_liverseg.ui.ct_layer import case_of, dress, find_layer, role, show_ct
from napari_liverseg.ui.live_decision import LiveDecision
from napari_liverseg.ui.masks import Masks, no_masks, unfinished
from napari_liverseg.ui.partial_masks import PartialMasks
from napari_liverseg.ui.preview import slice_seen
from napari_liverseg.ui.recovery import Recovery
from napari_liverseg.ui.sitting import Sitting, disown, find_sitting

if TYPE_CHECKING:
    import numpy as np
    from napari import Viewer
    from napari.layers import Layer
    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.core.probabilities import Probabilities, Thresholds
    from napari_liverseg.core.segmentation import Segmentation
    from napari_liverseg.core.volume import CTVolume

UNFINISHED = "A run shows only a part so far: wait for its end or press Cancel"


class Session(QObject):
    """One case at a time in one viewer.

    A CT that comes in by any way, the dock, a drop or File > Open, becomes the
    case; the layers of the one before are taken away, its corrections stay in
    the journal. What the masks are is known here, never looked up by a layer's
    place: a copy of a layer is a plain layer.
    """

    case_changed = Signal()
    result_changed = Signal()
    masks_changed = Signal()
    layers_changed = Signal()
    partial_changed = Signal()
    """The masks show a part of a run, or no longer."""
    case_closed = Signal(str, int, bool)
    """Name of the case that was taken away, how many edited voxels it had, and
    whether the last of them reached the journal."""
    journal_failed = Signal(object)

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.folder: Path | None = None
        """Where the last CT was opened; dialogs start there."""
        self.volume: CTVolume | None = None
        self.masks: Masks | None = None
        self.recovery: Recovery | None = None
        self._partial = PartialMasks(viewer)
        self._ct: Layer | None = None
        self._decision = LiveDecision(viewer)
        # Last: napari's own views of the new layer must exist before we act.
        viewer.layers.events.inserted.connect(self._on_inserted, position="last")
        viewer.layers.events.removed.connect(self._on_list, position="last")
        viewer.layers.events.renamed.connect(self._on_list, position="last")

    def start(self) -> None:
        """Take up what an earlier dock has left, or a CT that the viewer shows."""
        sitting = find_sitting(self.viewer)
        if sitting is not None:
            self._resume(sitting)
        newest = find_layer(self.viewer, "ct", None)
        case = None if newest is None else case_of(newest)
        if case is not None and case is not self.volume:
            # The first of a case is the CT itself, what lies above it are copies.
            self._adopt(next(la for la in self.viewer.layers if case_of(la) is case))
        for layer in self.viewer.layers:
            self._disown_copy(layer)

    def close(self) -> None:
        """Stop following the viewer; corrections are on disk when it returns."""
        self.settle()
        self.viewer.layers.events.inserted.disconnect(self._on_inserted)
        self.viewer.layers.events.removed.disconnect(self._on_list)
        self.viewer.layers.events.renamed.disconnect(self._on_list)
        if self.recovery is None or self.masks is None:
            return
        self.masks.changed.disconnect(self.masks_changed)
        self.recovery.failed.disconnect(self.journal_failed)
        self.drop_partial()
        self.recovery.leave()
        Sitting(
            self.masks,
            self.ct_layer,
            self.probabilities,
            self.thresholds,
            self.recovery,
        ).leave()
        self.recovery = None

    @property
    def probabilities(self) -> Probabilities | None:
        """What a model found, None before a run has ended."""
        return self._decision.probabilities

    @property
    def thresholds(self) -> Thresholds:
        """What the masks of the model are decided by."""
        return self._decision.thresholds

    @property
    def start_folder(self) -> str:
        """Where a file dialog starts; empty is the system's own choice."""
        return "" if self.folder is None else str(self.folder)

    def open_volume(self, volume: CTVolume) -> None:
        """Show a CT and make it the case."""
        show_ct(self.viewer, volume)

    @property
    def ct_layer(self) -> Layer | None:
        """The CT's layer, None when there is no case or the user removed it."""
        return self._ct if self._ct in self.viewer.layers else None

    @property
    def has_masks(self) -> bool:
        """Whether there is anything to compare or export."""
        if self.masks is None:
            return False
        shown = any(layer in self.viewer.layers for layer in self.masks)
        return shown or self.probabilities is not None or bool(self._edited)

    @property
    def is_partial(self) -> bool:
        """Whether the masks show a part of a run, which is no result."""
        return bool(self._partial)

    def segmentation(self) -> Segmentation:
        """Return the case's masks as they are now, whichever layers are shown.

        Raises
        ------
        LiversegError
            There are none yet, or they show a part of a run.
        """
        if self.masks is None or not self.has_masks:
            raise no_masks()
        if self.is_partial:
            raise unfinished()
        self.settle()
        return self.masks.segmentation()

    def show_result(self, probabilities: Probabilities) -> None:
        """Show what a model found, under the thresholds that are set."""
        self._decision.probabilities = probabilities
        self.drop_partial()
        self.show_layers()
        self._decision.decide()
        self.result_changed.emit()

    @property
    def slice_in_view(self) -> int | None:
        """Axial slice on the screen, None in another plane or in 3D."""
        seen = None if self.masks is None else slice_seen(self.viewer, self.masks.liver)
        return seen[1] if seen is not None and seen[0] == 0 else None

    def show_partial(self, labels: NDArray[np.uint8], box: Box) -> None:
        """Show what a run has found in some slices, around every edited voxel.

        Layers come with the first: those that the user removes then stay away.
        """
        begins = not self.is_partial
        masks = self._with_ct() if begins else self.masks
        if masks is None:
            return
        self._partial.show(masks, labels, box)
        if begins:
            self.partial_changed.emit()

    def drop_partial(self) -> None:
        """Show again what was there before an unfinished run."""
        if self.is_partial and self.masks is not None:
            has_more = self.probabilities is not None or bool(self._edited)
            self._partial.drop(self.masks, keep_layers=has_more)
            self.partial_changed.emit()

    def set_thresholds(self, thresholds: Thresholds) -> None:
        """Move the thresholds; edited voxels stay.

        The slice in view follows at once, the volume after a short rest.
        """
        self._decision.set_thresholds(thresholds)

    def settle(self) -> None:
        """Decide now what a moving slider has left for later."""
        self._decision.settle()

    def show_layers(self) -> Masks:
        """Return the masks, shown; the CT comes back too if it was removed."""
        masks = self._with_ct()
        masks.show_in(self.viewer)
        return masks

    def _with_ct(self) -> Masks:
        """Return the masks once their CT is shown."""
        if self.masks is None or self.volume is None:
            msg = "there is no case to show masks of"
            raise ValueError(msg)
        if self.ct_layer is None:
            show_ct(self.viewer, self.volume)
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
        return 0 if self.masks is None else self.masks.edited_voxels

    def _on_inserted(self, event: Any) -> None:
        layer = event.value
        case = case_of(layer)
        if role(layer) == "ct" and case is not None:
            if case is not self.volume:
                self._adopt(layer)
            elif self.ct_layer is None and isinstance(layer, Image):
                self._ct = layer
        self._disown_copy(layer)
        self.layers_changed.emit()

    def _on_list(self) -> None:
        self.layers_changed.emit()

    def _adopt(self, layer: Layer) -> None:
        """Make the CT of a layer the case."""
        volume = case_of(layer)
        self._put_away()
        if volume is None:
            return
        layer.name = "CT"
        if layer.source.path:  # dropped on the window, or by File > Open
            self.folder = Path(layer.source.path).parent
        dress(self.viewer, layer)
        masks = Masks(volume)
        self._begin(masks, layer, Recovery(masks))

    def _resume(self, sitting: Sitting) -> None:
        """Go on with the case of a dock that was closed."""
        self._decision.probabilities = sitting.probabilities
        self._decision.thresholds = sitting.thresholds
        ct = sitting.ct if sitting.ct in self.viewer.layers else None
        self._begin(sitting.masks, ct, sitting.recovery)
        sitting.recovery.resume()

    def _begin(self, masks: Masks, ct: Layer | None, recovery: Recovery) -> None:
        self.volume, self.masks, self._ct = masks.volume, masks, ct
        self._decision.begin(masks)
        masks.changed.connect(self.masks_changed)
        self.recovery = recovery
        # Later: what it tells of the case before is shown beside the next one.
        queued = Qt.ConnectionType.QueuedConnection
        recovery.failed.connect(self.journal_failed, queued)
        self.case_changed.emit()
        self.result_changed.emit()

    def _disown_copy(self, layer: Layer) -> None:
        """Take its role from a layer that claims one and is not the case's own."""
        own = [self._ct, *(self.masks or ())]
        if role(layer) == "truth":  # the first of its case; copies lie above it
            mates = (la for la in self.viewer.layers if case_of(la) is case_of(layer))
            own = [next(la for la in mates if role(la) == "truth")]
        if role(layer) and not any(layer is one for one in own):
            disown(layer)

    def _put_away(self) -> None:
        """Take the case off the screen; what was edited is in its journal."""
        self._partial.forget()
        old, edited = self.volume, self._edited
        if old is None:
            return
        kept = True
        if self.recovery is not None:
            self.recovery.close()
            kept = self.recovery.is_kept
        if self.masks is not None:
            self.masks.changed.disconnect(self.masks_changed)
        self.volume = self.masks = self.recovery = self._ct = None
        self._decision.forget()
        for layer in [la for la in self.viewer.layers if case_of(la) is old]:
            self.viewer.layers.remove(layer)
        self.case_closed.emit(old.name, edited, kept)

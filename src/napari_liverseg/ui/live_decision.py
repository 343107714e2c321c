"""What a model found in the case, decided anew while the thresholds move."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_liverseg.core.probabilities import Thresholds
from napari_liverseg.inference.decision import decide_in_box
from napari_liverseg.ui.preview import decide_in_slice, slice_seen

if TYPE_CHECKING:
    from napari import Viewer

    from napari_liverseg.core.probabilities import Probabilities
    from napari_liverseg.ui.masks import Masks

REST_MS = 120
"""A slider that rests this long has arrived."""


class LiveDecision(QObject):
    """Writes a model's probabilities into the masks, around what the user edited.

    Parameters
    ----------
    viewer : Viewer
        Its slice in view follows a slider first.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._masks: Masks | None = None
        self.probabilities: Probabilities | None = None
        self.thresholds = Thresholds()
        self._rest = QTimer(self, singleShot=True, interval=REST_MS)
        self._rest.timeout.connect(self.decide)

    def begin(self, masks: Masks) -> None:
        """Decide into these masks from now on."""
        self._masks = masks

    def forget(self) -> None:
        """Let go of the case, whose masks stay as they are."""
        self._rest.stop()
        self._masks = self.probabilities = None
        self.thresholds = Thresholds()

    def decide(self) -> None:
        """Write what the probabilities are under the thresholds that are set."""
        if self.probabilities is None or self._masks is None:
            return
        labels = decide_in_box(self.probabilities, self.thresholds)
        self._masks.say(labels, self.probabilities.box)

    def set_thresholds(self, thresholds: Thresholds) -> None:
        """Move the thresholds: the slice in view at once, the volume after a rest."""
        self.thresholds = thresholds
        self._preview()
        self._rest.start()

    def settle(self) -> None:
        """Decide now what a moving slider has left for later."""
        if self._rest.isActive():
            self._rest.stop()
            self.decide()

    def _preview(self) -> None:
        if self.probabilities is None or self._masks is None:
            return
        seen = slice_seen(self._viewer, self._masks.liver)
        if seen is None:
            return
        part = decide_in_slice(self.probabilities, self.thresholds, *seen)
        if part is not None:
            self._masks.preview(*part)

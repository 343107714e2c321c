"""How sure the model is that a voxel is tumour, as a glow over the CT."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image
from qtpy.QtCore import QObject, Signal

from napari_liverseg.core.probabilities import FULL
from napari_liverseg.ui.ct_layer import (
    CASE,
    add_beside,
    hold_in_place,
    placement,
)

if TYPE_CHECKING:
    from napari_liverseg.ui.session import Session

NAME = "Tumour probability, %"


class ProbabilityLayer(QObject):
    """The map of the case on screen, for as long as the user wants to see it.

    It follows a new run, and goes with its case.

    Parameters
    ----------
    session : Session
    """

    changed = Signal()
    """It was shown or taken away, by whomever."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._layer: Image | None = None
        session.result_changed.connect(self._on_result)
        session.layers_changed.connect(self.changed)

    @property
    def is_shown(self) -> bool:
        """Whether its layer is in the viewer."""
        return self._layer in self._session.viewer.layers

    def toggle(self) -> None:
        """Show the map above the CT, or take it away."""
        if self.is_shown:
            self.hide()
        else:
            self._show()

    def hide(self) -> None:
        """Take the map away; it can be shown again."""
        if self.is_shown:
            self._session.viewer.layers.remove(self._layer)

    def _on_result(self) -> None:
        if self.is_shown:
            self.hide()
            self._show()

    def _show(self) -> None:
        """Add the map of the newest result, in per cent, if there is one."""
        session = self._session
        probabilities, volume = session.probabilities, session.volume
        if probabilities is None or volume is None:
            return
        place = placement(volume)
        starts = np.array([s.start for s in probabilities.box])
        place["translate"] = np.add(place["translate"], starts * place["scale"])
        per_cent = np.arange(FULL + 1, dtype=np.float32) * 100 / FULL
        self._layer = Image(
            np.rint(per_cent).astype(np.uint8)[probabilities.tumour],
            name=NAME,
            colormap="inferno",
            blending="additive",
            contrast_limits=(0, 100),
            opacity=0.7,
            metadata={CASE: volume},
            **place,
        )
        hold_in_place(self._layer)
        add_beside(session.viewer, self._layer)
        # Below the masks: they are what is corrected.
        layers = session.viewer.layers
        layers.move(layers.index(self._layer), int(session.ct_layer is not None))

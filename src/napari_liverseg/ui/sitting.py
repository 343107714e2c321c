"""What a closed dock leaves with the layers of its case, for the next dock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_liverseg.ui.ct_layer import CASE, ROLE

if TYPE_CHECKING:
    from napari import Viewer
    from napari.layers import Layer

    from napari_liverseg.core.probabilities import Probabilities, Thresholds
    from napari_liverseg.ui.masks import Masks
    from napari_liverseg.ui.recovery import Recovery

SITTING = "napari-liverseg:sitting"
"""Key of a layer's metadata that holds the `Sitting` it was part of."""


@dataclass(frozen=True, eq=False)
class Sitting:
    """A case at the moment when its dock was closed.

    Parameters
    ----------
    masks : Masks
        They go on numbering lesions and giving back undone voxels.
    ct : Layer or None
        The CT's layer, None when the user had removed it.
    probabilities : Probabilities or None
    thresholds : Thresholds
    recovery : Recovery
        It goes on writing what is painted without a dock.
    """

    masks: Masks
    ct: Layer | None
    probabilities: Probabilities | None
    thresholds: Thresholds
    recovery: Recovery

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The CT, where there is one, and the two masks."""
        return (*self.masks,) if self.ct is None else (self.ct, *self.masks)

    def leave(self) -> None:
        """Put the sitting where `find_sitting` looks for it."""
        for layer in self.layers:
            layer.metadata[SITTING] = self


def find_sitting(viewer: Viewer) -> Sitting | None:
    """Return what a dock has left in a viewer, None once its layers are gone."""
    for layer in viewer.layers:
        sitting: Sitting | None = layer.metadata.get(SITTING)
        if sitting is not None and any(layer is own for own in sitting.layers):
            return sitting
    return None


def disown(layer: Layer) -> None:
    """Make a copy of one of our layers a plain layer, as the user means it."""
    # The setter empties the dictionary that it is given back.
    metadata = dict(layer.metadata)
    for key in (CASE, ROLE, SITTING):
        metadata.pop(key, None)
    layer.metadata = metadata

"""What a run shows before its end: in place of the masks, and taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_liverseg.ui.ct_layer import PARTIAL

if TYPE_CHECKING:
    import numpy as np
    from napari import Viewer
    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.ui.masks import Masks


class PartialMasks:
    """The parts of an unfinished run that stand in a case's masks; false for none.

    Parameters
    ----------
    viewer : Viewer
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._boxes: list[Box] = []
        self._brought_layers = False

    def __bool__(self) -> bool:
        return bool(self._boxes)

    def show(self, masks: Masks, labels: NDArray[np.uint8], box: Box) -> None:
        """Show what a run has found in some slices, around every edited voxel."""
        if not self._boxes:
            self._brought_layers = not any(la in self._viewer.layers for la in masks)
            masks.show_in(self._viewer)
        self._boxes.append(box)
        masks.preview(labels, box)
        for layer in masks:
            layer.metadata[PARTIAL] = True

    def drop(self, masks: Masks, *, keep_layers: bool) -> None:
        """Show again what was there before the run.

        Parameters
        ----------
        masks : Masks
        keep_layers : bool
            There is a result or an edit to show. Without, layers that the run brought
            go too: empty ones could be saved as if there were no liver.
        """
        boxes, self._boxes = self._boxes, []
        for layer in masks:
            layer.metadata.pop(PARTIAL, None)
        masks.unsay(boxes)
        if self._brought_layers and not keep_layers:
            for layer in masks:
                if layer in self._viewer.layers:
                    self._viewer.layers.remove(layer)

    def forget(self) -> None:
        """Leave the masks as they are: their case is put away."""
        self._boxes = []

"""The liver and tumour masks of a case: the model's say around the user's edits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap
from qtpy.QtCore import QObject, Signal

from napari_liverseg.core.errors import LiversegError
from napari_liverseg.core.segmentation import LIVER, TUMOUR, Segmentation, combine
from napari_liverseg.editing.corrections import Corrections, corrections_of
from napari_liverseg.editing.merge import block_from, write_around
from napari_liverseg.editing.patch import enclosing
from napari_liverseg.measure.lesions import label_lesions
from napari_liverseg.ui import colours
from napari_liverseg.ui.ct_layer import belonging, hold_in_place, placement
from napari_liverseg.ui.mask_layer import MaskLayer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari import Viewer
    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.core.volume import CTVolume

ROLES = ("liver", "tumour")


@dataclass(frozen=True)
class Volumes:
    """What masks hold.

    Parameters
    ----------
    liver_ml, tumour_ml : float
        Whole organ with its tumours, and all tumours.
    lesions : int
        6-connected parts of the tumour mask.
    """

    liver_ml: float
    tumour_ml: float
    lesions: int


class Masks(QObject):
    """The two mask layers of one case.

    Parameters
    ----------
    volume : CTVolume
        The case.
    """

    edited = Signal()
    """The user has changed a mask: a stroke, an undo, a redo."""
    changed = Signal()
    """Anyone has changed a mask."""

    def __init__(self, volume: CTVolume) -> None:
        super().__init__()
        self.volume = volume
        self.lesion_count = 0
        self.changes = 0
        """How often anyone has changed a mask; tells results from stale ones."""
        self.strokes = 0
        """How often the user has: strokes, undos, restored corrections."""
        self._said: NDArray[np.uint8] | None = None
        self._said_box: Box | None = None
        self.liver = _mask_layer(volume, "liver", "Liver", colours.LIVER)
        self.tumour = _mask_layer(volume, "tumour", "Tumour", colours.TUMOUR)
        for layer in self:
            layer.events.edited.connect(self._on_edited)
            layer.events.undone.connect(self._on_undone)

    def __iter__(self) -> Iterator[MaskLayer]:
        """Return the liver's layer, then the tumours'."""
        return iter((self.liver, self.tumour))

    def show_in(self, viewer: Viewer) -> None:
        """Add the layers that the viewer lacks, removed ones too, tumours on top."""
        for layer in self:
            if layer not in viewer.layers:
                viewer.add_layer(layer)

    def say(self, labels: NDArray[np.uint8], box: Box) -> None:
        """Write what the model says, around every edited voxel.

        Parameters
        ----------
        labels : ndarray of uint8, shape of the box
            0 background, 1 liver, 2 tumour; background outside of `box`.
        box : tuple of slice
        """
        before = self._said_box
        self._said, self._said_box = labels, box
        for layer, block in zip(self, _split(labels), strict=True):
            if before is not None and before != box:
                write_around(layer.data, layer.edits.mask, before, 0)
            write_around(layer.data, layer.edits.mask, box, block)
        self._after_change()

    def preview(self, labels: NDArray[np.uint8], box: Box) -> None:
        """Write what the model may say in one slice, until `say` follows."""
        for layer, block in zip(self, _split(labels), strict=True):
            write_around(layer.data, layer.edits.mask, box, block)
            layer.refresh(extent=False, thumbnail=False)

    def unsay(self, boxes: Sequence[Box]) -> None:
        """Write what the model said before some previews."""
        for box in boxes:
            for layer in self:
                self._give_back(layer, box)
        if boxes:
            self._after_change()

    def volumes(self) -> Volumes:
        """Return what the masks hold now."""
        voxel_ml = self.volume.geometry.voxel_ml
        tumour = int(np.count_nonzero(self.tumour.data))
        # A tumour painted outside of the liver is part of the organ's export.
        liver = int(np.count_nonzero(self.liver.data | self.tumour.data))
        return Volumes(liver * voxel_ml, tumour * voxel_ml, self.lesion_count)

    def found(self) -> Volumes:
        """Return what the model says, without the user's edits."""
        said = np.zeros((0, 0, 0), np.uint8) if self._said is None else self._said
        voxel_ml = self.volume.geometry.voxel_ml
        liver, tumour = (int(np.count_nonzero(mask)) for mask in _split(said))
        lesions = label_lesions(said == TUMOUR)[1]
        return Volumes(liver * voxel_ml, tumour * voxel_ml, lesions)

    @property
    def edited_voxels(self) -> int:
        """Number of voxels that belong to the user, in both masks."""
        return sum(layer.edits.count for layer in self)

    def segmentation(self) -> Segmentation:
        """Return both masks as one label map on the CT's grid, shown or not.

        Every non-zero value counts; the tumour wins where both claim a voxel,
        and a tumour painted outside of the liver is kept.
        """
        liver, tumour = (np.asarray(layer.data) for layer in self)
        return Segmentation(combine(liver, tumour), self.volume.geometry)

    def corrections(self) -> Corrections:
        """Return every edited voxel with its value, as of now."""
        found = {
            name: corrections_of(layer.data, layer.edits)
            for name, layer in zip(ROLES, self, strict=True)
        }
        kept = {name: mask for name, mask in found.items() if mask is not None}
        grid = self.volume.geometry
        return Corrections(grid.shape, datetime.now(UTC), kept, grid)

    def restore(self, corrections: Corrections) -> None:
        """Put corrections of an earlier session back and protect them.

        Voxels that were edited since keep what the user made of them.

        Raises
        ------
        LiversegError
            They belong to a volume of another shape or place.
        """
        if not corrections.fit(self.volume.geometry):
            found = "The corrections found belong to another part of this series."
            raise LiversegError(
                found, "Open that part to restore them, or discard them."
            )
        for name, layer in zip(ROLES, self, strict=True):
            mask = corrections.masks.get(name)
            if mask is not None:
                layer.forget_strokes()  # breaks off an encircling too
                mask.write(layer.data, layer.edits)
        self._after_edit()

    def discard_corrections(self) -> None:
        """Give every voxel back to the model; cannot be undone by a key."""
        for layer in self:
            box = layer.edits.box
            layer.edits.clear()
            layer.forget_strokes()
            if box is not None:
                self._give_back(layer, box)
        self._after_edit()

    def _on_edited(self) -> None:
        self._after_edit()

    def _on_undone(self, event: Any) -> None:
        layer = event.source
        if event.stroke.claimed is not None:
            self._give_back(layer, event.stroke.claimed.box)
        self._after_edit()

    def _give_back(self, layer: MaskLayer, box: Box) -> None:
        said = np.zeros([s.stop - s.start for s in box], np.uint8)
        if self._said is not None and self._said_box is not None:
            said = block_from(self._said, self._said_box, box)
        block = _split(said)[0 if layer is self.liver else 1]
        write_around(layer.data, layer.edits.mask, box, block)

    def _after_edit(self) -> None:
        self.strokes += 1
        self._after_change()
        self.edited.emit()

    def _after_change(self) -> None:
        self._number_lesions()
        for layer in self:
            layer.refresh()
        self.changes += 1
        self.changed.emit()

    def _number_lesions(self) -> None:
        """Set each lesion's number; whether a voxel is tumour stays as it is."""
        boxes = [self._said_box, self.tumour.edits.box]
        known = [box for box in boxes if box is not None]
        if not known or self.tumour.edits.in_stroke:
            return
        region = self.tumour.data[enclosing(known)]
        region[...], self.lesion_count = label_lesions(region)


def no_masks() -> LiversegError:
    """Return the refusal of whatever needs masks before there are any."""
    found = "There are no masks yet."
    return LiversegError(found, "Press Segment, or paint with the liver brush.")


def unfinished() -> LiversegError:
    """Return the refusal of whatever needs the whole of a run."""
    found = "A run is in progress, and the masks show only a part of it."
    return LiversegError(found, "Wait for its end, or press Cancel.")


def label_colours(by_value: dict[int | None, str]) -> DirectLabelColormap:
    """Return a colour map of label values; None is every other value."""
    return DirectLabelColormap(
        color_dict={None: "transparent", 0: "transparent", **by_value}
    )


def _mask_layer(volume: CTVolume, to_be: str, name: str, colour: str) -> MaskLayer:
    layer = MaskLayer(
        np.zeros(volume.geometry.shape, np.uint8),
        name=name,
        colormap=label_colours({None: colour}),
        metadata=belonging(volume, to_be),
        **placement(volume),
    )
    hold_in_place(layer)
    return layer


def _split(labels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the whole organ and the tumours of a label map, as masks of 1."""
    return (labels >= LIVER).view(np.uint8), (labels == TUMOUR).view(np.uint8)

"""A Labels layer that knows which of its voxels a person has edited."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.events import Event

from napari_liverseg.core.errors import CaseError
from napari_liverseg.editing.edited import EditedVoxels
from napari_liverseg.editing.stroke import Stroke

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray


class MaskLayer(Labels):
    """A mask whose strokes are told from what a program wrote.

    napari's undo emits no event and its paint event names only the voxels
    that changed, so the public editing methods are extended here. Two events
    come with it: `edited` after every stroke and redo, `undone` (with the
    `Stroke`) after an undo or a stroke that was broken off, when the voxels must be
    given back to the program.

    Parameters
    ----------
    data : ndarray of uint8, shape (z, y, x)
        The mask; another array of its shape counts as the user's edit.
    **settings
        As for `napari.layers.Labels`.
    """

    def __init__(self, data: NDArray[np.uint8], **settings: Any) -> None:
        self.edits = EditedVoxels(data.shape)
        self._painted = False
        super().__init__(data, **settings)
        self._array = self.data
        self.events.add(edited=Event, undone=Event)
        self.events.paint.connect(self._on_paint)
        self.events.data.connect(self._on_data)
        self.events.editable.connect(self._on_editable)

    @Labels.data.setter
    def data(self, data: NDArray[np.integer[Any]]) -> None:
        """Replace the array by one of the same voxels.

        Raises
        ------
        CaseError
            It has another shape: the corrections would have no place in it.
        """
        if np.shape(data) != self._array.shape:
            found = f"The layer '{self.name}' keeps the voxels of its CT."
            raise CaseError(found, "Put an array of another shape into a new layer.")
        Labels.data.fset(self, data)

    @property
    def _type_string(self) -> str:
        # Writers, menus and icons go by the name of the class.
        return "labels"

    @classmethod
    def _basename(cls) -> str:
        return "Labels"

    @contextmanager
    def block_history(self) -> Iterator[None]:
        """Group edits into one stroke, as a drag of the mouse does."""
        with super().block_history():
            yield
        self._end_stroke()

    def data_setitem(self, indices: Any, value: Any, refresh: bool = True) -> None:
        """Set voxels by index, as an edit of the user's."""
        ends = [(int(np.min(i)), int(np.max(i)) + 1) for i in indices if np.size(i)]
        if len(ends) == self.ndim:
            box = tuple(slice(start, stop) for start, stop in ends)
            footprint = np.zeros([stop - start for start, stop in ends], bool)
            inside = (i - s for i, (s, _) in zip(indices, ends, strict=True))
            footprint[tuple(inside)] = True
            self.edits.touch(box, footprint)  # type: ignore[arg-type]
        super().data_setitem(indices, value, refresh)
        self._end_stroke()

    def undo(self) -> None:
        """Take the last stroke back; its voxels belong to the program again."""
        if self.edits.in_stroke:
            return
        stroke = self.edits.undo(self.data)
        if stroke is None:
            return
        if stroke.changed_mask:
            super().undo()
        self.events.undone(stroke=stroke)

    def redo(self) -> None:
        """Repeat the last undone stroke, with the values it had."""
        following = self.edits.next_redo
        if following is None or self.edits.in_stroke:
            return
        if following.changed_mask:
            super().redo()
        self.edits.redo(self.data)
        self.refresh()
        self.events.edited(stroke=following)

    def forget_strokes(self) -> None:
        """Empty the undo history (leaves any brush); edits stay edits."""
        self.editable = False
        self.editable = True

    def _paint_region_with_mask(
        self,
        slice_key: Any,
        mask: NDArray[np.bool_],
        new_label: int,
        dims_to_paint: list[int],
        *args: Any,
        **kwargs: Any,
    ) -> None:
        # Brush, fill and polygon all pass here with their whole footprint.
        others = tuple(d for d in range(self.ndim) if d not in dims_to_paint)
        footprint = np.expand_dims(mask, others)
        self.edits.touch(_plain(slice_key, self.data.shape), footprint)
        super()._paint_region_with_mask(
            slice_key, mask, new_label, dims_to_paint, *args, **kwargs
        )
        self._end_stroke()

    def _abort_stroke(self) -> None:
        super()._abort_stroke()
        if self.edits.in_stroke:
            # The program may have decided anew in mid-stroke, and the journal holds
            # what was written then.
            given_back = self.edits.abandon_stroke()
            self.events.undone(stroke=Stroke(given_back, changed_mask=True))

    def _commit_stroke(self) -> None:
        super()._commit_stroke()
        self._end_stroke()

    def _on_paint(self) -> None:
        # Sent before the voxels change where edits are not grouped.
        self._painted = True

    def _end_stroke(self) -> None:
        if self._block_history:
            return  # a drag is one stroke, however many dabs it has
        painted, self._painted = self._painted, False
        stroke = self.edits.finish_stroke(changed_mask=painted)
        if stroke is not None:
            self.events.edited(stroke=stroke)

    def _on_data(self) -> None:
        # Other plugins re-send this event after every stroke: only another
        # array means that the mask was replaced, and that is the user's doing.
        if self.data is self._array:
            return
        before, self._array = self._array, self.data
        whole = tuple(slice(0, n) for n in before.shape)
        self.edits.claim(whole, np.asarray(before != self.data))  # type: ignore[arg-type]
        self.forget_strokes()
        self.events.edited(stroke=None)

    def _on_editable(self) -> None:
        if not self.editable:
            self.edits.forget_strokes()


def _plain(slices: Any, shape: tuple[int, ...]) -> Any:
    """Return slices with a start and a stop inside the array."""
    return tuple(
        slice(*part.indices(n)[:2]) for part, n in zip(slices, shape, strict=True)
    )

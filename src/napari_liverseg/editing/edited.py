"""Which voxels of one mask belong to the user, stroke by stroke."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.editing.patch import Patch, enclosing, union
from napari_liverseg.editing.stroke import Stroke

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box

HISTORY = 100
"""Strokes that can be undone; the length of napari's own history."""


class EditedVoxels:
    """The voxels that the user has edited, with an undo history of their own.

    A voxel belongs to the user from the moment that a stroke touches it until
    that stroke is undone or all corrections are discarded. Programs may write
    every other voxel, so values remembered by an undo history never go stale.

    Parameters
    ----------
    shape : tuple of int
        Shape of the mask ``(z, y, x)``.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.mask: NDArray[np.bool_] = np.zeros(shape, bool)
        self.count = 0
        self._box: Box | None = None
        self._open: list[Patch] | None = None
        self._done: deque[Stroke] = deque(maxlen=HISTORY)
        self._undone: list[Stroke] = []

    @property
    def box(self) -> Box | None:
        """A box around every voxel that was ever claimed since `clear`."""
        return self._box

    @property
    def in_stroke(self) -> bool:
        """Whether a stroke has begun and not ended."""
        return self._open is not None

    def touch(self, box: Box, footprint: NDArray[np.bool_]) -> None:
        """Claim the footprint of one dab of the brush at once.

        Parameters
        ----------
        box : tuple of slice
            Where `footprint` lies in the mask.
        footprint : ndarray of bool, shape of the box
            Voxels under the brush, whether or not they change.
        """
        if self._open is None:
            self._open = []
        new = footprint & ~self.mask[box]
        if new.any():
            patch = Patch.pack(box, new)
            self._claim(patch)
            self._open.append(patch)

    def finish_stroke(self, *, changed_mask: bool) -> Stroke | None:
        """End the stroke and remember it for undo; None when there is nothing."""
        patches, self._open = self._open or [], None
        if not patches and not changed_mask:
            return None
        stroke = Stroke(union(patches) if patches else None, changed_mask)
        self._done.append(stroke)
        self._undone.clear()
        return stroke

    def abandon_stroke(self) -> Patch | None:
        """Give back what the unfinished stroke has claimed, and return it.

        Nothing can be redone after it: viewers forget that when a stroke begins.
        """
        patches, self._open = self._open or [], None
        self._undone.clear()
        for patch in patches:
            self._release(patch)
        return union(patches) if patches else None

    def undo(self, data: NDArray[np.uint8]) -> Stroke | None:
        """Take the last stroke back and return it, or None.

        Call before the values are restored: `data` still holds the stroke's,
        and they are kept for `redo`.
        """
        if not self._done:
            return None
        stroke = self._done.pop()
        claimed = stroke.claimed
        if claimed is not None:
            stroke = replace(stroke, values=data[claimed.box][claimed.mask])
            self._release(claimed)
        self._undone.append(stroke)
        return stroke

    def redo(self, data: NDArray[np.uint8]) -> Stroke | None:
        """Claim the voxels of the last undone stroke again, with its values.

        Call after the viewer has repeated the stroke: voxels that the program
        has changed since the undo get the user's value back.
        """
        if not self._undone:
            return None
        stroke = self._undone.pop()
        if stroke.claimed is not None and stroke.values is not None:
            data[stroke.claimed.box][stroke.claimed.mask] = stroke.values
            self._claim(stroke.claimed)
        self._done.append(stroke)
        return stroke

    @property
    def next_undo(self) -> Stroke | None:
        """The stroke that `undo` would take back."""
        return self._done[-1] if self._done else None

    @property
    def next_redo(self) -> Stroke | None:
        """The stroke that `redo` would repeat."""
        return self._undone[-1] if self._undone else None

    def claim(self, box: Box, mask: NDArray[np.bool_]) -> None:
        """Claim voxels outside the undo history, such as restored corrections."""
        new = mask & ~self.mask[box]
        if new.any():
            self._claim(Patch.pack(box, new))

    def forget_strokes(self) -> None:
        """Empty the undo history; edited voxels stay edited."""
        self._open = None
        self._done.clear()
        self._undone.clear()

    def clear(self) -> None:
        """Give every voxel back to the program and empty the history."""
        self.forget_strokes()
        if self._box is not None:
            self.mask[self._box] = False
        self._box = None
        self.count = 0

    def _claim(self, patch: Patch) -> None:
        self.mask[patch.box] |= patch.mask
        self.count += patch.count
        boxes = [patch.box] if self._box is None else [self._box, patch.box]
        self._box = enclosing(boxes)

    def _release(self, patch: Patch) -> None:
        self.mask[patch.box] &= ~patch.mask
        self.count -= patch.count

"""What windows have said so far, summed so that their order never matters."""

from __future__ import annotations

import errno
import math
import os
import shutil
import tempfile
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_liverseg.core.data_folder import data_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_liverseg.inference.groups import Groups
    from napari_liverseg.inference.placement import Corner, Row
    from napari_liverseg.models.contract import Shape


DISK = "disk"
"""A place for finished logits when main memory is short: a file without a name."""


def memory_of(place: str) -> str:
    """Return the device that computes with what is kept at a place."""
    return "cpu" if place == DISK else place


@dataclass(eq=False)
class _OpenRow:
    """Weighted sums of the windows of one row, and its weights."""

    sums: torch.Tensor
    weights: torch.Tensor
    is_closed: bool = False


class Sums:
    """Logits of a whole image in the making.

    The windows of a row are summed in their own order; a plane is finished
    when every row that covers it is, and rows are then added from the lowest
    up. Floating-point sums so come out the same to the last bit whichever row
    was run first, and only the rows around the front take room.

    Parameters
    ----------
    shape : tuple of int
        Voxels ``(z, y, x)`` of the image.
    rows : tuple of Row
        All windows that will come.
    weights : Tensor, float32, shape of a window
    groups : Groups
        What is kept of the network's channels.
    dtype : torch.dtype
        Of the finished logits.
    place : str
        Where all sums are kept, until they are moved: a device, or `DISK` for
        finished logits on disk and open rows in main memory.

    Raises
    ------
    MemoryError
        When the disk has no room for them either.
    """

    def __init__(
        self,
        shape: Shape,
        rows: tuple[Row, ...],
        weights: torch.Tensor,
        groups: Groups,
        dtype: torch.dtype = torch.float32,
        place: str = "cpu",
    ) -> None:
        self._rows = {row.z: row for row in rows}
        self._shape, self._patch = shape, tuple(weights.shape)
        self._weights, self._groups = weights.to(memory_of(place)), groups
        self._open: dict[int, _OpenRow] = {}
        self._row_weights: dict[tuple[Corner, ...], torch.Tensor] = {}
        self._is_finished = [False] * shape[0]
        self._place = place
        self._scratch: torch.Tensor | None = None
        # Sums that need no change on the way are divided where they are kept.
        self._is_direct = dtype == torch.float32 and not groups.is_reduced
        size = (groups.kept.channels, *shape)
        self.logits = groups.clear(_room(size, dtype, place))

    def move(self, place: str) -> None:
        """Keep all sums at another place from now on."""
        if place == self._place:
            return
        device = memory_of(place)
        self._row_weights.clear()
        self._scratch = None
        self._weights = self._weights.to(device)
        for row in self._open.values():
            row.sums, row.weights = row.sums.to(device), row.weights.to(device)
        room = _room(self.logits.shape, self.logits.dtype, place)
        self.logits, self._place = room.copy_(self.logits), place

    def open(self, row: Row) -> None:
        """Make room for a row, unless it has some."""
        if row.z not in self._open:
            size = (self._groups.channels, self._patch[0], *self._shape[1:])
            sums = torch.zeros(size, device=self.logits.device)
            self._open[row.z] = _OpenRow(sums, self._weights_of(row))

    def add(self, row: Row, corners: Sequence[Corner], logits: torch.Tensor) -> None:
        """Add windows of an open row, shape (n, channels, z, y, x).

        When memory runs out here, nothing was added: only what precedes takes some.
        """
        moved = logits.to(self.logits.device)
        _, py, px = self._patch
        for (y, x), window in zip(corners, moved, strict=True):
            place = self._open[row.z].sums[:, :, y : y + py, x : x + px]
            place.addcmul_(self._plain(window), self._weights)

    def _plain(self, window: torch.Tensor) -> torch.Tensor:
        """Return a window in float32, channels first.

        In memory that is kept: to ask for new one each time takes longer than to copy.
        """
        if window.dtype == torch.float32 and window.is_contiguous():
            return window
        if self._scratch is None:
            self._scratch = torch.empty(window.shape, device=window.device)
        return self._scratch.copy_(window)

    def finish(self, row: Row) -> list[tuple[int, int]]:
        """Close a row and return the planes ``start, stop`` that are final now."""
        self._open[row.z].is_closed = True
        finished = []
        planes = range(row.z, min(row.z + self._patch[0], self._shape[0]))
        for covering, group in groupby(planes, self._covering):
            members = list(group)
            if all(z in self._open and self._open[z].is_closed for z in covering):
                start, stop = members[0], members[-1] + 1
                self._write(covering, start, stop)
                finished.append((start, stop))
        for z in [z for z, row in self._open.items() if self._is_done(z, row)]:
            del self._open[z]
        return finished

    def _covering(self, plane: int) -> tuple[int, ...]:
        deep = self._patch[0]
        return tuple(z for z in sorted(self._rows) if z <= plane < z + deep)

    def _is_done(self, z: int, row: _OpenRow) -> bool:
        stop = min(z + self._patch[0], self._shape[0])
        return row.is_closed and all(self._is_finished[z:stop])

    def _write(self, covering: tuple[int, ...], start: int, stop: int) -> None:
        parts = [(self._open[z], slice(start - z, stop - z)) for z in covering]
        first, planes = parts[0]
        sums, weights = first.sums[:, planes], first.weights[planes]
        for row, planes in parts[1:]:
            sums = sums + row.sums[:, planes]
            weights = weights + row.weights[planes]
        is_seen = weights > 0
        target = self.logits[:, start:stop]
        if self._is_direct and bool(is_seen.all()):
            self._groups.take_weight_back(torch.div(sums, weights, out=target))
        else:
            means = self._groups.reduce(sums / weights.clamp_min(1e-30))
            target.copy_(torch.where(is_seen, means.to(target.dtype), target))
        self._is_finished[start:stop] = [True] * (stop - start)

    def _weights_of(self, row: Row) -> torch.Tensor:
        if row.corners not in self._row_weights:
            _, py, px = self._patch
            size = (self._patch[0], *self._shape[1:])
            total = torch.zeros(size, device=self.logits.device)
            for y, x in row.corners:
                total[:, y : y + py, x : x + px] += self._weights
            self._row_weights = {row.corners: total}
        return self._row_weights[row.corners]


def _room(size: Sequence[int], dtype: torch.dtype, place: str) -> torch.Tensor:
    """Return a tensor at a place, with nothing in it yet."""
    if place != DISK:
        return torch.empty(tuple(size), dtype=dtype, device=place)
    kind = np.dtype(str(dtype).removeprefix("torch."))
    try:
        # Not the folder of temporary files, which may itself lie in memory.
        folder = data_folder()
        folder.mkdir(parents=True, exist_ok=True)
        # A mapped file that outgrows its disk would end the process.
        if shutil.disk_usage(folder).free < 2 * math.prod(size) * dtype.itemsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with tempfile.TemporaryFile(dir=folder) as file:  # gone with what maps it
            return torch.from_numpy(np.memmap(file, kind, "w+", shape=tuple(size)))
    except OSError as error:
        msg = f"the disk has no room for what does not fit into memory: {error}"
        raise MemoryError(msg) from error

"""Masks as runs along x: connected parts at the price of their outline.

A liver box of ten million voxels has some ten thousand runs, so that joining
runs costs a fraction of labelling voxels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

if TYPE_CHECKING:
    from napari_liverseg.core.box import Box

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Runs:
    """Uninterrupted stretches of a mask along x.

    Positions count voxels of a grid whose rows have one voxel more than the
    mask's, always empty, so that no run passes from one row to the next.

    Parameters
    ----------
    starts, stops : ndarray of int64
        First position of each run and the one after its last, rising.
    shape : tuple of int
        Voxels ``(z, y, x)`` of the mask.
    """

    starts: Ints
    stops: Ints
    shape: tuple[int, int, int]

    @property
    def lengths(self) -> Ints:
        """Voxels of each run."""
        return self.stops - self.starts

    @property
    def rows(self) -> Ints:
        """Row of each run, counted through all slices."""
        return self.starts // (self.shape[2] + 1)

    def select(self, chosen: NDArray[Any]) -> Runs:
        """Return some of the runs, by index or mask."""
        return Runs(self.starts[chosen], self.stops[chosen], self.shape)

    def box(self, margin: int = 0) -> Box | None:
        """Return the smallest box that holds all runs, None without any."""
        if self.starts.size == 0:
            return None
        planes, rows, columns = self.shape
        row, first = np.divmod(self.starts, columns + 1)
        plane, line = np.divmod(row, rows)
        ends = (
            (plane, plane + 1, planes),
            (line, line + 1, rows),
            (first, first + self.lengths, columns),
        )
        z, y, x = (
            slice(max(int(a.min()) - margin, 0), min(int(b.max()) + margin, n))
            for a, b, n in ends
        )
        return z, y, x

    def voxels(self) -> Ints:
        """Return every position that the runs cover."""
        lengths = self.lengths
        ends = np.cumsum(lengths)
        if ends.size == 0:
            return ends
        offsets = np.repeat(self.starts - (ends - lengths), lengths)
        return offsets + np.arange(ends[-1])


def padded(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask as bool with one empty column behind the last."""
    z, y, x = mask.shape
    room = np.zeros((z, y, x + 1), np.bool_)
    np.not_equal(mask, 0, out=room[:, :, :x])
    return room


def find_runs(room: NDArray[np.bool_]) -> Runs:
    """Return the runs of a padded mask.

    Parameters
    ----------
    room : ndarray of bool, shape (z, y, x + 1), C order
        See `padded`.
    """
    z, y, wide = room.shape
    flat = room.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    if flat.size and flat[0]:
        changes = np.concatenate(([0], changes))
    return Runs(changes[0::2], changes[1::2], (z, y, wide - 1))


def largest_part_box(mask: NDArray[Any]) -> Box | None:
    """Return the box of the largest 6-connected part of a mask, None without any."""
    room = padded(mask)
    runs = find_runs(room)
    if runs.starts.size == 0:
        return None
    _, of_run = join(runs, across_slices=True)
    largest = np.bincount(of_run, weights=runs.lengths).argmax()
    return runs.select(of_run == largest).box()


def gaps(runs: Runs) -> Runs:
    """Return the runs of everything that the given runs do not cover."""
    z, y, x = runs.shape
    first = np.arange(z * y) * (x + 1)
    starts = np.sort(np.concatenate((first, runs.stops)))
    stops = np.sort(np.concatenate((runs.starts, first + x)))
    real = stops > starts
    return Runs(starts[real], stops[real], runs.shape)


def join(runs: Runs, *, across_slices: bool) -> tuple[int, Ints]:
    """Return how many connected parts the runs form, and the part of each run.

    Parameters
    ----------
    runs : Runs
    across_slices : bool
        Whether voxels that share a face along z touch (6-connected parts), or
        each slice stands alone (4-connected parts).
    """
    wide, rows = runs.shape[2] + 1, runs.shape[1]
    in_slice = np.flatnonzero(runs.rows % rows != rows - 1)
    pairs = [_touching(runs, in_slice, wide)]
    if across_slices:
        pairs.append(_touching(runs, np.arange(runs.starts.size), wide * rows))
    one, other = (np.concatenate(side) for side in zip(*pairs, strict=True))
    count = runs.starts.size
    links = coo_array((np.ones(one.size, np.bool_), (one, other)), (count, count))
    parts, of_run = connected_components(links, directed=False)
    return int(parts), of_run.astype(np.int64)


def _touching(runs: Runs, chosen: Ints, shift: int) -> tuple[Ints, Ints]:
    """Return pairs of a chosen run and a run that it meets `shift` positions on."""
    first = np.searchsorted(runs.stops, runs.starts[chosen] + shift, side="right")
    last = np.searchsorted(runs.starts, runs.stops[chosen] + shift, side="left")
    met = np.maximum(last - first, 0)
    ends = np.cumsum(met)
    total = int(ends[-1]) if ends.size else 0
    others = np.repeat(first - (ends - met), met) + np.arange(total)
    return np.repeat(chosen, met), others

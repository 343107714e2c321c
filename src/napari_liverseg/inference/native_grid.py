"""The way back: from logits on the model's grid to masks on the CT's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from napari_liverseg.core.box import bounding_box
from napari_liverseg.core.probabilities import FULL
from napari_liverseg.core.progress import never_cancelled, stop_if
from napari_liverseg.inference.beliefs import (
    believe_plane,
    decide_plane,
    liver_or_tumour,
)
from napari_liverseg.inference.runs import find_runs, join, largest_part_box, padded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_liverseg.core.box import Box
    from napari_liverseg.core.progress import IsCancelled
    from napari_liverseg.inference.frame import Frame
    from napari_liverseg.inference.runs import Runs
    from napari_liverseg.models.contract import Output

LOWEST_THRESHOLD = 0.05
"""Probabilities are kept where some voxel near reaches this; a threshold set
lower sees the same voxels as one set here, at the box's rim."""

LEADING_AT = np.linspace(LOWEST_THRESHOLD, 0.95, 19)
"""Thresholds at which some part of the mask must be the largest to be kept."""

PLANES_AT_ONCE = 16
"""Slices of the model's grid that are widened to the CT's at a time."""

VOXELS_AT_ONCE = 100_000
"""Voxels of the model's grid whose probabilities are sorted at a time."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class NativeBelief:
    """Probabilities and decision inside a box of the CT, see `Probabilities`."""

    liver: NDArray[np.uint8]
    tumour: NDArray[np.uint8]
    decision: NDArray[np.uint8]
    box: Box

    @property
    def liver_box(self) -> Box | None:
        """Box of the CT around the largest part of liver or tumour, None if empty."""
        inside = largest_part_box(self.decision)
        if inside is None:
            return None
        z, y, x = (
            slice(part.start + at.start, part.stop + at.start)
            for part, at in zip(inside, self.box, strict=True)
        )
        return z, y, x


def to_native_grid(
    logits: torch.Tensor,
    output: Output,
    frame: Frame,
    *,
    largest_only: bool,
    is_cancelled: IsCancelled = never_cancelled,
) -> NativeBelief:
    """Bring logits to the CT's grid inside the box where they matter.

    Logits are interpolated linearly, compared, and only then turned into
    probabilities and rounded. Memory beyond the result is a few slabs.

    Parameters
    ----------
    logits : Tensor, shape (channels, z, y, x) along the volume's axes
        On ``frame.grid_box`` of the model's grid.
    output : Output
        What the channels mean.
    frame : Frame
        Where the model's grid lies on the CT's.
    largest_only : bool
        Whether masks will keep their largest part alone, so that parts which
        are the largest at no threshold need no room.
    is_cancelled : callable
        Asked once per slice.

    Raises
    ------
    CancelledError
        Once `is_cancelled` returns True.
    """
    believed = liver_or_tumour(logits, output)
    coarse = box_that_matters(believed, largest_only=largest_only)
    if coarse is None:
        nowhere = np.zeros((1, 1, 1), np.uint8)
        box = (slice(0, 1),) * 3
        return NativeBelief(nowhere, nowhere.copy(), nowhere.copy(), box)
    return _believe(logits, output, _axes(coarse, frame), is_cancelled)


def settle_planes(
    logits: torch.Tensor, output: Output, frame: Frame, start: int, stop: int
) -> NativeBelief | None:
    """Return what is believed of the CT's slices that some finished planes settle.

    Parameters
    ----------
    logits, output, frame
        As for `to_native_grid`; planes elsewhere may be unfinished.
    start, stop : int
        Finished planes of `logits`, along the volume's first axis.

    Returns
    -------
    NativeBelief or None
        None when there is nothing to show.
    """
    inside = liver_or_tumour(logits[:, start:stop], output) >= LOWEST_THRESHOLD
    found = bounding_box(inside, margin=1)
    if found is None:
        return None
    z, y, x = _axes((slice(start, stop), *found[1:]), frame)
    settled = z.within(start, stop)
    if settled is None:
        return None
    return _believe(logits, output, (settled, y, x), never_cancelled)


def box_that_matters(liver: Floats, *, largest_only: bool) -> Box | None:
    """Return the box of all voxels that some threshold can turn into a mask.

    Parameters
    ----------
    liver : ndarray, shape (z, y, x)
        Probability of liver or tumour.
    largest_only : bool
        Leave out parts that are the largest at no threshold.
    """
    possible = liver >= LOWEST_THRESHOLD
    if not largest_only:
        return bounding_box(possible, margin=1)
    runs = find_runs(padded(possible))
    if runs.starts.size == 0:
        return None
    parts, of_run = join(runs, across_slices=True)
    leaders = _leaders(liver, runs, of_run, parts)
    return runs.select(np.isin(of_run, leaders)).box(margin=1)


def _leaders(
    liver: Floats, runs: Runs, of_run: NDArray[np.int64], parts: int
) -> NDArray[np.int64]:
    """Return the parts that are the largest at some threshold."""
    flat, columns, levels = liver.reshape(-1), liver.shape[2], LEADING_AT.size + 1
    flat_counts = np.zeros(parts * levels, np.int64)
    blocks = np.cumsum(runs.lengths) // VOXELS_AT_ONCE
    for block in range(int(blocks[-1]) + 1):
        chosen = np.flatnonzero(blocks == block)
        some = runs.select(chosen)
        row, column = np.divmod(some.voxels(), columns + 1)
        believed = flat[row * columns + column]
        reached = np.searchsorted(LEADING_AT, believed, side="right")
        keys = np.repeat(of_run[chosen], some.lengths) * levels + reached
        flat_counts += np.bincount(keys, minlength=flat_counts.size)
    counts = flat_counts.reshape(parts, levels)
    sizes = counts[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
    is_reached = sizes.any(axis=0)
    return np.unique(sizes[:, is_reached].argmax(axis=0))


@dataclass(frozen=True, eq=False)
class _Axis:
    """Interpolation along one axis: the matrix and the coarse voxels it needs.

    Parameters
    ----------
    weights : Tensor, shape (native voxels, coarse voxels)
    coarse : slice
        Of the logits.
    native : slice
        Of the CT.
    """

    weights: torch.Tensor
    coarse: slice
    native: slice

    def within(self, start: int, stop: int) -> _Axis | None:
        """Return the part that needs no coarse voxel outside of a range."""
        outside = torch.ones(self.weights.shape[1], dtype=torch.bool)
        first = self.coarse.start
        outside[max(start - first, 0) : max(stop - first, 0)] = False
        settled = torch.nonzero(~self.weights[:, outside].any(dim=1))[:, 0]
        if settled.numel() == 0:
            return None
        low, high = int(settled[0]), int(settled[-1]) + 1
        native = slice(self.native.start + low, self.native.start + high)
        return _Axis(self.weights[low:high], self.coarse, native)


def _axes(coarse: Box, frame: Frame) -> tuple[_Axis, _Axis, _Axis]:
    """Return the interpolation from a box of the logits to the CT, per axis."""
    z, y, x = (
        _axis(part, kept, frame.operator(axis), native)
        for axis, (part, kept, native) in enumerate(
            zip(coarse, frame.grid_box, frame.native_box, strict=True)
        )
    )
    return z, y, x


def _axis(part: slice, kept: slice, operator: torch.Tensor, native: slice) -> _Axis:
    """Return the way from a range of logits to the native voxels inside of it.

    `part` counts from `kept`, the range of the grid that the logits cover; what
    lies outside of it takes the value of its edge.
    """
    n_native, n_grid = operator.shape
    ratio = n_native / n_grid
    start = int(np.floor((part.start + kept.start) * ratio))
    stop = int(np.ceil((part.stop + kept.start) * ratio))
    stop = min(max(stop, start + 1), n_native)
    weights = operator[start:stop]
    inside = weights[:, kept].clone()
    inside[:, 0] += weights[:, : kept.start].sum(dim=1)
    inside[:, -1] += weights[:, kept.stop :].sum(dim=1)
    used = torch.nonzero(inside.any(dim=0))[:, 0]
    first, last = int(used[0]), int(used[-1]) + 1
    where = slice(native.start + start, native.start + stop)
    return _Axis(inside[:, first:last], slice(first, last), where)


def _believe(
    logits: torch.Tensor,
    output: Output,
    axes: tuple[_Axis, _Axis, _Axis],
    is_cancelled: IsCancelled,
) -> NativeBelief:
    """Interpolate logits slice by slice, decide, and round probabilities."""
    size = tuple(axis.native.stop - axis.native.start for axis in axes)
    liver, tumour, decision = (np.empty(size, np.uint8) for _ in range(3))
    for index, planes in enumerate(_planes(logits, *axes)):
        stop_if(is_cancelled)
        decision[index] = decide_plane(planes, output)
        for rounded, p in zip(
            (liver, tumour), believe_plane(planes, output), strict=True
        ):
            rounded[index] = p * FULL + 0.5  # cut off after the 0.5, which rounds
    return NativeBelief(liver, tumour, decision, _box(axes))


def _box(axes: tuple[_Axis, _Axis, _Axis]) -> Box:
    z, y, x = (axis.native for axis in axes)
    return z, y, x


def _planes(
    logits: torch.Tensor, z: _Axis, y: _Axis, x: _Axis
) -> Iterator[list[Floats]]:
    """Yield the interpolated slices of a box, one of each channel at a time."""
    channels = (_slices(channel, z, y, x) for channel in logits)
    yield from (list(planes) for planes in zip(*channels, strict=True))


def _slices(channel: torch.Tensor, z: _Axis, y: _Axis, x: _Axis) -> Iterator[Floats]:
    """Yield the interpolated slices of one channel.

    Coarse slices are widened once, a few at a time, by matrices; between them
    plain passes over one slice, which fits the cache, cost less than waking
    threads for each.
    """
    coarse = channel[z.coarse, y.coarse, x.coarse]
    planes: dict[int, Floats] = {}
    for weights in z.weights.numpy():
        taps = [int(tap) for tap in np.flatnonzero(weights)]
        for tap in taps:
            if tap not in planes:
                ahead = coarse[tap : tap + PLANES_AT_ONCE].float().cpu()
                wide = y.weights @ (ahead @ x.weights.T)
                planes.update(enumerate(wide.numpy(), tap))
        planes = {i: plane for i, plane in planes.items() if i >= taps[0]}
        scaled = planes[taps[0]] * weights[taps[0]]
        for tap in taps[1:]:
            scaled += planes[tap] * weights[tap]
        yield scaled

"""The way back: from probabilities on the model's grid to masks on the CT's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_liverseg.core.box import bounding_box
from napari_liverseg.core.probabilities import FULL
from napari_liverseg.core.progress import never_cancelled, stop_if
from napari_liverseg.inference.preprocessing import axis_operator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_liverseg.core.box import Box
    from napari_liverseg.core.progress import IsCancelled

LOWEST_THRESHOLD = 0.05
"""Probabilities are kept where some voxel near reaches this; a threshold set
lower sees the same voxels as one set here, at the box's rim."""

PLANES_AT_ONCE = 16
"""Slices of the model's grid that are widened to the CT's at a time."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class NativeBelief:
    """Probabilities and decision inside a box of the CT, see `Probabilities`."""

    liver: NDArray[np.uint8]
    tumour: NDArray[np.uint8]
    decision: NDArray[np.uint8]
    box: Box


def to_native_grid(
    liver: torch.Tensor,
    tumour: torch.Tensor,
    shape: tuple[int, int, int],
    *,
    largest_only: bool,
    is_cancelled: IsCancelled = never_cancelled,
) -> NativeBelief:
    """Bring probabilities to the CT's grid inside the box where they matter.

    Probabilities are interpolated linearly and compared as floats; only then
    are they rounded. Memory beyond the result is a few slabs.

    Parameters
    ----------
    liver, tumour : Tensor, float32, shape (z, y, x) of the model's grid
        Probability of liver *or tumour*, and of tumour.
    shape : tuple of int
        Voxels ``(z, y, x)`` of the CT; both grids cover the same extent.
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
    coarse = box_that_matters(liver.numpy(), largest_only=largest_only)
    if coarse is None:
        nowhere = np.zeros((1, 1, 1), np.uint8)
        box = (slice(0, 1),) * 3
        return NativeBelief(nowhere, nowhere.copy(), nowhere.copy(), box)
    ranges = tuple(
        _native_range(part, n, m)
        for part, n, m in zip(coarse, liver.shape, shape, strict=True)
    )
    z, y, x = (_Axis.of(r, n) for r, n in zip(ranges, liver.shape, strict=True))
    size = tuple(r.stop - r.start for r in ranges)
    liver_u8, tumour_u8, decision = (np.empty(size, np.uint8) for _ in range(3))
    slices = zip(_slices(liver, z, y, x), _slices(tumour, z, y, x), strict=True)
    for index, (p_liver, p_tumour) in enumerate(slices):
        stop_if(is_cancelled)
        decision[index] = _decide(p_liver, p_tumour)
        for rounded, p in ((liver_u8, p_liver), (tumour_u8, p_tumour)):
            p += 0.5
            rounded[index] = p  # cut off after the 0.5, which rounds
    return NativeBelief(liver_u8, tumour_u8, decision, _as_box(ranges))


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
    parts, count = ndimage.label(possible)
    if count == 0:
        return None
    leaders = {
        int(np.bincount(parts[liver >= t], minlength=count + 1)[1:].argmax()) + 1
        for t in np.linspace(LOWEST_THRESHOLD, 0.95, 19)
        if float(liver.max()) >= t
    }
    return bounding_box(np.isin(parts, list(leaders)), margin=1)


@dataclass(frozen=True, eq=False)
class _Axis:
    """Interpolation along one axis: the matrix and the coarse voxels it needs."""

    weights: torch.Tensor
    coarse: slice

    @classmethod
    def of(cls, native: _Range, n_coarse: int) -> _Axis:
        weights = axis_operator(n_coarse, native.size)[native.start : native.stop]
        used = torch.nonzero(weights.any(dim=0))[:, 0]
        first, last = int(used[0]), int(used[-1]) + 1
        return cls(weights[:, first:last], slice(first, last))


@dataclass(frozen=True)
class _Range:
    start: int
    stop: int
    size: int


def _native_range(part: slice, n_coarse: int, n_native: int) -> _Range:
    """Return the native voxels that lie inside a range of coarse ones."""
    ratio = n_native / n_coarse
    start, stop = int(np.floor(part.start * ratio)), int(np.ceil(part.stop * ratio))
    return _Range(start, min(max(stop, start + 1), n_native), n_native)


def _as_box(ranges: tuple[_Range, ...]) -> Box:
    z, y, x = (slice(r.start, r.stop) for r in ranges)
    return z, y, x


def _slices(p: torch.Tensor, z: _Axis, y: _Axis, x: _Axis) -> Iterator[Floats]:
    """Yield the interpolated slices of a box, one at a time, times `FULL`.

    Coarse slices are widened once, a few at a time, by matrices; between them
    plain passes over one slice, which fits the cache, cost less than waking
    threads for each.
    """
    coarse = p[z.coarse, y.coarse, x.coarse]
    planes: dict[int, Floats] = {}
    for weights in (z.weights * FULL).numpy():
        taps = [int(tap) for tap in np.flatnonzero(weights)]
        for tap in taps:
            if tap not in planes:
                ahead = coarse[tap : tap + PLANES_AT_ONCE]
                wide = y.weights @ (ahead @ x.weights.T)
                planes.update(enumerate(wide.numpy(), tap))
        planes = {i: plane for i, plane in planes.items() if i >= taps[0]}
        scaled = planes[taps[0]] * weights[taps[0]]
        for tap in taps[1:]:
            scaled += planes[tap] * weights[tap]
        yield np.clip(scaled, 0, FULL, out=scaled)


def _decide(liver: Floats, tumour: Floats) -> NDArray[np.uint8]:
    """Return the most probable label; comparisons are many times cheaper than argmax.

    With ``a`` for liver or tumour and ``t`` for tumour, both of `FULL`, the three
    labels have ``FULL - a``, ``a - t`` and ``t``.
    """
    inside = liver + tumour > FULL
    inside |= liver - tumour > FULL - liver
    is_tumour = tumour > liver - tumour
    is_tumour &= inside
    labels: NDArray[np.uint8] = inside.view(np.uint8)
    labels += is_tumour.view(np.uint8)
    return labels

"""Which part of a CT a network has to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_liverseg.inference.body import largest_body
from napari_liverseg.inference.preprocessing import to_model_grid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_liverseg.core.box import Box
    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.core.progress import IsCancelled
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.inference.frame import Frame
    from napari_liverseg.models.contract import Shape

Mask = NDArray[np.bool_]

BODY_SPACING_MM = (6.0, 6.0, 6.0)
"""The body is found on a grid that costs next to nothing."""

LIVER_MARGIN_MM = 20.0
"""How far a fine model looks beyond the liver that a coarse one found: more than
a coarse model misses at an outline, on each side."""

LEAST_LIVER_ML = 300.0
"""A coarse pass that finds less has not found a liver: half of a small child's."""


def body_mask(volume: CTVolume, is_cancelled: IsCancelled) -> Mask:
    """Return the patient with a rim of air, on a coarse grid over the whole CT."""
    spacing = volume.geometry.spacing_mm
    # Two voxels along each side of a coarse one tell air from body: most of a large
    # CT need not be averaged.
    z, y, x = (
        min(max(int(coarse / (2 * mm)), 1), n)
        for coarse, mm, n in zip(BODY_SPACING_MM, spacing, volume.hu.shape, strict=True)
    )
    thinned = volume.hu[z // 2 :: z, y // 2 :: y, x // 2 :: x]
    apart = spacing[0] * z, spacing[1] * y, spacing[2] * x
    hu = to_model_grid(thinned, apart, BODY_SPACING_MM, is_cancelled).numpy()
    return np.asarray(ndimage.binary_dilation(largest_body(hu)))


def widen(box: Box, spacing_mm: Triple, shape: tuple[int, int, int]) -> Box:
    """Return a box of a CT with `LIVER_MARGIN_MM` on every side, cut at its edges."""
    z, y, x = (
        slice(
            max(side.start - round(LIVER_MARGIN_MM / s), 0),
            min(side.stop + round(LIVER_MARGIN_MM / s), n),
        )
        for side, s, n in zip(box, spacing_mm, shape, strict=True)
    )
    return z, y, x


def is_cut(inside: Box, box: Box, shape: tuple[int, int, int]) -> bool:
    """Whether something reaches a face of the box that is none of the CT's."""
    return any(
        (mask.start <= side.start and side.start > 0)
        or (mask.stop >= side.stop and side.stop < n)
        for mask, side, n in zip(inside, box, shape, strict=True)
    )


def at_least(box: Box, size: Shape, shape: Sequence[int]) -> Box:
    """Return a box that is no smaller than a window, as far as an image reaches.

    What is there is better context than padding.
    """
    sides = []
    for side, wanted, n in zip(box, size, shape, strict=True):
        missing = max(min(wanted, n) - (side.stop - side.start), 0)
        start = min(max(side.start - missing // 2, 0), max(n - wanted, 0))
        start = min(start, side.start)
        sides.append(slice(start, max(side.stop, start + min(wanted, n))))
    z, y, x = sides
    return z, y, x


def box_on_image(box: Box, frame: Frame) -> Box | None:
    """Return where a box of the CT lies in the network's image, None if nowhere."""
    sides = []
    for axis, side in enumerate(box):
        native = _native_positions(frame, axis)
        reach = 0.5 * _ratio(frame, axis) + 0.5
        inside = (native >= side.start - reach) & (native < side.stop + reach)
        touched = np.flatnonzero(inside)
        if touched.size == 0:
            return None
        sides.append(slice(int(touched[0]), int(touched[-1]) + 1))
    z, y, x = sides
    shape = frame.turn.along_volume(frame.image_shape)
    return frame.turn.box_to_network((z, y, x), shape)


def mask_on_image(mask: Mask, frame: Frame, shape: tuple[int, int, int]) -> Mask:
    """Return a coarse mask over a whole CT of `shape` on the network's image."""
    z, y, x = (
        np.clip(_native_positions(frame, axis) / n * m, 0, m - 1).astype(int)
        for axis, (n, m) in enumerate(zip(shape, mask.shape, strict=True))
    )
    # The axis whose voxels are neighbours first: 25 times as fast as all at once.
    spread = mask.take(x, axis=2).take(y, axis=1).take(z, axis=0)
    return np.ascontiguousarray(frame.turn.to_network(spread))


def _native_positions(frame: Frame, axis: int) -> NDArray[np.float64]:
    """Return where the image's voxels lie along an axis, in voxels of the CT."""
    kept = frame.grid_box[axis]
    index = np.arange(kept.start, kept.stop) + 0.5
    return np.asarray(frame.native_box[axis].start + index * _ratio(frame, axis))


def _ratio(frame: Frame, axis: int) -> float:
    native = frame.native_box[axis]
    return float((native.stop - native.start) / frame.grid_shape[axis])

"""Slices of the CT that are told as soon as they are final."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.inference.joining import FirstStage, join_slices
from napari_liverseg.inference.native_grid import settle_planes

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from napari_liverseg.inference.groups import Groups
    from napari_liverseg.inference.options import OnPartial
    from napari_liverseg.inference.prepare import Prepared
    from napari_liverseg.inference.windows import OnPlanes


def publisher(
    on_partial: OnPartial | None,
    prepared: Prepared,
    groups: Groups,
    both: FirstStage | None,
) -> OnPlanes | None:
    """Return what tells of finished planes, in labels on the CT's grid.

    Parameters
    ----------
    on_partial : callable or None
        See `Listener`.
    prepared : Prepared
        What the network sees.
    groups : Groups
    both : FirstStage or None
        What a first stage believes, to be joined.

    Returns
    -------
    callable or None
        As `Sweep.go` takes it; None where nobody listens, or planes are no slices.
    """
    frame = prepared.frame
    if on_partial is None or frame.axes[0] != 0:
        return None
    count = prepared.image.shape[0]
    is_final = np.zeros(count, np.bool_)
    native = frame.native_box[0]
    # A slice is made of the planes that it covers and one on each side.
    reach = int(np.ceil(frame.grid_shape[0] / (native.stop - native.start))) + 1

    def publish(logits: torch.Tensor, start: int, stop: int) -> None:
        is_final[start:stop] = True
        # Some more planes on each side, so that slices between slabs are settled.
        first = start - _leading(is_final[max(start - reach, 0) : start][::-1])
        last = stop + _leading(is_final[stop : stop + reach])
        if frame.flips[0]:
            first, last = count - last, count - first
        turned = frame.to_volume_axes(logits)
        settled = settle_planes(turned, groups.kept, frame, first, last)
        if settled is not None and both is not None:
            settled = join_slices(both.finder, settled, both.liver)
        if settled is not None:
            on_partial(settled.decision, settled.box)

    return publish


def _leading(flags: NDArray[np.bool_]) -> int:
    """Return how many flags are set before the first that is not."""
    return int(np.logical_and.accumulate(flags).sum())

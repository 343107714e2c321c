"""What two models believe of a CT, made into one belief."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.probabilities import FULL
from napari_liverseg.core.segmentation import BACKGROUND, TUMOUR
from napari_liverseg.inference.native_grid import NativeBelief
from napari_liverseg.models.two_stage import HINT, LIVER_COUNTS, TUMOUR_COUNTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.models.two_stage import LiverFrom

HALF = FULL // 2 + 1
"""The lowest uint8 probability above one half; a tie is background."""


@dataclass(frozen=True, eq=False)
class FirstStage:
    """What a first stage believes, and how a second one's belief is joined to it."""

    finder: NativeBelief
    liver: LiverFrom


def join(finder: NativeBelief, detail: NativeBelief, liver: LiverFrom) -> NativeBelief:
    """Return one belief, in the box of both.

    Parameters
    ----------
    finder : NativeBelief
        Of the whole body; outside its box there is no liver.
    detail : NativeBelief
        Of the liver's surroundings.
    liver : {'both', 'finder'}
        ``both``: both are means, in which the second counts `LIVER_COUNTS` and
        `TUMOUR_COUNTS` times. Where the finder has no `HINT` of liver the mean is
        one of equals at most, and so is tumour anywhere: what it sees no liver in
        is none.
        ``finder``: the liver is the finder's, with the tumours that the second
        decides.
    """
    box = _around(finder.box, detail.box)
    return _join(finder, detail, liver, box)


def join_slices(
    finder: NativeBelief, detail: NativeBelief, liver: LiverFrom
) -> NativeBelief:
    """Return the same on the slices of the second belief alone."""
    _, y, x = _around(finder.box, detail.box)
    return _join(finder, detail, liver, (detail.box[0], y, x))


def _join(
    finder: NativeBelief, detail: NativeBelief, liver: LiverFrom, box: Box
) -> NativeBelief:
    first, second = _in(finder, box), _in(detail, box)
    if liver == "both":
        closer = _mean(first.liver, second.liver, LIVER_COUNTS)
        most = np.minimum(_mean(first.liver, second.liver, 1), closer)
        mean = np.where(first.liver >= round(HINT * FULL), closer, most)
        tumour = np.minimum(_mean(first.tumour, second.tumour, TUMOUR_COUNTS), most)
        inside, is_tumour = mean >= HALF, tumour >= HALF
    else:
        mean, tumour = np.maximum(first.liver, second.tumour), second.tumour
        is_tumour = second.decision == TUMOUR
        inside = (first.decision != BACKGROUND) | is_tumour
    decision = inside.view(np.uint8) + is_tumour.view(np.uint8)
    return NativeBelief(mean, tumour, decision, box)


def _mean(
    first: NDArray[np.uint8], second: NDArray[np.uint8], counts: int
) -> NDArray[np.uint8]:
    """Return the mean of two probabilities of which the second counts so often."""
    total = first.astype(np.uint16) + counts * second.astype(np.uint16)
    return np.asarray(total // (1 + counts), np.uint8)


def _in(belief: NativeBelief, box: Box) -> NativeBelief:
    liver, tumour, decision = (
        _in_box(part, belief.box, box)
        for part in (belief.liver, belief.tumour, belief.decision)
    )
    return NativeBelief(liver, tumour, decision, box)


def _in_box(part: NDArray[np.uint8], at: Box, box: Box) -> NDArray[np.uint8]:
    """Return an array that lies at one box of the CT in another, 0 where it is not."""
    placed = np.zeros([side.stop - side.start for side in box], np.uint8)
    here, there = [], []
    for old, new in zip(at, box, strict=True):
        start, stop = max(old.start, new.start), min(old.stop, new.stop)
        if stop <= start:
            return placed
        here.append(slice(start - new.start, stop - new.start))
        there.append(slice(start - old.start, stop - old.start))
    placed[tuple(here)] = part[tuple(there)]
    return placed


def _around(one: Box, other: Box) -> Box:
    z, y, x = (
        slice(min(a.start, b.start), max(a.stop, b.stop))
        for a, b in zip(one, other, strict=True)
    )
    return z, y, x

"""Whether slices follow each other at even distances, and what it means if not."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.io.stack import Stack

EVEN_PART = 0.05
"""Slices may stand off an even grid by this part of their distance."""

ROUNDING_MM = 0.06
"""Positions that were rounded to a tenth of a millimetre may stand off by this."""

CHANGE_RUN = 3
"""This many equal wide gaps in a row are a change of spacing, not missing slices."""

TOLD = 3
"""At most this many gaps are named in a message."""


def spacing_problems(slices: Stack) -> list[Problem]:
    """Return missing slices, several scans or uneven spacing in a stack.

    Parameters
    ----------
    slices : Stack
        One slice at each position.
    """
    depths, gaps = slices.depths_mm, slices.gaps_mm
    if is_even(depths):
        return []
    numbers = [header.acquisition for header in slices.headers]
    changes = [i for i, pair in enumerate(pairwise(numbers)) if pair[0] != pair[1]]
    if len(changes) >= len(set(numbers)):
        return [_interleaved(slices, changes[0])]
    usual = usual_gap(gaps)
    steps = np.rint(gaps / usual).astype(int)
    off = np.abs(gaps - steps * usual)
    whole = (steps >= 1).all() and bool((off <= _tolerance(usual)).all())
    if whole and (steps > 1).any() and _longest_run(steps) < CHANGE_RUN:
        return [_missing(slices, steps, usual)]
    return [_uneven(slices, usual)]


def _tolerance(spacing_mm: float) -> float:
    return max(EVEN_PART * spacing_mm, ROUNDING_MM)


def is_even(depths: NDArray[np.float64]) -> bool:
    """Whether all slices lie on an even grid from the first to the last.

    Parameters
    ----------
    depths : ndarray, shape (n,)
        Positions along the normal in mm, rising, at least two.
    """
    even = np.linspace(depths[0], depths[-1], len(depths))
    spacing = float(even[1] - even[0])
    return bool(np.abs(depths - even).max() <= _tolerance(spacing))


def usual_gap(gaps: NDArray[np.float64]) -> float:
    """Return the distance that most neighbouring slices have, the smallest on ties.

    Parameters
    ----------
    gaps : ndarray, shape (n - 1,)
        Distances between neighbouring slices in mm, at least one.
    """
    ordered = np.sort(gaps)
    support = [(np.abs(gaps - gap) <= _tolerance(float(gap))).sum() for gap in ordered]
    chosen = ordered[int(np.argmax(support))]
    return float(np.median(gaps[np.abs(gaps - chosen) <= _tolerance(float(chosen))]))


def _longest_run(steps: NDArray[np.int_]) -> int:
    longest = run = 0
    for previous, step in zip([0, *steps], steps, strict=False):
        run = (run + 1 if step == previous else 1) if step > 1 else 0
        longest = max(longest, run)
    return longest


def _missing(slices: Stack, steps: NDArray[np.int_], usual: float) -> Problem:
    holes = np.flatnonzero(steps > 1)
    told = ", ".join(
        f"{steps[i] - 1} between '{slices.headers[i].path.name}' "
        f"({slices.depths_mm[i]:.1f} mm) and '{slices.headers[i + 1].path.name}' "
        f"({slices.depths_mm[i + 1]:.1f} mm)"
        for i in holes[:TOLD]
    )
    more = f" and at {len(holes) - TOLD} more places" if len(holes) > TOLD else ""
    message = (
        f"Slices are missing: {told}{more}, where slices lie {usual:.4g} mm apart. "
        "Export the whole series again from the scanner or the archive."
    )
    return Problem("missing-slices", "error", message)


def _interleaved(slices: Stack, change: int) -> Problem:
    """Return that scans lie between each other: interpolation would mix phases."""
    one, two = slices.headers[change], slices.headers[change + 1]
    message = (
        f"Slices of several scans lie between each other: '{one.path.name}' of "
        f"acquisition {one.acquisition} beside '{two.path.name}' of acquisition "
        f"{two.acquisition}, as where a series holds two phases. Export each scan as "
        "a series of its own."
    )
    return Problem("not-a-volume", "error", message)


def _uneven(slices: Stack, usual: float) -> Problem:
    gaps = slices.gaps_mm
    worst = int(np.abs(gaps - usual).argmax())
    message = (
        f"Slices lie unevenly: mostly {usual:.4g} mm apart, but {gaps[worst]:.4g} mm "
        f"between '{slices.headers[worst].path.name}' and "
        f"'{slices.headers[worst + 1].path.name}' "
        f"({gaps.min():.4g} to {gaps.max():.4g} mm in all). Export the series again, "
        "or decide 'resample' to interpolate it linearly onto an even grid."
    )
    return Problem("uneven-spacing", "error", message, "resample")

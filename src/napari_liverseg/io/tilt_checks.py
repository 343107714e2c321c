"""Whether slices sit straight above each other, or lean as behind a tilted gantry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.problem import Problem

if TYPE_CHECKING:
    from napari_liverseg.io.stack import Stack

DRIFT_PIXELS = 0.5
"""A slice further aside of the straight stack than this many pixels leans."""

LEAN_DEGREES = 0.5
"""A stack that leans by more than this is tilted, however short it is."""

ROUNDING_MM = 0.1
"""Sideways steps up to this may come from rounded positions."""


def tilt_problems(slices: Stack) -> list[Problem]:
    """Return the gantry tilt, or sideways jumps, of a stack of unique positions."""
    drifts = np.linalg.norm(slices.drifts_mm, axis=1)
    pixel_mm = min(slices.geometry().spacing_mm[1:])
    degrees = lean_degrees(slices)
    leans = drifts.max() > ROUNDING_MM and abs(degrees) > LEAN_DEGREES
    if drifts.max() <= DRIFT_PIXELS * pixel_mm and not leans:
        return []
    worst, off = _furthest_off_line(slices)
    if off > max(DRIFT_PIXELS * pixel_mm, ROUNDING_MM):
        message = (
            f"'{slices.headers[worst].path.name}' lies {off:.1f} mm aside of its "
            "neighbours, so the slices make no straight volume. Export the parts as "
            "series of their own."
        )
        return [Problem("not-a-volume", "error", message)]
    message = (
        f"The gantry was tilted: slices lean by {degrees:.1f} degrees, "
        f"{drifts.max():.1f} mm over the stack (from '{slices.headers[0].path.name}' "
        f"to '{slices.headers[-1].path.name}'). Decide 'resample' to shift them onto a "
        "straight grid by linear interpolation."
    )
    return [Problem("gantry-tilt", "error", message, "resample")]


def lean_degrees(slices: Stack) -> float:
    """Return the angle between the stack and the normal of its slices."""
    aside = float(np.linalg.norm(slices.drifts_mm[-1]))
    reach = float(slices.depths_mm[-1] - slices.depths_mm[0])
    return float(np.degrees(np.arctan2(aside, reach)))


def _furthest_off_line(slices: Stack) -> tuple[int, float]:
    """Return the slice furthest aside of the line from first to last, and how far."""
    depths = slices.depths_mm - slices.depths_mm[0]
    line = np.outer(depths / depths[-1], slices.drifts_mm[-1])
    off = np.linalg.norm(slices.drifts_mm - line, axis=1)
    return int(off.argmax()), float(off.max())

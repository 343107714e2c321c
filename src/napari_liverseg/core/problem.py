"""What an intake check found in a series, by code, so that every face can show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
Decision = Literal["resample", "keep-first"]

Code = Literal[
    "missing-slices",
    "duplicate-positions",
    "uneven-spacing",
    "gantry-tilt",
    "mixed-orientation",
    "mixed-shape",
    "not-a-volume",
    "single-slice",
    "localizer",
    "not-ct",
    "oblique",
    "thickness-differs",
    "unreadable-file",
    "not-hounsfield",
    "unclear-orientation",
]


@dataclass(frozen=True)
class Problem:
    """One finding about a series.

    Parameters
    ----------
    code : str
        Stable name, see `Code`.
    severity : {'error', 'warning', 'note'}
        An error refuses to load, unless `decision` names a way that the user
        may choose; a warning loads and stays on screen; a note is a fact.
    message : str
        Plain words: what was found, in which file, what to do.
    decision : {'resample', 'keep-first'} or None
        The explicit decision that loads the series in spite of the error.
    """

    code: Code
    severity: Severity
    message: str
    decision: Decision | None = None

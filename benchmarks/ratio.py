"""How two ways of doing one thing are compared: side by side, gated by correctness."""

from __future__ import annotations

import statistics
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from napari_liverseg.inference.devices import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

REPEATS = 5
LONG_REPEATS = 3
"""Work of more than ten seconds a side is repeated less often, as the table says."""


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    id, work, against, wanted : str
    ratio, low, high : float
        Median, smallest and largest ratio of the pairs.
    gate : str
        What was checked, with its figure.
    holds : bool
        Whether the gate holds; a ratio whose gate fails is void.
    repeats : int
    more : dict
        Further figures, by their name in the file of results.
    """

    id: str
    work: str
    against: str
    wanted: str
    ratio: float
    low: float
    high: float
    gate: str
    holds: bool
    repeats: int
    more: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        values = asdict(self)
        values.update(values.pop("more"))
        measured = {key: float(values[key]) for key in ("ratio", "low", "high")}
        return {**values, **measured, "holds": bool(self.holds)}

    def __str__(self) -> str:
        """Return the line."""
        ratio = f"{self.ratio:.2f}x ({self.low:.2f}-{self.high:.2f}, n={self.repeats})"
        verdict = "" if self.holds else "VOID: "
        return f"{self.id:4} {ratio:30} wanted {self.wanted:10} {verdict}{self.gate}"


@dataclass(frozen=True)
class Pairs:
    """Seconds of both sides, taken in turn.

    Parameters
    ----------
    ours, theirs : tuple of float
    """

    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    def faster(self) -> tuple[float, float, float]:
        """Return how many times faster we are: median, smallest, largest."""
        return _three([b / a for a, b in zip(self.ours, self.theirs, strict=True)])

    def share(self) -> tuple[float, float, float]:
        """Return our time as a share of theirs: median, smallest, largest."""
        return _three([a / b for a, b in zip(self.ours, self.theirs, strict=True)])


def interleave(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    repeats: int,
    device: str = "cpu",
) -> Pairs:
    """Run both sides in turn, each first in every other turn, and return seconds.

    On a GPU both run once before: the first call chooses kernels.
    """
    if device != "cpu":
        ours()
        theirs()
    times: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(repeats):
        for is_ours in (turn % 2 == 0, turn % 2 == 1):
            times[is_ours].append(seconds(ours if is_ours else theirs, device))
    return Pairs(tuple(times[True]), tuple(times[False]))


def seconds(work: Callable[[], object], device: str = "cpu") -> float:
    """Return the wall time of one call, a GPU's own work included."""
    wait_for(device)
    started = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - started


def _three(ratios: list[float]) -> tuple[float, float, float]:
    return statistics.median(ratios), min(ratios), max(ratios)

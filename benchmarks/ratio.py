"""How two ways of doing one thing are compared: side by side, gated by correctness."""

from __future__ import annotations

import ctypes
import gc
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

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
        line = f"{self.id:4} {ratio:30} wanted {self.wanted:10} {verdict}{self.gate}"
        peaks = self.more.get("peak_mb")
        if peaks is None:
            return line
        return f"{line}; at most {peaks['ours']} MB more, theirs {peaks['theirs']}"


@dataclass(frozen=True)
class Pairs:
    """Seconds of both sides, taken in turn.

    Parameters
    ----------
    ours, theirs : tuple of float
    our_peak, their_peak : int or None
        The most bytes that a call took beyond what was held before it; None where
        the system does not tell.
    """

    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    our_peak: int | None = None
    their_peak: int | None = None

    def peaks(self) -> dict[str, dict[str, int]]:
        """Return the peak memory of both sides in MB, as a row's further figures."""
        if self.our_peak is None or self.their_peak is None:
            return {}
        both = {"ours": self.our_peak, "theirs": self.their_peak}
        return {"peak_mb": {side: round(peak / 1e6) for side, peak in both.items()}}

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
    """Run both sides in turn, each first in every other turn; return time and memory.

    On a GPU both run once before: the first call chooses kernels.
    """
    if device != "cpu":
        ours()
        theirs()
    times: dict[bool, list[float]] = {True: [], False: []}
    peaks: dict[bool, list[int]] = {True: [], False: []}
    for turn in range(repeats):
        for is_ours in (turn % 2 == 0, turn % 2 == 1):
            held = _begin(device)
            times[is_ours].append(seconds(ours if is_ours else theirs, device))
            if held is not None:
                peaks[is_ours].append(_most(device) - held)
    ours_most, theirs_most = (max(peaks[side], default=None) for side in (True, False))
    return Pairs(tuple(times[True]), tuple(times[False]), ours_most, theirs_most)


def seconds(work: Callable[[], object], device: str = "cpu") -> float:
    """Return the wall time of one call, a GPU's own work included."""
    wait_for(device)
    started = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - started


def _begin(device: str) -> int | None:
    """Start to watch for a peak and return the bytes held now, None where none is told.

    Linux keeps the most that a process ever held, and forgets it when asked to.
    """
    gc.collect()
    if device != "cpu":
        if not torch.cuda.is_available():
            return None
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    if sys.platform != "linux":
        return None
    try:
        # What was freed and is kept for later would hide what the next call takes.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # another C library, or a container that does not let us
        return None
    return _status("VmRSS")


def _most(device: str) -> int:
    """Return the most bytes held since `_begin`."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated(device)
    return _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    line = next(line for line in lines if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _three(ratios: list[float]) -> tuple[float, float, float]:
    return statistics.median(ratios), min(ratios), max(ratios)

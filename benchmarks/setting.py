"""Where a benchmark runs and how large it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """Where a benchmark runs and how large it is.

    Parameters
    ----------
    device : str
        As torch names it.
    is_tiny : bool
        As small as can be, once each: proves that every line runs, and says
        nothing about speed.
    """

    device: str = "cpu"
    is_tiny: bool = False

    def pick(self, full: T, tiny: T) -> T:
        """Return the size that is meant."""
        return tiny if self.is_tiny else full

    def repeats(self, full: int) -> int:
        """Return how often each side runs."""
        return self.pick(full, 1)


ON_CPU = Setting()

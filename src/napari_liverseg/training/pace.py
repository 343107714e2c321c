"""How long a training has taken, and how long it will."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass
class Pace:
    """The clock of one fold, which stands still while it is interrupted.

    Parameters
    ----------
    steps : int
        Of the whole fold.
    minutes : float or None
        After which the fold is over by the clock.
    before_s : float
        Seconds that it took before it was interrupted.
    """

    steps: int
    minutes: float | None
    before_s: float = 0.0
    _started: float = field(default_factory=time.monotonic)
    _first_step: int | None = None

    def start(self) -> None:
        """Begin to count; what came before, such as the wait for others, is none."""
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """How long the fold has taken."""
        return self.before_s + self.seconds_now

    @property
    def seconds_now(self) -> float:
        """How long it has taken since it was last begun or gone on with."""
        return time.monotonic() - self._started

    @property
    def is_over(self) -> bool:
        """Whether the time is up; each call of the command has its own minutes."""
        return self.minutes is not None and self.seconds_now >= 60 * self.minutes

    def share(self, step: int) -> float:
        """Return how much is over, by steps or by the clock, whichever is further."""
        done = step / self.steps
        if self.minutes is None:
            return done
        return max(done, min(self.seconds_now / (60 * self.minutes), 1.0))

    def left_s(self, step: int) -> float | None:
        """Return the seconds left at most, None before a first step was timed."""
        if self._first_step is None:
            self._first_step = step
        taken = step - self._first_step
        if taken == 0:
            return None
        left = self.seconds_now / taken * (self.steps - step)
        if self.minutes is not None:
            left = min(left, 60 * self.minutes - self.seconds_now)
        return max(left, 0.0)


def say_duration(seconds: float) -> str:
    """Return a duration in the words of a progress bar."""
    if seconds < 90:
        return f"about {seconds:.0f} s"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} min"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"about {hours} h {minutes:02d} min"

"""How a training is told to stop: Ctrl-C once saves and ends, twice ends at once."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNALS: tuple[signal.Signals, ...] = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGBREAK")
    if hasattr(signal, name)
)
"""Ctrl-C, what clusters send before they end a job, and what the window sends on
Windows."""


@dataclass
class Stop:
    """Whether somebody asked to stop; another thread or a signal may ask."""

    _asked: threading.Event = field(default_factory=threading.Event)
    _listens: bool = False

    @property
    def is_asked(self) -> bool:
        """Whether the training shall save and end."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Ask for it."""
        self._asked.set()

    @contextmanager
    def by_signal(self) -> Iterator[None]:
        """Let signals ask for a stop instead of tearing a step apart.

        The second one raises `KeyboardInterrupt`. Outside of the main thread nothing
        is done, for signals cannot be taken there.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in SIGNALS}
        self._listens = True
        self.listen_again()
        try:
            yield
        finally:
            self._listens = False
            for number, handler in before.items():
                signal.signal(number, handler)

    def listen_again(self) -> None:
        """Take signals that somebody else has taken inside of `by_signal`."""
        if self._listens:
            for number in SIGNALS:
                signal.signal(number, self._handle)

    def _handle(self, _number: int, _frame: Any) -> None:
        if self.is_asked:
            raise KeyboardInterrupt
        self.ask()

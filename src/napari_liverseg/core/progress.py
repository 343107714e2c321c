"""How long work tells of itself and is told to stop, without knowing a screen."""

from __future__ import annotations

from collections.abc import Callable

from napari_liverseg.core.errors import CancelledError

IN_LINES = "NAPARI_LIVERSEG_PROGRESS_LINES"
"""Set to 1 for a command by a program that reads its progress from a pipe."""

OnProgress = Callable[[int, int, str], None]
"""Called with ``(done, total, text)``; `text` says what is being done.

A total of 0 says that nobody knows how long it takes.
"""

IsCancelled = Callable[[], bool]
"""Returns True once the user wants the work to stop."""


def ignore_progress(done: int, total: int, text: str) -> None:
    """Take a progress report and do nothing."""


def never_cancelled() -> bool:
    """Return False: the work runs to its end."""
    return False


def stop_if(is_cancelled: IsCancelled) -> None:
    """Raise `CancelledError` when the user asked to stop."""
    if is_cancelled():
        raise CancelledError


def never_back(on_progress: OnProgress) -> OnProgress:
    """Return a listener that is told at least as large a share as the last time."""
    told = (0, 1)

    def tell(done: int, total: int, text: str) -> None:
        nonlocal told
        if done * told[1] >= told[0] * total:
            told = done, total
        on_progress(*told, text)

    return tell

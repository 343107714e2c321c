"""A sitting's folder is one window's as long as its process lives, and no longer."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from pathlib import Path

LOCK_FILE = ".lock"

PATIENCE_S = 5.0
"""Another window only ever looks whether a folder is held, which takes no time."""


class Hold:
    """Keeps a folder from being offered to other windows.

    The lock is the system's own: it ends with the process, however that dies.
    A disk that knows no locks is written without, as there is no better way.

    Parameters
    ----------
    folder : Path
        It has to be there.

    Raises
    ------
    OSError
        The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        # Taken by the thread that writes, let go by the window's.
        self._lock = FileLock(folder / LOCK_FILE, thread_local=False)
        with suppress(NotImplementedError):
            self._lock.acquire(timeout=PATIENCE_S)

    def release(self) -> None:
        """Let others have the folder."""
        self._lock.release()


def is_held(folder: Path) -> bool:
    """Return whether a living window holds a folder, this process's among them.

    Parameters
    ----------
    folder : Path
    """
    path = folder / LOCK_FILE
    if not path.exists():
        return False
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except (NotImplementedError, OSError):
        return False  # offering once too often costs a question and no correction
    lock.release()
    return False

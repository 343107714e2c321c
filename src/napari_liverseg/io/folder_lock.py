"""A folder that one program writes at a time, be it on a share of several computers."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from napari_liverseg.core.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_FILE = ".lock"

PATIENCE_S = 60.0
"""How long another export is waited for: packing a CT takes some ten seconds."""


@contextmanager
def locked(
    folder: Path,
    name: str = LOCK_FILE,
    patience_s: float | None = None,
    busy: ExportError | None = None,
) -> Iterator[None]:
    """Keep others out of a folder meanwhile: exports, or what takes the same name.

    A share that knows no locks is written without, as there is no better way.

    Parameters
    ----------
    folder : Path
        It has to be there.
    name : str
        Of the file in it that is locked. It stays; the lock ends with the process.
    patience_s : float or None
        How long another one is waited for; None takes `PATIENCE_S`.
    busy : ExportError or None
        What to raise then.

    Raises
    ------
    ExportError
        When another one takes longer, or the folder cannot be written to.
    """
    wait_s = PATIENCE_S if patience_s is None else patience_s
    lock = FileLock(folder / name, timeout=wait_s)
    try:
        lock.acquire()
    except Timeout as error:
        raise busy or _busy(folder) from error
    except NotImplementedError:
        pass
    except OSError as error:
        found = f"The folder '{folder.name}' cannot be written to."
        raise ExportError(found, "Choose another folder.") from error
    try:
        yield
    finally:
        lock.release()


def _busy(folder: Path) -> ExportError:
    found = f"Somebody else is adding to '{folder.name}'."
    return ExportError(found, "Try again in a minute.")

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
def locked(folder: Path) -> Iterator[None]:
    """Keep other exports out of a folder meanwhile.

    A share that knows no locks is written without, as there is no better way.

    Parameters
    ----------
    folder : Path
        It has to be there.

    Raises
    ------
    ExportError
        When another export takes longer than `PATIENCE_S`, or the folder cannot be
        written to.
    """
    lock = FileLock(folder / LOCK_FILE, timeout=PATIENCE_S)
    try:
        lock.acquire()
    except Timeout as error:
        found = f"Somebody else is adding to '{folder.name}'."
        raise ExportError(found, "Try again in a minute.") from error
    except NotImplementedError:
        pass
    except OSError as error:
        found = f"The folder '{folder.name}' cannot be written to."
        raise ExportError(found, "Choose another folder.") from error
    try:
        yield
    finally:
        lock.release()

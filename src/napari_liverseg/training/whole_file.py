"""Small files of a run that are whole under their name, or not there at all."""

from __future__ import annotations

import errno
import os
import secrets
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def write_text(path: Path, text: str) -> None:
    """Write a text file in one step, see `write_whole`."""
    write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write beside a file's place, bring it to the disk, then give it its name.

    Parameters
    ----------
    path : Path
        What was there before stays until the new file is whole.
    write : callable
        Writes the path that it is given.

    Raises
    ------
    ExportError
        When the disk is full or cannot be written to.
    """
    part = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except (OSError, RuntimeError) as error:
        raise _refusal(path, error) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def disk_in_words(path: Path) -> Iterator[None]:
    """Say in a sentence that a library could not write a file.

    Parameters
    ----------
    path : Path
        What it writes.

    Raises
    ------
    ExportError
        When the disk is full or cannot be written to; other errors pass through.
    """
    tell = threading.excepthook

    def tell_others(given: threading.ExceptHookArgs) -> None:
        # TensorBoard writes in a thread, and raises the same error here again.
        if not _is_of_the_disk(given.exc_value):
            tell(given)

    threading.excepthook = tell_others
    try:
        yield
    except OSError as error:
        if not _is_of_the_disk(error):
            raise
        raise _refusal(path, error) from error
    finally:
        threading.excepthook = tell


def _is_of_the_disk(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in (*NO_ROOM, *NOT_WRITABLE)


def _refusal(path: Path, error: OSError | RuntimeError) -> ExportError:
    reason = getattr(error, "strerror", None) or "the disk may be full"
    found = f"'{path.name}' could not be written: {str(reason).lower()}."
    # Of torch's own errors nothing more is known.
    is_full = getattr(error, "errno", errno.ENOSPC) in NO_ROOM
    mend = "make room" if is_full else "see that you may write there"
    kept = f"What was saved before is in {path.parent}"
    step = f"{kept}: {mend}, then begin again, a training with --resume."
    return ExportError(found, step)

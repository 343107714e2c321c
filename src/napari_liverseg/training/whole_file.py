"""Small files of a run that are whole under their name, or not there at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


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
        reason = getattr(error, "strerror", None) or "the disk may be full"
        found = f"'{path.name}' could not be written: {str(reason).lower()}."
        kept = f"What was saved before is in {path.parent}"
        step = f"{kept}: make room, then begin again, a training with --resume."
        raise ExportError(found, step) from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)

"""Files from anyone: opened only where they should be, and not when absurd."""

from __future__ import annotations

import json
import zipfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from napari_liverseg.core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pydantic import ValidationError

GET_AGAIN = "Get the model folder again from its source."

MAX_WEIGHTS_BYTES = 4 * 1024**3
"""Of one file of weights; published networks of nnU-Net stay below a tenth of it."""

MALFORMED = (ValueError, TypeError, KeyError, IndexError, AttributeError)
"""What PyTorch's restricted unpickler raises of a pickle that is none."""


def inside(folder: Path, name: str) -> Path:
    """Return a file of a folder, be it reached through links inside of it.

    Parameters
    ----------
    folder : Path
        The model's.
    name : str
        Relative path of the file.

    Raises
    ------
    ModelError
        When there is no such file, or it lies outside of the folder.
    """
    root = folder.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        found = f"'{name}' of the model folder {folder} leads out of that folder."
        raise ModelError(found, "Copy the file itself to its place.")
    if not path.is_file():
        found = f"The model folder {folder} holds no file '{name}'."
        raise ModelError(found, GET_AGAIN)
    return path


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Say in words that something in a folder may not, or cannot, be read."""
    try:
        yield
    except OSError as error:
        found = f"{folder} cannot be read ({error.strerror})."
        step = "See that you may read all that is in it, or choose another folder."
        raise ModelError(found, step) from error


def refuse_absurd_weights(path: Path) -> None:
    """Refuse a file of weights, of whatever kind, that is longer than any network's.

    Parameters
    ----------
    path : Path
        A sparse one may claim any length and take no room.

    Raises
    ------
    ModelError
        Before a byte of it is read.
    OSError
        When the file is not there.
    """
    size = path.stat().st_size
    if size > MAX_WEIGHTS_BYTES:
        raise refused(path.name, f"it has {size} bytes, more than {MAX_WEIGHTS_BYTES}")


def plain_records(archive: Path | IO[bytes], length: int) -> list[zipfile.ZipInfo]:
    """Return the records of a checkpoint's zip, which is as `torch.save` writes it.

    Parameters
    ----------
    archive : Path or file
    length : int
        In bytes.

    Raises
    ------
    ValueError
        With what is wrong with it, as the end of a sentence, before any record is
        read.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            records = opened.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        msg = "it is no checkpoint of PyTorch 1.6 or newer, or it is cut"
        raise ValueError(msg) from error
    # PyTorch never packs: a packed record is a bomb or a foreign file.
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        msg = "its records are packed"
        raise ValueError(msg)
    if sum(record.file_size for record in records) > length:
        msg = "its records are longer than the file"
        raise ValueError(msg)
    return records


def read_json(folder: Path, name: str, most_bytes: int) -> dict[str, Any]:
    """Return the object in a JSON file of a model folder.

    Parameters
    ----------
    folder : Path
    name : str
        Relative path of the file.
    most_bytes : int
        A longer file is refused before it is read.

    Raises
    ------
    ModelError
        When the file is missing, too long, outside of the folder or no object.
    """
    path = inside(folder, name)
    try:
        return read_object(path, most_bytes)
    except ValueError as error:
        raise refused(name, str(error)) from error


def read_object(path: Path, most_bytes: int) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises
    ------
    ValueError
        With what is wrong with the file, as the end of a sentence.
    """
    try:
        size = path.stat().st_size
        if size > most_bytes:
            msg = f"it is {size} bytes long, longer than {most_bytes}"
            raise ValueError(msg)
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"it cannot be read ({error.strerror})"
        raise ValueError(msg) from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"it is not JSON ({str(error)[:100]})"
        raise ValueError(msg) from error
    if not isinstance(content, dict):
        msg = "it holds no object"
        raise ValueError(msg)
    return content


def first_fault(error: ValidationError) -> str:
    """Return where the first thing lies that pydantic refuses, and what it is."""
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"])
    what = str(fault["msg"]).removeprefix("Value error, ")
    return f"{where}: {what}" if where else what


def refused(name: str, reason: str, next_step: str = GET_AGAIN) -> ModelError:
    """Return the error that says why a file of a model is not taken."""
    return ModelError(f"The model's {name} is refused: {reason}.", next_step)

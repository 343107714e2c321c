"""PyTorch checkpoints from anyone, read without running what may hide in them.

A checkpoint is a zip that holds a pickle and the numbers of its tensors. The
zip is looked at first; the pickle is read by PyTorch's restricted unpickler,
which knows tensors, plain containers and the few names given here.
"""

from __future__ import annotations

import pickle
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_liverseg.models.foreign_file import (
    GET_AGAIN,
    MALFORMED,
    plain_records,
    refuse_absurd_weights,
    refused,
)

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Callable
    from pathlib import Path

MAX_PICKLE_BYTES = 64 * 1024**2
"""Of the pickle alone, which names tensors but does not hold them."""

MAX_RECORDS = 20_000
"""Tensors of a checkpoint, its optimiser's included."""

Content = dict[str, Any]


def read_checkpoint(path: Path) -> Content:
    """Return the content of a checkpoint; its tensors stay in the file.

    Parameters
    ----------
    path : Path
        A file that `torch.save` wrote.

    Returns
    -------
    dict
        Tensors are views of the mapped file on the CPU: check them, then copy.

    Raises
    ------
    ModelError
        When the file is no such zip, is beyond reason, or its pickle asks for
        anything that is not on the list.
    """
    refuse_odd_archive(path)
    try:
        with torch.serialization.safe_globals(_safe_names()):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise _not_plain(path, error) from error
    except (RuntimeError, OSError, EOFError, MemoryError) as error:
        raise refused(path.name, f"PyTorch cannot read it ({_short(error)})") from error
    except MALFORMED as error:
        reason = f"its pickle is malformed ({_short(error)})"
        raise refused(path.name, reason) from error
    if not isinstance(content, dict):
        raise refused(path.name, "it holds no dictionary")
    return content


def refuse_odd_archive(path: Path) -> None:
    """Refuse a file that is no plain zip as `torch.save` writes it.

    Raises
    ------
    ModelError
        When it is too large, packed, or holds names that lead elsewhere.
    """
    try:
        refuse_absurd_weights(path)
        entries = plain_records(path, path.stat().st_size)
    except ValueError as error:
        raise refused(path.name, str(error)) from error
    except OSError as error:
        raise refused(path.name, f"it cannot be read ({error.strerror})") from error
    if len(entries) > MAX_RECORDS:
        raise refused(path.name, f"it holds {len(entries)} records")
    _refuse_odd_names(path, entries)


def _refuse_odd_names(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    names = [PurePosixPath(entry.filename) for entry in entries]
    if any(n.is_absolute() or ".." in n.parts or "\\" in str(n) for n in names):
        raise refused(path.name, "a record's name leads out of the archive")
    pickles = [e for e in entries if e.filename.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise refused(path.name, "it holds no pickle of PyTorch's, or several")
    if pickles[0].file_size > MAX_PICKLE_BYTES:
        raise refused(path.name, f"its pickle has {pickles[0].file_size} bytes")


def _safe_names() -> list[Callable[..., Any] | tuple[Callable[..., Any], str]]:
    """Return what nnU-Net's log of its training needs: numbers of NumPy.

    The name that would build any NumPy scalar leads to `_number`, which builds
    numbers alone.
    """
    kinds = {type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"}
    return [
        (_number, "numpy.core.multiarray.scalar"),
        (_number, "numpy._core.multiarray.scalar"),
        np.dtype,
        *kinds,
    ]


def _number(kind: object, content: object = b"") -> np.generic:
    """Return one NumPy number from its type and bytes."""
    if not isinstance(kind, np.dtype) or kind.kind not in "biuf":
        msg = f"a NumPy scalar of type {str(kind)[:40]}"
        raise pickle.UnpicklingError(msg)
    raw = content.encode("latin1") if isinstance(content, str) else content
    if not isinstance(raw, bytes) or len(raw) != kind.itemsize:
        msg = "a NumPy scalar of another length than its type"
        raise pickle.UnpicklingError(msg)
    number: np.generic = np.frombuffer(raw, kind)[0]
    return number


def _not_plain(path: Path, error: pickle.UnpicklingError) -> Exception:
    """Name what the pickle asked for; PyTorch's advice to trust it is left out."""
    text = str(error)
    _, found, after = text.partition("GLOBAL ")
    if not found:
        _, found, after = text.partition("Unsupported ")
    wanted = after.split(" was not")[0].split("\n")[0][:80] if found else ""
    what = f" ('{wanted.strip()}')" if wanted.strip() else ""
    reason = f"it holds more than numbers and could run code{what}"
    return refused(path.name, reason, f"Do not use this file. {GET_AGAIN}")


def _short(error: BaseException) -> str:
    return str(error).split("\n")[0][:100]

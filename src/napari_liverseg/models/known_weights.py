"""Hashes of weights that came without one, remembered from their first use."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from typing import TYPE_CHECKING, Any

from napari_liverseg.core.data_folder import data_folder
from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.foreign_file import read_object

if TYPE_CHECKING:
    from pathlib import Path

KNOWN_FILE = "known_weights.json"
MAX_BYTES = 10_000_000


def known_file() -> Path:
    """Return where hashes are remembered; it is made with the first of them."""
    return data_folder() / KNOWN_FILE


def file_sha256(path: Path) -> str:
    """Return the hash of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_if_changed(folder: Path, sha256: str) -> None:
    """Remember the weights of a model, or refuse others in their place.

    Parameters
    ----------
    folder : Path
        The model's.
    sha256 : str
        Of its weights now.

    Raises
    ------
    ModelError
        When they are not those of the first use.
    """
    known = _known()
    key = str(folder.resolve())
    first = known.get(key)
    if first is None:
        _remember({**known, key: sha256})
    elif first != sha256:
        found = f"The weights in {folder} are not those of their first use."
        step = (
            f"If you replaced them on purpose, remove their entry from {known_file()}."
        )
        raise ModelError(found, step)


def _known() -> dict[str, Any]:
    path = known_file()
    if not path.exists():
        return {}
    try:
        return read_object(path, MAX_BYTES)
    except ValueError as error:
        found = f"{path}, which holds the hashes of weights, is refused: {error}."
        raise ModelError(found, "Mend it, or remove it to trust anew.") from error


def _remember(known: dict[str, Any]) -> None:
    """Write the file whole; where nothing may be written, nothing is remembered."""
    path = known_file()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(prefix=".", dir=path.parent)
        with os.fdopen(number, "w", encoding="utf-8") as file:
            json.dump(known, file, indent=1)
        os.replace(name, path)  # noqa: PTH105

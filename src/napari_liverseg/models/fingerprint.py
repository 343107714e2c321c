"""One hash for all that a folder holds, to tell later whether any of it changed."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ORIGIN_FILE = "origin.json"
"""Our own note in a model's folder; it is no part of what it tells of."""


def fingerprint(folder: Path) -> str:
    """Return one hash of all files of a folder and their names, in hex.

    Any file that changes, comes or goes changes it, compiled Python included;
    links count as what they lead to. `ORIGIN_FILE` at the top is left out.
    """
    whole = hashlib.sha256()
    files = [p for p in folder.rglob("*") if p.is_file()]
    # By name as text: paths themselves sort otherwise on Windows.
    for name, path in sorted((p.relative_to(folder).as_posix(), p) for p in files):
        if name == ORIGIN_FILE:
            continue
        said = name.encode()
        whole.update(len(said).to_bytes(8, "big") + said + _hash(path))
    return whole.hexdigest()


def _hash(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()

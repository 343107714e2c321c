"""One hash for all that a folder holds, to tell later whether any of it changed."""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ORIGIN_FILE = "origin.json"
"""Our own note in a model's folder; it is no part of what it tells of."""

LITTER = (".DS_Store", "Thumbs.db", "desktop.ini")
"""What file managers leave behind in a folder that somebody has only looked into."""


def fingerprint(folder: Path) -> str:
    """Return one hash of all files of a folder and their names, in hex.

    Any file that changes, comes or goes changes it, compiled Python included;
    links count as what they lead to, be it a file or a folder. `ORIGIN_FILE` at the
    top is left out, and so is `LITTER`.
    """
    whole = hashlib.sha256()
    # By name as text: paths themselves sort otherwise on Windows.
    for name, digest in sorted(_digests(folder).items()):
        if name == ORIGIN_FILE or name.rpartition("/")[2] in LITTER:
            continue
        said = name.encode()
        whole.update(len(said).to_bytes(8, "big") + said + digest)
    return whole.hexdigest()


def _digests(folder: Path) -> dict[str, bytes]:
    """Return the hash of each file by its name, and of each linked folder.

    A linked folder's name ends in ``/``, and its hash is of the name by which the
    folder was entered first: links may lead round in a circle.
    """
    digests: dict[str, bytes] = {}
    entered: dict[Path, str] = {}
    folders: deque[tuple[str, Path]] = deque([("", folder)])
    links: deque[tuple[str, Path]] = deque()
    while folders or links:
        is_link = not folders
        name, at = (folders or links).popleft()
        first = entered.setdefault(at.resolve(), name)
        if is_link or first != name:
            digests[name] = hashlib.sha256(first.encode()).digest()
        if first != name:
            continue
        for path in _inside(at):
            inner = name + path.name
            if path.is_file():
                digests[inner] = _hash(path)
            elif path.is_dir():
                (links if path.is_symlink() else folders).append((f"{inner}/", path))
    return digests


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except (PermissionError, FileNotFoundError):
        return []  # nobody can import from it either


def _hash(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()

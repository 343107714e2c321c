"""Zips of a study, unpacked where they can do no harm and leave nothing behind."""

from __future__ import annotations

import contextlib
import shutil
import stat
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FILES = 100_000
"""More members than any study has slices."""

MAX_BYTES = 32 * 1024**3
"""Unpacked size beyond that of any CT study."""

MAX_RATIO = 1100
"""Deflate cannot pack data tighter than about 1032 times; more is a forgery."""

SPARE_BYTES = 256 * 1024**2
"""Room to leave on the disk that the zip is unpacked to."""

BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError)


def is_zip(path: Path) -> bool:
    """Whether a file is, or is named as, a zip archive."""
    if not path.is_file():
        return False
    return path.suffix.lower() == ".zip" or _starts_as_zip(path)


@contextlib.contextmanager
def extracted(path: Path) -> Iterator[Path]:
    """Unpack a zip into a private temporary folder that is removed afterwards.

    Raises
    ------
    CaseError
        When it is broken, locked, too big, or would write outside the folder.
    """
    with tempfile.TemporaryDirectory(prefix="napari-liverseg-") as name:
        folder = Path(name)
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, folder, path.name)
        except BROKEN_ZIP as broken:
            found = f"'{path.name}' is no whole zip archive."
            raise CaseError(found, "Copy it again from where it came from.") from broken
        yield folder


def _starts_as_zip(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    return False


def _unpack(archive: zipfile.ZipFile, folder: Path, name: str) -> None:
    members = [m for m in archive.infolist() if not m.is_dir()]
    _refuse_harm(members, folder, name)
    for member in members:
        target = folder.joinpath(*PurePosixPath(member.filename).parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as packed, target.open("wb") as file:
            shutil.copyfileobj(packed, file, 1024**2)


def _refuse_harm(members: list[zipfile.ZipInfo], folder: Path, name: str) -> None:
    unpacked = sum(m.file_size for m in members)
    packed = sum(m.compress_size for m in members)
    if len(members) > MAX_FILES or unpacked > MAX_BYTES or _forged(packed, unpacked):
        found = f"'{name}' would unpack to {len(members)} files of {_size(unpacked)}."
        raise CaseError(found, "Unpack it yourself and open the series' folder.")
    if unpacked + SPARE_BYTES > shutil.disk_usage(folder).free:
        found = f"'{name}' needs {_size(unpacked)} of temporary disk space."
        raise CaseError(found, "Make room, or unpack it elsewhere and open the folder.")
    for member in members:
        _refuse_member(member, name)


def _refuse_member(member: zipfile.ZipInfo, name: str) -> None:
    step = "Unpack it yourself and open the folder, if you trust its sender."
    if member.flag_bits & 0x1:
        found = f"'{name}' is locked with a password."
        raise CaseError(found, "Unpack it yourself and open the folder.")
    if stat.S_ISLNK(member.external_attr >> 16):
        found = f"'{name}' holds links to other files."
        raise CaseError(found, step)
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in member.filename:
        found = f"'{name}' holds a file that would be written outside its folder."
        raise CaseError(found, step)


def _forged(packed: int, unpacked: int) -> bool:
    return unpacked > MAX_RATIO * max(packed, 1)


def _size(count: int) -> str:
    return f"{count / 1024**3:.1f} GB" if count >= 1024**3 else f"{count / 1e6:.0f} MB"

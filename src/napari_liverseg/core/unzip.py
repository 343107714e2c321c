"""The one way in which zips are unpacked: where they can do no harm."""

from __future__ import annotations

import contextlib
import shutil
import stat
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_liverseg.core.errors import LiversegError

MAX_RATIO = 1100
"""Deflate cannot pack data tighter than about 1032 times; more is a forgery."""

SPARE_BYTES = 256 * 1024**2
"""Room to leave on the disk that the zip is unpacked to."""

BROKEN_ZIP = (
    *(zipfile.BadZipFile, zlib.error, EOFError),
    *(FileExistsError, NotADirectoryError),  # a name is a file and a folder
)


@dataclass(frozen=True)
class Limits:
    """What a zip of some kind can hold at most, and how to do without one.

    Parameters
    ----------
    files : int
    total_bytes : int
        Of all files together, unpacked.
    refusal : type of LiversegError
        What is raised.
    instead : str
        What the user can do with a zip that was unpacked by hand.
    """

    files: int
    total_bytes: int
    refusal: type[LiversegError]
    instead: str


def is_zip(path: Path) -> bool:
    """Whether a file is, or is named as, a zip archive."""
    if not path.is_file():
        return False
    return path.suffix.lower() == ".zip" or _starts_as_zip(path)


def unzip(path: Path, folder: Path, limits: Limits) -> None:
    """Unpack a zip into a folder that nobody else writes to.

    Every member is checked before the first is written.

    Parameters
    ----------
    path : Path
    folder : Path
        Exists and is empty; the caller removes it when this fails.
    limits : Limits

    Raises
    ------
    LiversegError
        Of the kind that `limits` names, when the zip is broken, locked, too big or
        packed in a rare way, holds links, or would write outside the folder.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = [m for m in archive.infolist() if not m.is_dir()]
            _refuse_size(members, path, folder, limits)
            for member in members:
                _refuse_member(member, path.name, limits)
            _refuse_doubles(members, path.name, limits)
            for member in members:
                _write(archive, member, folder)
    except NotImplementedError as foreign:
        # Windows packs files of more than 2 GB as Deflate64.
        found = f"'{path.name}' is packed in a way that cannot be unpacked here."
        step = f"Unpack it yourself and {limits.instead}."
        raise limits.refusal(found, step) from foreign
    except BROKEN_ZIP as broken:
        found = f"'{path.name}' is no whole zip archive."
        step = "Copy it again from where it came from."
        raise limits.refusal(found, step) from broken


def _starts_as_zip(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
    return False


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
    """Write one member; `zipfile` reads no further than the size it declares."""
    target = folder.joinpath(*PurePosixPath(member.filename).parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(member) as packed, target.open("xb") as file:
        shutil.copyfileobj(packed, file, 1024**2)


def _refuse_size(
    members: list[zipfile.ZipInfo], path: Path, folder: Path, limits: Limits
) -> None:
    unpacked = sum(m.file_size for m in members)
    # Not the sizes that members declare: overlapping ones share their bytes.
    packed = max(path.stat().st_size, 1)
    too_big = len(members) > limits.files or unpacked > limits.total_bytes
    if too_big or unpacked > MAX_RATIO * packed:
        found = (
            f"'{path.name}' would unpack to {len(members)} files of {_size(unpacked)}."
        )
        raise limits.refusal(found, f"Unpack it yourself and {limits.instead}.")
    if unpacked + SPARE_BYTES > shutil.disk_usage(folder).free:
        found = f"'{path.name}' needs {_size(unpacked)} of disk space."
        step = f"Make room, or unpack it elsewhere and {limits.instead}."
        raise limits.refusal(found, step)


def _refuse_member(member: zipfile.ZipInfo, name: str, limits: Limits) -> None:
    step = f"Unpack it yourself and {limits.instead}, if you trust its sender."
    if member.flag_bits & 0x1:
        found = f"'{name}' is locked with a password."
        raise limits.refusal(found, f"Unpack it yourself and {limits.instead}.")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        found = f"'{name}' holds links to other files."
        raise limits.refusal(found, step)
    path = PurePosixPath(member.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in member.filename:
        found = f"'{name}' holds a file that would be written outside its folder."
        raise limits.refusal(found, step)


def _refuse_doubles(members: list[zipfile.ZipInfo], name: str, limits: Limits) -> None:
    """Refuse names that are one file on disk, where case may not count."""
    seen = {PurePosixPath(m.filename).as_posix().casefold() for m in members}
    if len(seen) < len(members):
        found = f"'{name}' holds two files of one name."
        step = f"Unpack it yourself and {limits.instead}, if you trust its sender."
        raise limits.refusal(found, step)


def _size(count: int) -> str:
    return f"{count / 1024**3:.1f} GB" if count >= 1024**3 else f"{count / 1e6:.0f} MB"

"""Which files hold the voxels of a header that stands alone, as MHD and NHDR do."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from napari_liverseg.io.formats import READABLE, ending, stem

if TYPE_CHECKING:
    import os
    from pathlib import Path
    from typing import BinaryIO

ALONE = (".mhd", ".nhdr")
"""Endings of headers whose voxels are in other files."""

READERS = ("MetaImageIO", "NrrdImageIO")
"""Whose headers may name other files, whatever their ending."""

HEADER_LINES = 1000
"""More lines than any header has; stops at files that are none."""

MOST_LINE_BYTES = 4096
MOST_LIST_BYTES = 4 * 1024**2

MOST_NUMBERS = 100_000
"""More slices than any CT has; a scrambled pattern counts further."""

# A colon and '=' begin a remark in NRRD, and no field.
_FIELD = re.compile(r"(?:ElementDataFile\s*=|data ?file\s*:(?!=))(.*)", re.IGNORECASE)

# MetaImage may leave the step out; NRRD may add how many axes a file has.
_NUMBER = r"\s+(\d{1,9})"
_PATTERN = re.compile(rf"([^%]*%0?\d?[diu][^%]*?){_NUMBER * 2}(?:{_NUMBER})?(\s+\d+)?")


def data_files(path: Path) -> list[tuple[str, os.stat_result]]:
    """Return each data file of an image by its name, with its size and times.

    Parameters
    ----------
    path : Path
        A file of any format; of most there are none.

    Returns
    -------
    list of tuple
        Names are as the header writes them. One that is not there is left out:
        whoever opens the CT says so.
    """
    if READABLE.get(ending(path)) not in READERS:
        return []
    names = _named(path)
    if names is None:
        names = _siblings(path) if ending(path) in ALONE else []
    found = []
    for name in names:
        with contextlib.suppress(OSError, ValueError):  # it may hold a zero byte
            found.append((name, (path.parent / name).stat()))
    return found


def _named(path: Path) -> list[str] | None:
    """Return the names in a header, None where it does not tell them clearly."""
    try:
        with path.open("rb") as file:
            value = _value(file)
            if value.upper() == "LOCAL":
                return []
            if value.upper().partition(" ")[0] == "LIST":
                lines = _text(file.read(MOST_LIST_BYTES)).splitlines()
                return [line.strip() for line in lines if line.strip()]
        if pattern := _PATTERN.fullmatch(value):
            return _numbered(*pattern.groups()[:4])
        return [value] if value and (path.parent / value).exists() else None
    except OSError:
        return None


def _value(file: BinaryIO) -> str:
    """Return what a header says of its data files; a list of them follows behind."""
    for _ in range(HEADER_LINES):
        line = _text(file.readline(MOST_LINE_BYTES)).strip()
        if field := _FIELD.match(line):
            return field[1].strip()
        if not line:
            break
    return ""


def _text(line: bytes) -> str:
    return line.decode("utf-8", errors="surrogateescape")


def _numbered(pattern: str, first: str, last: str, step: str | None) -> list[str]:
    numbers = range(int(first), int(last) + 1, int(step or 1) or 1)
    return [pattern % number for number in numbers[:MOST_NUMBERS]]


def _siblings(path: Path) -> list[str]:
    """Return the names of the other files beside a header that are called like it."""
    others = (p for p in path.parent.iterdir() if p.name != path.name)
    return sorted(p.name for p in others if p.stem == stem(path))

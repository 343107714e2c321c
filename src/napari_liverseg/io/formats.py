"""Which file endings are volumes, and how each is read and written."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

READABLE = {
    ".nii": "NiftiImageIO",
    ".nii.gz": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
"""SimpleITK's reader of each ending; named so that no other one guesses."""

WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")
"""Endings of label maps that are one file and can be renamed in one step."""


def ending(path: Path) -> str:
    """Return the format's ending in lower case, empty where it is none of ours."""
    name = path.name.lower()
    return next((e for e in sorted(READABLE, key=len)[::-1] if name.endswith(e)), "")


def stem(path: Path) -> str:
    """Return the file's name without the format's ending."""
    return path.name[: len(path.name) - len(ending(path))]


def is_image_file(path: Path) -> bool:
    """Whether a file's name has the ending of a volume format."""
    return bool(ending(path))

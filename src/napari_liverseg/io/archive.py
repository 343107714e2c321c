"""Zips of a study, unpacked where they leave nothing behind."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import CaseError
from napari_liverseg.core.unzip import Limits, is_zip, unzip

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["extracted", "is_zip"]

STUDY = Limits(
    files=100_000,
    total_bytes=32 * 1024**3,
    refusal=CaseError,
    instead="open the series' folder",
)
"""More files than any study has slices, and more than any CT study holds."""


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
        unzip(path, folder, STUDY)
        yield folder

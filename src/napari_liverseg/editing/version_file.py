"""One version of a case's corrections as a file: complete, or not there at all."""

from __future__ import annotations

import os
import zipfile
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.geometry import Geometry, as_matrix
from napari_liverseg.editing.corrections import Corrections, MaskCorrections
from napari_liverseg.editing.patch import Patch

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.core.box import Box

FORMAT = 1
UNREADABLE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged file may raise."""

PARTS = ("box", "bits", "count", "values")


def write_version(path: Path, corrections: Corrections) -> None:
    """Write corrections into a new file.

    Parameters
    ----------
    path : Path
        Ends in ``.npz``.
    corrections : Corrections

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    try:
        with unfinished.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **_as_arrays(corrections))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)  # a full disk needs its room


def read_version(path: Path) -> Corrections:
    """Return the corrections of a file.

    Raises
    ------
    OSError, EOFError, ValueError, KeyError, BadZipFile, zlib.error
        See `UNREADABLE`: it is damaged, or of another format.
    """
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
        if int(file["format"]) != FORMAT:
            msg = f"{path.name} has format {file['format']}, expected {FORMAT}"
            raise ValueError(msg)
        z, y, x = (int(n) for n in file["shape"])
        masks = {}
        for name in file["names"].tolist():
            box, bits, count, values = (file[f"{name}_{part}"] for part in PARTS)
            masks[name] = MaskCorrections(Patch(_box(box), bits, int(count)), values)
        saved_at = datetime.fromisoformat(str(file["saved_at"]))
        # Journals of versions before this one do not tell their grid.
        grid = _grid((z, y, x), file["grid"]) if "grid" in file else None
    return Corrections((z, y, x), saved_at, masks, grid)


def _as_arrays(corrections: Corrections) -> dict[str, np.ndarray]:
    arrays = {
        "format": np.array(FORMAT),
        "shape": np.array(corrections.shape),
        "saved_at": np.array(corrections.saved_at.astimezone(UTC).isoformat()),
        "names": np.array(sorted(corrections.masks), dtype=np.str_),
    }
    if corrections.grid is not None:
        grid = corrections.grid
        arrays["grid"] = np.array([grid.spacing_mm, grid.origin_mm, *grid.direction])
    for name, mask in corrections.masks.items():
        patch = mask.edited
        box = np.array([[s.start, s.stop] for s in patch.box])
        parts = (box, patch.bits, np.array(patch.count), mask.values)
        arrays.update(
            {f"{name}_{part}": v for part, v in zip(PARTS, parts, strict=True)}
        )
    return arrays


def _grid(shape: tuple[int, int, int], rows: np.ndarray) -> Geometry:
    (a, b, c), (z, y, x), *direction = rows.tolist()
    return Geometry(shape, (a, b, c), (z, y, x), as_matrix(np.array(direction)))


def _box(ends: np.ndarray) -> Box:
    z, y, x = (slice(int(start), int(stop)) for start, stop in ends)
    return z, y, x

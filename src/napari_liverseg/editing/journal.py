"""Corrections on disk after every stroke, so that a crash costs none of them."""

from __future__ import annotations

import contextlib
import os
import re
import zipfile
import zlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.data_folder import data_folder
from napari_liverseg.core.geometry import Geometry, as_matrix
from napari_liverseg.editing.corrections import Corrections, MaskCorrections
from napari_liverseg.editing.patch import Patch

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.core.box import Box

KEPT_VERSIONS = 20
FORMAT = 1
OFFERED = "offered"
UNREADABLE = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)
PARTS = ("box", "bits", "count", "values")


def journal_folder(series_key: str) -> Path:
    """Return the folder of the corrections of one series.

    Parameters
    ----------
    series_key : str
        `CTVolume.series_key`, a digest without a patient's name.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", series_key).strip(".") or "unnamed"
    return data_folder() / "recovery" / safe


class Journal:
    """Append-only versions of one case's corrections, oldest dropped first.

    What an earlier sitting left is set aside in ``offered/``, one folder a
    sitting, where no later version pushes it out before it is answered.

    Parameters
    ----------
    folder : Path
        See `journal_folder`; made on the first write.
    kept : int
        Versions that stay.
    """

    def __init__(self, folder: Path, kept: int = KEPT_VERSIONS) -> None:
        self.folder = folder
        self._kept = kept

    def write(self, corrections: Corrections) -> Path:
        """Add a version. It is complete on disk or not there at all.

        Raises
        ------
        OSError
            The folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        number = max(map(_number, (*self._versions(), *self._sittings())), default=0)
        path = self.folder / f"corrections-{number + 1:06d}.npz"
        unfinished = path.with_suffix(f".{os.getpid()}.part")
        try:
            with unfinished.open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **_as_arrays(corrections))
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)  # a full disk needs its room
        for old in self._versions()[: -self._kept]:
            old.unlink(missing_ok=True)
        return path

    def latest(self) -> Corrections | None:
        """Return what is offered, else the newest version that holds an edit.

        A newest version without edits means that the user has undone them
        all: then there is nothing to restore.
        """
        return self.offered() or _newest(self._versions())

    def offered(self) -> Corrections | None:
        """Return the newest corrections set aside and not answered yet."""
        return self._offer()[1]

    def set_aside(self) -> None:
        """Keep what an earlier sitting left until `answer`, however long.

        Raises
        ------
        OSError
            The folder cannot be written.
        """
        versions = self._versions()
        if _newest(versions) is None:
            return
        aside = self.folder / OFFERED / f"{_number(versions[-1]):06d}"
        aside.mkdir(parents=True, exist_ok=True)
        for path in reversed(versions):
            path.replace(aside / path.name)

    def answer(self) -> None:
        """Put away what `offered` returns: it was restored or is not wanted."""
        sitting, _ = self._offer()
        if sitting is not None:
            self._discard(_versions_in(sitting))
            with contextlib.suppress(OSError):  # it may hold a file of the system's
                sitting.rmdir()

    def discard(self) -> None:
        """Put this sitting's versions away; only the last ones put away are kept."""
        self._discard(self._versions())

    def _discard(self, versions: list[Path]) -> None:
        if not versions:
            return
        aside = self.folder / "discarded"
        aside.mkdir(exist_ok=True)
        for old in _versions_in(aside):
            old.unlink(missing_ok=True)
        for path in versions:
            path.replace(aside / path.name)

    def _offer(self) -> tuple[Path | None, Corrections | None]:
        for sitting in reversed(self._sittings()):
            corrections = _newest(_versions_in(sitting))
            if corrections is not None:
                return sitting, corrections
        return None, None

    def _versions(self) -> list[Path]:
        return _versions_in(self.folder)

    def _sittings(self) -> list[Path]:
        return sorted((self.folder / OFFERED).glob("[0-9]*"), key=_number)


def _versions_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("corrections-*.npz"), key=_number)


def _newest(versions: list[Path]) -> Corrections | None:
    """Return the newest readable version, None when it holds no edit."""
    for path in reversed(versions):
        with contextlib.suppress(*UNREADABLE):
            corrections = _read(path)
            return corrections if corrections.count else None
    return None


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("corrections-")
    return int(digits) if digits.isdigit() else 0


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


def _read(path: Path) -> Corrections:
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


def _grid(shape: tuple[int, int, int], rows: np.ndarray) -> Geometry:
    (a, b, c), (z, y, x), *direction = rows.tolist()
    return Geometry(shape, (a, b, c), (z, y, x), as_matrix(np.array(direction)))


def _box(ends: np.ndarray) -> Box:
    z, y, x = (slice(int(start), int(stop)) for start, stop in ends)
    return z, y, x

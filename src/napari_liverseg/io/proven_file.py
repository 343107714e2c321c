"""Files that appear under their name only once they have been read back and proven."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_liverseg.core.errors import CaseError, ExportError
from napari_liverseg.io.formats import ending

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_liverseg.core.geometry import Geometry

GRID_PART = 1e-5
"""A file's grid must come back within this part (NIfTI holds 32-bit numbers)."""


def is_there(path: Path) -> bool:
    """Whether a path is taken; one that the disk refuses, as too long, is not."""
    try:
        return path.exists()
    except OSError:
        return False


def write_proven(
    path: Path,
    write: Callable[[Path], None],
    prove: Callable[[Path], None],
    *,
    overwrite: bool,
) -> Path:
    """Write beside the wanted place, prove, then rename in one step.

    Parameters
    ----------
    path : Path
        Where the file shall be.
    write, prove : callable
        Write a file, read it back; `prove` raises when it is not what it should be.
    overwrite : bool
        Whether a file of that name may be replaced.

    Raises
    ------
    ExportError
        When the file exists, cannot be written, or is not proven. Nothing is
        left behind then.
    """
    # The ending tells the writers the format. Nothing else of the name is in it: where
    # a long name may just be, a longer one may not.
    part = path.with_name(f".{secrets.token_hex(8)}.part{ending(path) or path.suffix}")
    try:
        _refuse_existing(path, overwrite)
        write(part)
        prove(part)
        _to_disk(part)
        _refuse_existing(path, overwrite)
        part.replace(path)
    except (OSError, RuntimeError, CaseError) as failed:
        found = f"'{path.name}' could not be written: {_reason(path, failed)}."
        step = "Choose another folder, or make room on the disk, and export again."
        if isinstance(failed, OSError) and failed.errno == errno.ENAMETOOLONG:
            found, step = f"'{path.name}' is too long a name.", "Choose a shorter one."
        raise ExportError(found, step) from failed
    finally:
        # A disk that is read-only refuses this too, where nothing was written.
        with suppress(OSError):
            part.unlink()
    return path


def prove_same_grid(back: Geometry, wanted: Geometry) -> None:
    """Raise `ExportError` when a file's grid did not come back as written."""
    same = back.shape == wanted.shape and all(
        np.allclose(ours, theirs, rtol=GRID_PART, atol=GRID_PART)
        for ours, theirs in (
            (back.spacing_mm, wanted.spacing_mm),
            (back.origin_mm, wanted.origin_mm),
            (back.direction, wanted.direction),
        )
    )
    if not same:
        found = f"The file written lies elsewhere: {back}, expected {wanted}."
        raise ExportError(found, "Export to another format.")


def prove_same_voxels(back: NDArray[Any], wanted: NDArray[Any]) -> None:
    """Raise `ExportError` when voxels are others than were written."""
    if not np.array_equal(back, wanted):
        found = "The file did not read back as it was written."
        raise ExportError(found, "Export again.")


def prove_same_labels(back: NDArray[Any], wanted: NDArray[Any]) -> None:
    """Raise `ExportError` when a label has another number of voxels than written."""
    found, expected = (np.bincount(np.ravel(a), minlength=3) for a in (back, wanted))
    if not np.array_equal(found, expected) or not np.array_equal(back, wanted):
        text = f"The file holds {found} voxels of each label, expected {expected}."
        raise ExportError(text, "Export again.")


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if is_there(path) and not overwrite:
        found = f"'{path.name}' exists already and was left as it is."
        raise ExportError(found, "Choose another name, or agree to overwrite it.")


def _to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _reason(path: Path, failed: Exception) -> str:
    if isinstance(failed, OSError) and failed.strerror:
        return failed.strerror.lower()
    if not path.parent.is_dir():
        return f"the folder '{path.parent.name}' does not exist"
    if not os.access(path.parent, os.W_OK):
        return f"the folder '{path.parent.name}' cannot be written to"
    return "the disk may be full"

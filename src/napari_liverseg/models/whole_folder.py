"""Model folders that are whole under their name, or not there at all."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable


def write_folder(
    folder: Path, names: set[str], write: Callable[[Path], object]
) -> None:
    """Write a folder beside its place, then put it in place of what was there.

    Parameters
    ----------
    folder : Path
        Replaced where it exists.
    names : set of str
        All that such a folder may hold; one that holds more is never replaced.
    write : callable
        Fills the empty folder that it is given and proves it; when it raises, what
        was there before stays.

    Raises
    ------
    ModelError
        When `folder` holds something else than `names`.
    """
    _refuse_foreign(folder, names)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as work:
        fresh, former = Path(work) / "fresh", Path(work) / "former"
        fresh.mkdir()
        write(fresh)
        _exchange(fresh, folder, former)


def _refuse_foreign(folder: Path, names: set[str]) -> None:
    if not folder.exists():
        return
    if not folder.is_dir() or not {path.name for path in folder.iterdir()} <= names:
        found = f"{folder} exists and is no model folder."
        raise ModelError(found, "Choose another folder for the model.")


def _exchange(fresh: Path, folder: Path, former: Path) -> None:
    """Put a folder in the place of another, or leave that one where it is."""
    if folder.exists():
        shutil.move(folder, former)
    try:
        shutil.move(fresh, folder)
    except OSError:
        if former.exists() and not folder.exists():
            shutil.move(former, folder)
        raise

"""Files that appear together in a folder, or not at all."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@contextmanager
def all_or_none(
    folder: Path,
    names: Sequence[str],
    may_be: Sequence[str] = (),
    *,
    overwrite: bool = False,
) -> Iterator[Path]:
    """Yield a folder to write `names` in; they move to `folder` at the end.

    When the block fails or is interrupted, `folder` is left as it was.

    Parameters
    ----------
    folder : Path
        Made when it is missing.
    names : sequence of str
        Every file that the block writes.
    may_be : sequence of str
        Files that it may write too. One that it does not is taken away with the
        older result that it belonged to.
    overwrite : bool
        Replace files of these names that are there already.

    Raises
    ------
    ExportError
        Before the block runs, when files are in the way or the folder cannot
        be written to; after it, when they cannot be moved.
    """
    _refuse_existing(folder, (*names, *may_be), overwrite)
    made = make_folder(folder)
    try:
        with _unfinished(folder) as unfinished:
            yield unfinished
            _move_all(unfinished, folder, names, may_be)
    finally:
        for parent in made:
            with contextlib.suppress(OSError):  # it holds results: it stays
                parent.rmdir()


def _refuse_existing(folder: Path, names: Sequence[str], overwrite: bool) -> None:
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        found = f"The folder '{folder}' holds {' and '.join(there)} already."
        next_step = "Choose another folder, or replace them with --overwrite."
        raise ExportError(found, next_step)


def make_folder(folder: Path) -> list[Path]:
    """Make the folder and return what was made, the innermost first.

    Raises
    ------
    ExportError
        When it cannot be made.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(folder, error) from error
    return missing


@contextmanager
def _unfinished(folder: Path) -> Iterator[Path]:
    try:
        path = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder))
    except OSError as error:
        raise _not_writable(folder, error) from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _move_all(
    unfinished: Path, folder: Path, names: Sequence[str], may_be: Sequence[str]
) -> None:
    """Move every file, or put everything back where it was."""
    replaced: list[str] = []
    placed: list[str] = []
    try:
        for name in (*names, *may_be):
            if (folder / name).exists():
                (folder / name).replace(unfinished / f"{name}.old")
                replaced.append(name)
            if name in may_be and not (unfinished / name).exists():
                continue
            (unfinished / name).replace(folder / name)
            placed.append(name)
    except BaseException as error:
        for name in placed:
            (folder / name).unlink()
        for name in replaced:
            (unfinished / f"{name}.old").replace(folder / name)
        if isinstance(error, OSError):
            raise _not_writable(folder, error) from error
        raise


def _not_writable(folder: Path, error: OSError) -> ExportError:
    found = f"The results cannot be written to '{folder}' ({error.strerror})."
    return ExportError(found, "Choose a folder that you may write to, on a free disk.")

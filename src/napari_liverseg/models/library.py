"""Models that come to the user's folder and leave it, whole or not at all."""

from __future__ import annotations

import contextlib
import re
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import ModelError
from napari_liverseg.core.unzip import Limits, is_zip, unzip
from napari_liverseg.models.bundle import slug
from napari_liverseg.models.bundle_config import ForeignCodeError
from napari_liverseg.models.fingerprint import fingerprint
from napari_liverseg.models.foreign_file import refuse_absurd_weights
from napari_liverseg.models.kinds import OWN, place_of, read_model
from napari_liverseg.models.origin import write_origin
from napari_liverseg.models.spec import read_spec
from napari_liverseg.models.store import (
    bundled_folder,
    find_model,
    list_models,
    user_folder,
)
from napari_liverseg.models.trust import distrust, trust
from napari_liverseg.models.two_stage import NAME, TwoStage
from napari_liverseg.models.two_stage_folder import join as join_stages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_liverseg.models.contract import Model
    from napari_liverseg.models.kinds import Kind
    from napari_liverseg.models.proof import Proof

MODEL_ZIP = Limits(
    files=10_000,
    total_bytes=16 * 1024**3,
    refusal=ModelError,
    instead="give the model's folder",
)
"""More files and bytes than any model has, folds and scripts included."""


@contextlib.contextmanager
def staged(source: Path, name: str = "") -> Iterator[Path]:
    """Yield a copy of a model's folder or zip, beside the place where models lie.

    The copy holds the model and what lies beside it, but nothing of the folders
    around; it is gone afterwards unless `settle` took it.

    Parameters
    ----------
    source : Path
    name : str
        Of the copy; without one, that of the model's own folder.

    Raises
    ------
    ModelError
        When the zip is harmful, a folder holds links that lead out of it or an
        absurdly long file, there is no model in it, or more than one, or files cannot
        be read or written, here or while the copy is used.
    """
    parent = user_folder()
    with _in_words(f"'{source.name}' cannot be added to {parent}"):
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".adding-", dir=parent) as work:
            copy = Path(work) / "given" / source.name.removesuffix(".zip")
            copy.parent.mkdir()
            _copy(source, copy)
            yield _unwrapped(copy, Path(work) / "model", name)


def _copy(source: Path, copy: Path) -> None:
    """Copy a folder, or unpack a zip, so that the copy may be changed and removed."""
    if is_zip(source):
        copy.mkdir()
        unzip(source, copy, MODEL_ZIP)
    elif source.is_dir():
        _refuse_uncopyable(source)
        _place_in(source)  # what is refused is told by its own path, and not copied
        shutil.copytree(source, copy, copy_function=shutil.copyfile)
        for path in (copy, *copy.rglob("*")):
            if path.is_dir():  # those of a read-only disk would stay read-only
                path.chmod(path.stat().st_mode | stat.S_IRWXU)
    else:
        found = f"'{source.name}' is no folder and no zip of a model."
        raise ModelError(found, "Give a model's folder, or a zip of one.")


@contextlib.contextmanager
def _in_words(found: str) -> Iterator[None]:
    """Say in a sentence that the system does not let files be read or written."""
    try:
        yield
    except OSError as error:
        # `shutil` gathers several reasons, with paths, and those name people.
        reason = error.strerror or "some of its files cannot be copied"
        step = "See that you may read and write there, and that there is room."
        said = f"{found}: {reason}."
        raise ModelError(said, step) from error


def add(
    source: Path, agrees: Callable[[ForeignCodeError, str], bool]
) -> tuple[Model, Proof]:
    """Copy a model into the user's folder once it was proven, and return it.

    Parameters
    ----------
    source : Path
        A model's folder, or a zip of one.
    agrees : callable
        Asked whether the user trusts a bundle's own code, with the refusal
        that names the line, and the hash of all its files.

    Raises
    ------
    ModelError
        When it is none, its name is taken, or it does not do what it says.
    """
    from napari_liverseg.models.proof import prove

    if source.name in ("", ".."):  # of where the user stands
        source = source.resolve()
    with staged(source) as copy:
        try:
            model = read_model(copy)
        except ForeignCodeError as refusal:
            if not agrees(refusal, fingerprint(copy)):
                raise
            trust(copy, copy.name)
            model = read_model(copy)
        refuse_taken(copy.name, model.name)
        proof = prove(model)
        write_origin(copy, source.name, weights_sha256=model.sha256)
        return read_model(settle(copy)), proof


def join(finder: str, detail: str, name: str, folder: Path | None = None) -> TwoStage:
    """Make one model of two stages out of copies of two models.

    Parameters
    ----------
    finder, detail : str
        Names or folders, see `two_stage_folder.join`.
    name : str
        Of the whole.
    folder : Path or None
        New; None puts it among the user's models.

    Raises
    ------
    ModelError
        When they cannot be joined or written, or name or folder are taken, or no
        model can be called so.
    """
    if not re.fullmatch(NAME, name):
        found = f"A model cannot be called '{name}'."
        step = "Take up to 64 lower-case letters, digits, '-', '_' and '.'."
        raise ModelError(found, step)
    stages = find_model(finder), find_model(detail)
    if folder is None:
        refuse_taken(name)
        folder = user_folder() / name
    if folder.exists():
        found = f"{folder} exists already."
        raise ModelError(found, "Choose a new folder for the model.")
    try:
        return join_stages(*stages, name, folder)
    except OSError as error:
        found = f"The model cannot be written to {folder}: {error.strerror}."
        raise ModelError(found, "Choose another folder.") from error


def settle(copy: Path) -> Path:
    """Move a staged model to its place in the user's folder, and return that."""
    refuse_taken(copy.name)
    return copy.rename(user_folder() / copy.name)


def refuse_taken(*names: str) -> None:
    """Refuse names that a model or a folder among the models has already.

    Raises
    ------
    ModelError
        With the one that has it.
    """
    for name in names:
        there = user_folder() / name
        held = [m.folder for m in list_models() if m.name == name]
        if held or there.exists():
            found = f"There is a model '{name}' already, in {(held or [there])[0]}."
            raise ModelError(found, "Remove it first, or rename the folder you add.")


def folder_to_remove(name: str) -> Path:
    """Return the folder of a user's model, broken ones included.

    Parameters
    ----------
    name : str
        Of the model or of its folder in the user's folder; never a path.

    Raises
    ------
    ModelError
        When there is none, or it came with the package.
    """
    home = user_folder()
    listed = [m.folder.resolve() for m in list_models() if m.name == name]
    for at in listed:
        if at.is_relative_to(home.resolve()):
            return home / at.relative_to(home.resolve()).parts[0]
    inside = home.iterdir() if home.is_dir() else ()
    for folder in inside:
        # It may be left out of the list for having the name of a bundled one.
        if folder.name == name and folder.is_dir() and not name.startswith("."):
            return folder
    if any(at.is_relative_to(bundled_folder().resolve()) for at in listed):
        found = f"The model '{name}' came with the package."
        raise ModelError(found, "Only models of your own can be removed.")
    found = f"There is no model '{name}' in {home}."
    raise ModelError(found, "See 'napari-liverseg models list'.")


def needed_by(folder: Path) -> tuple[str, ...]:
    """Return the names of the two-stage models that are made of the model there."""
    gone = folder.resolve()
    return tuple(
        model.name
        for model in list_models()
        if isinstance(model, TwoStage)
        and model.folder.resolve() != gone
        and gone in (model.finder.folder.resolve(), model.detail.folder.resolve())
    )


def remove(folder: Path) -> None:
    """Remove a model's folder, which `folder_to_remove` has named, and trust in it.

    Raises
    ------
    ModelError
        When it cannot be written to.
    """
    with _in_words(f"{folder} cannot be removed"):
        if folder.is_symlink():
            folder.unlink()  # what it leads to is not ours
            return
        distrust(folder)
        home = folder.parent
        with tempfile.TemporaryDirectory(prefix=".removing-", dir=home) as work:
            folder.rename(Path(work) / folder.name)


def _refuse_uncopyable(source: Path) -> None:
    """Refuse folders whose copy would hold more than lies in them, or never end."""
    root = source.resolve()
    if user_folder().resolve().is_relative_to(root):
        found = f"'{source.name}' holds the folder of your models."
        raise ModelError(found, "Give the folder of one model.")
    for path in source.rglob("*"):
        if path.is_symlink():
            if not path.is_file() or not path.resolve().is_relative_to(root):
                found = f"'{source.name}' holds a link that leads out of it or nowhere."
                raise ModelError(found, "Copy what it leads to in its place.")
        elif path.is_file():
            refuse_absurd_weights(path)  # a sparse file's copy may fill the disk
        elif not path.is_dir():
            found = f"'{source.name}' holds something that is no file."
            raise ModelError(found, "Remove it from the folder.")


def _unwrapped(copy: Path, home: Path, name: str) -> Path:
    """Move the model in a copy to `home`, without the folders around it."""
    kind, at = _place_in(copy)
    if kind is OWN:
        name = name or read_spec(at).name
    named = at.parent if kind.named_folder and at != copy else at
    folder = home / (name or slug(named.name))
    target = folder / at.name if kind.named_folder else folder
    target.parent.mkdir(parents=True)
    at.rename(target)
    return folder


def _place_in(folder: Path) -> tuple[Kind, Path]:
    place = place_of(folder)
    if place is None:
        found = "No model of a kind that this program knows is in it."
        raise ModelError(found, "Give a model's folder, or a zip of one.")
    return place

"""What a user asks of a training beside its recipe, and what is kept where."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import ExportError, ModelError
from napari_liverseg.training.begun_with import BEGUN_FILE
from napari_liverseg.training.folds import FOLDS_FILE
from napari_liverseg.training.recipe import read_recipe
from napari_liverseg.training.whole_file import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.training.compute import Place
    from napari_liverseg.training.recipe import Recipe

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}")
"""A little shorter than `ModelSpec` allows: a name that is taken gets a number."""

CACHE = "cache"
RECIPE_FILE = "recipe.yaml"
REPORT_FILE = "report.html"
RESULT_FILE = "result.json"
"""Names the model once it is listed; the last thing that a training writes."""

MEASURES_FILE = "held_out.json"
"""Of a fold's held-out cases, in its folder."""

START_FOLDER = "start"
"""In a fold's folder: the same measures of the model that it began from."""

OPEN_FOLDER = "gate-open"
"""In a fold's folder: the same measures of its model without its gate."""


@dataclass(frozen=True)
class Order:
    """One call of the command.

    Parameters
    ----------
    data : Path
        See `io.labelled_set.find_labelled`.
    out : Path
        Folder of the whole run.
    place : Place
    fold : int or None
        The only fold to train, from 0; None trains what is left of all.
    resume : bool
        Whether to go on with the run that `out` holds.
    name : str or None
        Of the model; None takes the recipe's with the date.

    Raises
    ------
    ModelError
        When no model can be called so.
    """

    data: Path
    out: Path
    place: Place
    fold: int | None = None
    resume: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None and not MODEL_NAME.fullmatch(self.name):
            found = f"A model cannot be called '{self.name}'."
            step = "Take up to 60 lower-case letters, digits, '-', '_' and '.'."
            raise ModelError(found, step)

    @property
    def cache(self) -> Path:
        """Where prepared cases are kept; it may be removed after the training."""
        return self.out / CACHE

    @property
    def model(self) -> Path:
        """The model that comes out."""
        return self.out / "model"

    @property
    def report(self) -> Path:
        """The page on the training."""
        return self.out / REPORT_FILE

    def fold_folder(self, fold: int) -> Path:
        """Where a fold, from 0, keeps its files."""
        return self.out / f"fold_{fold + 1}"

    def fold_folders(self, count: int) -> tuple[Path, ...]:
        """Where the first so many folds keep their files."""
        return tuple(self.fold_folder(fold) for fold in range(count))


@dataclass(frozen=True)
class Trained:
    """What became of a training.

    Parameters
    ----------
    model : Path or None
        The model's folder; None while folds are missing.
    name : str
        By which the plugin lists it.
    report : Path
    missing : tuple of int
        Folds, from 0, that are not trained yet.
    was_stopped : bool
        Whether somebody asked to stop.
    figures : tuple of str
        What was measured, in words.
    broke_down : tuple of str
        Sentences on folds whose numbers broke, and whose network is from before.
    """

    model: Path | None
    name: str
    report: Path
    missing: tuple[int, ...] = ()
    was_stopped: bool = False
    figures: tuple[str, ...] = ()
    broke_down: tuple[str, ...] = ()


def open_run(order: Order, recipe: Recipe, *, follows: bool) -> None:
    """Make the folder of a run, or refuse to mix two of them.

    Parameters
    ----------
    order : Order
    recipe : Recipe
        Kept in the folder.
    follows : bool
        Whether this is one of several processes, and not the first, which writes.
        All of them refuse, or some would wait for those that did.

    Raises
    ------
    ExportError
        When the folder holds a run, or something else, already.
    ModelError
        When its recipe is another one.
    """
    refuse_other_folder(order.out)
    kept = order.out / RECIPE_FILE
    begun = _begun(order.out)
    if not kept.is_file() or not begun:
        if not follows:
            write_text(kept, recipe.as_yaml())
        return
    own = begun if order.fold is None else [order.fold_folder(order.fold).name]
    if not order.resume and set(own) & set(begun):
        found = f"The folder {order.out} holds a training already."
        raise ExportError(found, "Go on with it by --resume, or choose another folder.")
    refuse_other_recipe(order.out, recipe)


def refuse_other_recipe(out: Path, recipe: Recipe) -> None:
    """Refuse to train in a folder by another recipe than the folder keeps.

    Parameters
    ----------
    out : Path
        Of a run that was opened.
    recipe : Recipe

    Raises
    ------
    ModelError
    """
    kept = out / RECIPE_FILE
    if not read_recipe(kept).same_training(recipe):
        found = f"The training in {out} was begun with another recipe."
        step = f"Use {kept}, or choose another folder."
        raise ModelError(found, step)


def refuse_other_folder(out: Path) -> None:
    """Refuse what is neither a training's folder, nor empty, nor new.

    Raises
    ------
    ExportError
    """
    if out.exists() and not out.is_dir():
        found = f"{out} is a file, not a folder."
        raise ExportError(found, "Choose an empty folder for the training.")
    if (out / RECIPE_FILE).is_file() and _begun(out):
        return
    # More is in it than what comes before a first fold.
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    # File managers hide their own files there, and so does another job of the same
    # training what it is writing just now.
    seen = {name for name in names if not name.startswith(".")}
    if seen - {RECIPE_FILE, CACHE, FOLDS_FILE, BEGUN_FILE}:
        found = f"The folder {out} holds something else."
        raise ExportError(found, "Choose an empty folder for the training.")


def _begun(out: Path) -> list[str]:
    return [path.name for path in out.glob("fold_*")]

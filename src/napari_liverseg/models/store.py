"""Where models live on disk, found without loading any weights."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_liverseg.core.data_folder import data_folder
from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.foreign_file import readable
from napari_liverseg.models.kinds import read_model
from napari_liverseg.models.spec import SPEC_FILE, WEIGHTS_FILE
from napari_liverseg.models.totalsegmentator import WHOLE_BODY, discover, task_of
from napari_liverseg.models.two_stage import in_liver_of, is_tumours_alone

if TYPE_CHECKING:
    from napari_liverseg.models.contract import Model

STARTER = "starter"
"""Name of the model that is taken when nobody chose one; it has two stages."""

QUICK = "starter-3mm"
"""Name of its first stage, which finds the liver for any finer model."""

MODELS_VARIABLE = "NAPARI_LIVERSEG_MODELS"
"""Environment variable that names another folder of user models."""


def bundled_folder() -> Path:
    """Return the folder of the models that come with the package."""
    return Path(__file__).parent / "bundled"


def user_folder() -> Path:
    """Return the folder where a user's own models are looked for."""
    chosen = os.environ.get(MODELS_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return data_folder() / "models"


def list_models() -> tuple[Model, ...]:
    """Return every usable model, those of the package first, each group by name.

    Folders that do not hold a usable model are left out; `broken_models` tells
    of them.
    """
    return _scan().usable


def broken_models() -> tuple[ModelError, ...]:
    """Return why folders among the models were left out of `list_models`."""
    return _scan().broken


def find_model(name_or_path: str | Path) -> Model:
    """Return a model by its name, its folder or a file in its folder.

    Parameters
    ----------
    name_or_path : str or Path
        A name from `list_models` wins over a folder of the same name.

    Raises
    ------
    ModelError
        When there is no such model or its spec is refused.
    """
    wanted = str(name_or_path)
    found = _scan()
    for model in found.usable:
        if model.name == wanted:
            return model
    path = Path(name_or_path).expanduser()
    if path.name in (SPEC_FILE, WEIGHTS_FILE) and path.is_file():
        path = path.parent
    if wanted and path.is_dir():
        return _runnable(read_model(path), found.usable)
    for parent in (bundled_folder(), user_folder()):
        if wanted and wanted in _folder_names(parent):
            return _runnable(read_model(parent / wanted), found.usable)
    raise ModelError(f"There is no model '{wanted}'.", _choices(found.usable))  # noqa: EM102


def default_model() -> Model:
    """Return the model to use when nobody chose one: the starter, else the first.

    Raises
    ------
    ModelError
        When no model is installed.
    """
    models = list_models()
    if not models:
        found = "No model is installed."
        raise ModelError(found, _choices(()))
    starters = (model for model in models if model.name == STARTER)
    return next(starters, models[0])


def coarse_model() -> Model | None:
    """Return the cheap model that finds the liver for finer ones, if it is there."""
    return next((model for model in list_models() if model.name == QUICK), None)


@dataclass(frozen=True)
class _Found:
    usable: tuple[Model, ...]
    broken: tuple[ModelError, ...]


def _scan() -> _Found:
    usable: dict[str, Model] = {}
    broken: list[ModelError] = []
    folders: list[Path] = []
    for parent in (bundled_folder(), user_folder()):
        try:
            folders += [parent / name for name in _folder_names(parent)]
        except ModelError as error:
            broken.append(error)
    for folder in folders:
        try:
            model = read_model(folder)
        except ModelError as error:
            broken.append(error)
            continue
        if model.name in usable:
            broken.append(_doubled(model, usable[model.name]))
        else:
            usable[model.name] = model
    others = discover()
    for found in others.models:
        usable.setdefault(found.name, found)
    runnable: list[Model] = []
    for model in usable.values():
        try:
            runnable.append(_runnable(model, tuple(usable.values())))
        except ModelError as error:
            broken.append(error)
    return _Found(tuple(runnable), (*broken, *others.broken))


def _runnable(model: Model, others: tuple[Model, ...]) -> Model:
    """Return a model as it can be run: one of tumours alone within another's liver.

    Raises
    ------
    ModelError
        When no model that finds the liver is there.
    """
    if not is_tumours_alone(model):
        return model
    by_name = {m.name: m for m in others if not is_tumours_alone(m)}
    by_task = {task_of(m): m for m in by_name.values()}
    wanted = [by_task[task] for task in WHOLE_BODY if task in by_task]
    wanted += [by_name[QUICK]] if QUICK in by_name else []
    if not wanted:
        found = f"The model '{model.name}' finds tumours but no liver to look in."
        raise ModelError(found, "Add a model that finds the liver.")
    return in_liver_of(wanted[0], model)


def _folder_names(parent: Path) -> list[str]:
    """Return the sub-folders that mean to be models, by name."""
    hidden = (".", "_")
    with readable(parent):
        inside = parent.iterdir() if parent.is_dir() else ()
        return sorted(
            p.name for p in inside if p.is_dir() and not p.name.startswith(hidden)
        )


def _doubled(model: Model, first: Model) -> ModelError:
    found = (
        f"{model.folder} has the name '{model.name}', which {first.folder} has already."
    )
    return ModelError(found, "Give it another name, or remove one of the two.")


def _choices(models: tuple[Model, ...]) -> str:
    if models:
        names = ", ".join(model.name for model in models)
        return f"Choose one of: {names}; or give a model's folder."
    return f"Copy a model folder to {user_folder()}, or give a model's folder."

"""A recipe: everything that decides a training, in one file that is checked first."""

from __future__ import annotations

import importlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.foreign_file import first_fault

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_BYTES = 1_000_000

PATHS = ("of", "public", "start", "weights")
"""Fields that may name a file or folder of this computer."""

FILE_ENDINGS = (".yaml", ".yml")

ROOM = "napari_liverseg.training"


@dataclass(frozen=True)
class Kind:
    """One kind of recipe: what describes it and what trains it, loaded when used.

    Parameters
    ----------
    described_by : tuple of str
        Module and class of its recipes.
    trained_by : str
        Module whose function ``train(recipe, order, ears)`` does it.
    """

    described_by: tuple[str, str]
    trained_by: str


KINDS = {
    "segmentation-3d": Kind(
        (f"{ROOM}.segmentation_recipe", "SegmentationRecipe"), f"{ROOM}.segmentation"
    ),
    "segmentation-2d": Kind(
        (f"{ROOM}.planar_recipe", "PlanarRecipe"), f"{ROOM}.segmentation"
    ),
    "classification-2d": Kind(
        (f"{ROOM}.classifier_recipe", "ClassifierRecipe"), f"{ROOM}.classification"
    ),
}
"""Every kind of recipe, as its file names it; a new kind is one more line here."""


class Recipe(BaseModel):
    """What recipes of every kind say.

    Parameters
    ----------
    kind : str
        A key of `KINDS`; decides which other fields there are.
    name : str
        What models made by it are called, with a date behind it.
    title : str
        What the window calls such models.
    licence : str
        Of the models that come out; it depends on the cases.
    seed : int
        Of folds, first weights, the order of the cases and their alterations.
    folds : int
        Parts for cross-validation; 1 holds one part out and trains once.
    minutes : float or None
        Ends the training by the clock, over all folds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: str
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,39}$")
    title: str = Field(min_length=1)
    licence: str = "as the cases that it was trained on"
    seed: int = Field(default=7, ge=0)
    folds: int = Field(default=5, ge=1, le=20)
    minutes: float | None = Field(default=None, gt=0)

    def as_yaml(self) -> str:
        """Return the recipe as a file that `read_recipe` reads."""
        content = self.model_dump(mode="json")
        return cast("str", yaml.safe_dump(content, sort_keys=False))

    def for_card(self) -> dict[str, Any]:
        """Return the fields as a model keeps them: of paths the last name alone.

        A model is handed on, and folders are often named after their owners.
        """
        return cast("dict[str, Any]", _without_folders(self.model_dump(mode="json")))

    def same_training(self, other: Recipe) -> bool:
        """Whether another recipe asks for the same, for however long it may take."""
        free = {"minutes": None}
        return self.model_copy(update=free) == other.model_copy(update=free)


def _without_folders(value: Any, field: str = "") -> Any:
    if isinstance(value, dict):
        return {name: _without_folders(part, name) for name, part in value.items()}
    if isinstance(value, str) and field in PATHS:
        # Windows' rules know both separators.
        return PureWindowsPath(value).name or value
    return value


def bundled_recipes() -> dict[str, Path]:
    """Return the recipes that come with the package, by name."""
    folder = Path(__file__).parent / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_recipe(name_or_path: str | Path) -> Recipe:
    """Return a recipe by its name, or from a file.

    Parameters
    ----------
    name_or_path : str or Path
        A name of `bundled_recipes`, or a YAML file.

    Raises
    ------
    ModelError
        When there is none, or it is not what a recipe of its kind should be.
    """
    bundled = bundled_recipes()
    path = bundled.get(str(name_or_path), Path(name_or_path))
    if path.suffix not in FILE_ENDINGS or not path.is_file():
        found = f"There is no recipe '{name_or_path}'."
        names = ", ".join(bundled)
        raise ModelError(found, f"Choose one of: {names}; or give a YAML file.")
    content = _parse(path)
    kind = str(content.get("kind"))
    if kind not in KINDS:
        known = ", ".join(KINDS)
        raise _refused(path, f"its kind is '{kind}', expected one of: {known}")
    try:
        return class_of(kind).model_validate(content)
    except ValidationError as error:
        raise _refused(path, first_fault(error)) from error


def changed(recipe: Recipe, **fields: Any) -> Recipe:
    """Return a recipe with other values of some fields, checked like a file's.

    Raises
    ------
    ModelError
        When a value does not fit.
    """
    content = {**recipe.model_dump(), **fields}
    try:
        return type(recipe).model_validate(content)
    except ValidationError as error:
        found = (
            f"The recipe '{recipe.name}' cannot be changed so: {first_fault(error)}."
        )
        raise ModelError(found, "Choose another value.") from error


def with_settings(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """Return a recipe with other values, as words of a command line say them.

    Parameters
    ----------
    recipe : Recipe
    settings : sequence of str
        Such as ``batch=4`` or ``optimiser.rate=1e-4``; values are YAML.

    Raises
    ------
    ModelError
        When one is no setting, or does not fit.
    """
    content = recipe.model_dump()
    for setting in settings:
        path, is_said, value = setting.partition("=")
        *outer, last = path.split(".")
        place: Any = content
        for name in outer:
            place = place.get(name) if isinstance(place, dict) else None
        if not is_said or not isinstance(place, dict) or last not in place:
            found = f"The recipe '{recipe.name}' has no field '{path}'."
            raise ModelError(found, "Write FIELD=VALUE, such as optimiser.rate=1e-4.")
        place[last] = _value(value)
    return changed(recipe, **content)


def _value(text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        found = f"'{text}' is no value that a recipe could have."
        raise ModelError(found, "Write it as in a recipe's file.") from error
    # YAML takes 1e-4 for a word, for want of a point.
    with suppress(ValueError, TypeError):
        return float(value) if isinstance(value, str) else value
    return value


def class_of(kind: str) -> type[Recipe]:
    """Return the class that describes recipes of a kind of `KINDS`."""
    module, name = KINDS[kind].described_by
    return cast("type[Recipe]", getattr(importlib.import_module(module), name))


def _parse(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _refused(path, f"it is longer than {MAX_BYTES} bytes")
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise _refused(path, "it is not YAML") from error
    if not isinstance(content, dict):
        raise _refused(path, "it does not list a recipe's fields")
    return content


def _refused(path: Path, reason: str) -> ModelError:
    found = f"'{path.name}' is no recipe: {reason}."
    return ModelError(found, "Mend it, or start from a copy of a bundled recipe.")

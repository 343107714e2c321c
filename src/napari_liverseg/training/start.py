"""The model that a training begins from, and what it leaves in that model's place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.spec import ModelSpec
from napari_liverseg.models.store import STARTER, find_model
from napari_liverseg.models.two_stage import TwoStage
from napari_liverseg.training.segmentation_recipe import Names

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.models.contract import Model
    from napari_liverseg.training.segmentation_recipe import SegmentationRecipe

OWN_MODEL = f"Begin from '{STARTER}', or from a model that this program trained."


@dataclass(frozen=True, eq=False)
class Start:
    """A model of this program's own kind that is trained further.

    Parameters
    ----------
    model : ModelSpec or TwoStage
        As the plugin runs it.
    network : ModelSpec
        What is trained: the model itself, or the second of its two stages.
    """

    model: ModelSpec | TwoStage
    network: ModelSpec

    @property
    def has_finder(self) -> bool:
        """Whether a first stage, which stays as it is, finds the liver for it."""
        return isinstance(self.model, TwoStage)


def trained_part(model: Model) -> ModelSpec | None:
    """Return what of a model can be trained further, None where nothing can.

    Of two stages that is the second. Both must be of this program's own kind: the
    first is copied into the new model.
    """
    if isinstance(model, ModelSpec):
        return model
    if isinstance(model, TwoStage) and isinstance(model.finder, ModelSpec):
        return model.detail if isinstance(model.detail, ModelSpec) else None
    return None


def names_of(model: ModelSpec) -> Names:
    """Return the labels that a model was trained for; none are liver and its tumours.

    Raises
    ------
    ModelError
        When the recipe that it holds is broken.
    """
    try:
        recipe = yaml.safe_load(model.recipe)
        given = recipe.get("labels") if isinstance(recipe, dict) else None
        return Names.model_validate(given or {})
    except (yaml.YAMLError, ValidationError) as error:
        found = f"The recipe that the model '{model.name}' holds cannot be read."
        raise ModelError(found, "Copy the whole model folder again.") from error


def start_of(recipe: SegmentationRecipe) -> Start | None:
    """Return the model whose weights are the first ones, None without a start.

    Raises
    ------
    ModelError
        When there is none, it is of another maker's kind, or has other layers.
    """
    if recipe.start is None:
        return None
    model = find_model(recipe.start)
    network = trained_part(model)
    if network is None:
        which = "A stage of the model" if isinstance(model, TwoStage) else "The model"
        found = f"{which} '{model.name}' is of another kind than is trained here."
        raise ModelError(found, OWN_MODEL)
    if recipe.network is not None and recipe.network != network.network:
        found = f"The model '{model.name}' has other layers than '{recipe.name}' asks."
        step = "Take the recipe 'quick', which takes its layers from the model."
        raise ModelError(found, step)
    assert isinstance(model, ModelSpec | TwoStage)
    return Start(model, network)


def as_run(spec: ModelSpec, start: Start | None, folder: Path) -> ModelSpec | TwoStage:
    """Return a trained network as the plugin will run it.

    Parameters
    ----------
    spec : ModelSpec
        Says what the whole is called and how good it is.
    start : Start or None
        Where it has two stages, its first one stays in front.
    folder : Path
        Of the whole.
    """
    if start is None or not isinstance(start.model, TwoStage):
        return spec
    return start.model.with_detail(spec, folder)

"""The one call that trains a recipe, whatever its kind."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

from napari_liverseg.training.extra import require_train
from napari_liverseg.training.recipe import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_liverseg.training.order import Order, Trained
    from napari_liverseg.training.recipe import Recipe
    from napari_liverseg.training.watch import Ears

    Train = Callable[[Recipe, Order, Ears], Trained]


def train(recipe: Recipe, order: Order, ears: Ears) -> Trained:
    """Train a recipe on labelled cases, and return what became of it.

    Parameters
    ----------
    recipe : Recipe
        From `read_recipe`.
    order : Order
    ears : Ears
        Told of the progress; asked whether to stop.

    Raises
    ------
    MissingExtraError
        When the packages of the extra ``train`` are not installed.
    LiversegError
        See `segmentation.train`.
    """
    require_train()
    module = importlib.import_module(KINDS[recipe.kind].trained_by)
    return cast("Train", module.train)(recipe, order, ears)

"""A learning rate that falls when a network stops getting better."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import torch

from napari_liverseg.training.segmentation_recipe import Plateau

if TYPE_CHECKING:
    from napari_liverseg.training.segmentation_recipe import SegmentationRecipe


class PlateauRate:
    """torch's ReduceLROnPlateau on the Dice; nothing for other schedules.

    Parameters
    ----------
    recipe : SegmentationRecipe
        Its schedule; patience is counted in looks at the held-out cases.
    """

    def __init__(self, recipe: SegmentationRecipe) -> None:
        self._rate = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        self._plan: torch.optim.lr_scheduler.ReduceLROnPlateau | None = None
        if isinstance(recipe.schedule, Plateau):
            self._plan = torch.optim.lr_scheduler.ReduceLROnPlateau(
                self._rate,
                mode="max",
                factor=recipe.schedule.factor,
                patience=ceil(recipe.schedule.patience / recipe.validate_every),
                threshold_mode="abs",
                min_lr=recipe.schedule.lowest,
            )

    def after(self, dice: float, rate: float) -> float:
        """Return the rate that follows a rate with which this Dice was reached."""
        if self._plan is None:
            return rate
        self._rate.param_groups[0]["lr"] = rate
        self._plan.step(dice)
        return float(self._rate.param_groups[0]["lr"])

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {} if self._plan is None else dict(self._plan.state_dict())

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        if self._plan is not None:
            self._plan.load_state_dict(state)

"""When a network that has stopped getting better is trained no longer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_liverseg.training.segmentation_recipe import EarlyStopping


@dataclass
class Patience:
    """Early stopping: the last epoch in which the Dice rose by enough.

    Parameters
    ----------
    wanted : EarlyStopping or None
        None never loses patience.
    dice, epoch : float, int
        Of the last rise.
    """

    wanted: EarlyStopping | None
    dice: float = -1.0
    epoch: int = 0

    def note(self, dice: float, epoch: int) -> None:
        """Take the Dice of an epoch in which somebody looked."""
        least = self.wanted.least if self.wanted else 0.0
        if dice > self.dice + least:
            self.dice, self.epoch = dice, epoch

    def is_over(self, epoch: int) -> bool:
        """Whether training ends after an epoch."""
        if self.wanted is None or self.epoch == 0:
            return False
        return epoch - self.epoch >= self.wanted.patience

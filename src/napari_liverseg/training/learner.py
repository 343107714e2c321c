"""The network in training: its loss, its optimiser, its running average."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule

from napari_liverseg.core.errors import ModelError
from napari_liverseg.inference.groups import Groups
from napari_liverseg.inference.preprocessing import normalise
from napari_liverseg.models.network import build_network
from napari_liverseg.training.breakdown import Breakdown, BrokeDownError
from napari_liverseg.training.objective import make_loss
from napari_liverseg.training.two_planes import mend_two_planes

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.models.spec import ModelSpec
    from napari_liverseg.training.segmentation_recipe import SegmentationRecipe

EMA_RAMP = 10.0
"""Steps after which the running average begins to be slow."""


class Learner(LightningModule):
    """One network on its way through one fold.

    Parameters
    ----------
    recipe : SegmentationRecipe
    spec : ModelSpec
        Of the model that comes out.
    fold : int
    first : Module or None
        Network whose weights are the first ones; None draws them.
    """

    def __init__(
        self,
        recipe: SegmentationRecipe,
        spec: ModelSpec,
        fold: int,
        first: torch.nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.recipe, self.spec, self.fold = recipe, spec, fold
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed * 1000 + fold)
            self.network = build_network(spec.network)
        if first is not None:
            self.network.load_state_dict(first.state_dict())
        # Channels last: a third faster in float32 on CPUs, by measurement.
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.average: torch.nn.Module | None = None
        if recipe.ema is not None:
            self.average = copy.deepcopy(self.network).requires_grad_(
                requires_grad=False
            )
        mend_two_planes(self.network)
        self.loss = make_loss(recipe, spec.network)
        self.share = 0.0
        """How much of the training is over, for the schedule."""
        self.last_good: Path | None = None
        """The checkpoint to fall back on when training breaks down."""

    @property
    def best_guess(self) -> torch.nn.Module:
        """The network that is tested and kept: the running average, if there is one."""
        return self.network if self.average is None else self.average

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        """Return the loss of a batch of HU and labels, and weights where it is drawn.

        Raises
        ------
        ModelError
            When it is no number.
        """
        hu, labels, *places = batch
        image = normalise(hu, self.spec.hu_window)
        logits = self._as_taught(self.network(image).float())
        if self.recipe.loss != "liver-tumour":
            places = []  # no other loss weighs places
        loss = self.loss(logits, labels, *places)
        if not torch.isfinite(loss.detach()):
            reason = "the loss is no number"
            raise self.broken(reason)
        return loss

    def _as_taught(self, logits: torch.Tensor) -> torch.Tensor:
        """Return logits as the loss is to see them.

        A loss that weighs tumour teaches too much of it, which a run takes back; any
        other teaches what a run makes of them.
        """
        if self.recipe.loss == "liver-tumour" or self.spec.tumour_weight == 1.0:
            return logits
        groups = Groups(self.spec.output)  # channels come first there
        return groups.reduce(logits.transpose(0, 1)).transpose(0, 1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam or AdamW; `Watch` sets its rate."""
        wanted = self.recipe.optimiser
        kind = torch.optim.AdamW if wanted.type == "adamw" else torch.optim.Adam
        return kind(
            self.network.parameters(), lr=wanted.rate, weight_decay=wanted.weight_decay
        )

    def on_train_batch_start(self, _batch: Any, _index: int) -> None:
        """Seed what networks draw, such as dropout, by the step; set the rate."""
        seed = (self.recipe.seed, self.fold, self.global_step, self.global_rank)
        torch.manual_seed(abs(hash(seed)) % 2**31)
        if self.recipe.schedule.type == "cosine":
            warm = self.recipe.schedule.warm_up_steps
            rising = min(1.0, (self.global_step + 1) / (warm + 1))
            falling = 0.5 * (1 + math.cos(math.pi * min(self.share, 1.0)))
            self.set_rate(self.recipe.optimiser.rate * rising * falling)

    @torch.no_grad()
    def follow(self) -> None:
        """Move the running average towards the network, quickly at first."""
        if self.average is None or self.recipe.ema is None:
            return
        step = self.global_step
        keep = min(self.recipe.ema, (1 + step) / (EMA_RAMP + step))
        news = self.network.state_dict()
        for name, mean in self.average.state_dict().items():
            if mean.is_floating_point():
                mean.lerp_(news[name].to(mean.dtype), 1 - keep)
            else:
                mean.copy_(news[name])

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def set_rate(self, rate: float) -> None:
        """Give the optimiser another learning rate."""
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = rate

    def refuse_broken_weights(self) -> None:
        """Raise `ModelError` when some weight is no number, before it is kept."""
        for tensor in self.network.state_dict().values():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                reason = "some weights are no numbers"
                raise self.broken(reason)

    def broken(self, reason: str) -> ModelError:
        """Return the refusal of a training that cannot go on."""
        epoch = self.trainer.current_epoch + 1
        found = f"Training broke down in epoch {epoch}: {reason}."
        if self.last_good is None or not self.last_good.is_file():
            step = "Nothing was kept: lower the learning rate, or take precision fp32."
            return ModelError(found, step)
        return BrokeDownError(Breakdown(epoch, reason))

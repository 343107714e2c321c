"""What is done after each step and each epoch: look, note, keep, tell, stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from napari_liverseg.training.checkpoint_file import CHECKPOINT_FILE
from napari_liverseg.training.curves import (
    CURVES_FILE,
    Epoch,
    as_rows,
    from_rows,
    write_curves,
)
from napari_liverseg.training.look_at_held_out import dice_sums
from napari_liverseg.training.pace import Pace, say_duration
from napari_liverseg.training.patience import Patience
from napari_liverseg.training.rate import PlateauRate

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.core.progress import OnProgress
    from napari_liverseg.training.learner import Learner
    from napari_liverseg.training.prepared_case import PreparedCase
    from napari_liverseg.training.segmentation_recipe import SegmentationRecipe
    from napari_liverseg.training.stop import Stop

Value = TypeVar("Value")

OnEpoch = Callable[[Epoch, str], None]
"""Called with an epoch and the words for it."""


@dataclass(frozen=True)
class Ears:
    """Who is told of a training, and who may stop it.

    Parameters
    ----------
    on_progress : callable
        Told ``(done, total, text)`` after each step.
    on_epoch : callable
        Told of each epoch.
    stop : Stop
    """

    on_progress: OnProgress
    on_epoch: OnEpoch
    stop: Stop


class Watch(Callback):
    """Watches over one fold; its state is a part of the checkpoint.

    Parameters
    ----------
    recipe : SegmentationRecipe
    folder : Path
        Of the fold: checkpoint and curve.
    held_out : sequence of PreparedCase
        Cases that the network is tested on.
    ears : Ears
    minutes : float or None
        After which this fold is over.
    """

    def __init__(
        self,
        recipe: SegmentationRecipe,
        folder: Path,
        held_out: tuple[PreparedCase, ...],
        ears: Ears,
        minutes: float | None,
    ) -> None:
        self.recipe, self.folder, self.held_out = recipe, folder, held_out
        self.ears = ears
        self.pace = Pace(recipe.epochs * recipe.steps_per_epoch, minutes)
        self.epochs: list[Epoch] = []
        self.best: dict[str, torch.Tensor] = {}
        self.best_dice = -1.0
        self.patience = Patience(recipe.early_stopping)
        self.plateau = PlateauRate(recipe)
        self.was_stopped = False
        self._loss_sum, self._loss_count = 0.0, 0

    @property
    def checkpoint(self) -> Path:
        """Where the state is kept."""
        return self.folder / CHECKPOINT_FILE

    def on_train_start(self, trainer: Trainer, learner: LightningModule) -> None:
        """Tell the learner where its last good state will be, and hear of signals."""
        learner.last_good = self.checkpoint
        # Lightning has taken SIGTERM by now, and would end without saving.
        self.ears.stop.listen_again()
        # All processes have met here: one may have measured the fold before alone.
        self.pace.minutes = _of_the_first(trainer, self.pace.minutes)
        self.pace.start()
        # It was over already, but its model could not be written.
        trainer.should_stop = self._has_lost_patience

    def on_train_batch_start(
        self, trainer: Trainer, learner: LightningModule, _batch: Any, _index: int
    ) -> None:
        """Say how much of the training is over."""
        share = self.pace.share(trainer.global_step)
        if self.pace.minutes is not None:
            # By one clock, or the processes' networks would drift apart.
            share = _of_the_first(trainer, share)
        learner.share = share

    def on_train_batch_end(
        self,
        trainer: Trainer,
        learner: Learner,
        outputs: Any,
        _batch: Any,
        index: int,
    ) -> None:
        """Note the loss; between epochs' ends, save and stop where that is asked."""
        learner.follow()
        self._loss_sum += float(outputs["loss"])
        self._loss_count += 1
        self._tell(trainer)
        is_last = index + 1 >= self.recipe.steps_per_epoch
        if is_last:
            return
        if self._all_agree(trainer, self.ears.stop.is_asked):
            self.was_stopped = True
            self._save(trainer, learner)
            trainer.should_stop = True
        elif self._all_agree(trainer, self.pace.is_over):
            trainer.should_stop = True

    def on_train_epoch_end(
        self,
        trainer: Trainer,
        learner: Learner,
    ) -> None:
        """Look at the held-out cases, note the epoch, keep the best, save."""
        if self.was_stopped:
            return
        over = self._all_agree(trainer, self.pace.is_over)
        asked = self._all_agree(trainer, self.ears.stop.is_asked)
        epoch = self._note(trainer, learner, must_look=over)
        if epoch.dice is not None:
            self.patience.note(epoch.dice, epoch.epoch)
            if epoch.dice > self.best_dice:
                self.best_dice = epoch.dice
                self._keep(learner)
            learner.set_rate(self.plateau.after(epoch.dice, learner.rate))
        self._save(trainer, learner)
        if trainer.is_global_zero:
            write_curves(self.folder / CURVES_FILE, self.epochs)
            if trainer.logger is not None:
                trainer.logger.log_metrics(epoch.numbers(), step=epoch.step)
        self.ears.on_epoch(epoch, self._words(epoch))
        if over or self._has_lost_patience:
            trainer.should_stop = True
        elif asked:
            self.was_stopped = trainer.should_stop = True

    @property
    def _has_lost_patience(self) -> bool:
        """Whether the last epoch is the last one; nobody knows who did not look."""
        last = self.epochs[-1] if self.epochs else None
        if last is None or last.dice is None:
            return False
        return self.patience.is_over(last.epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return what the fold needs to go on as if nothing had happened."""
        return {
            "epochs": as_rows(self.epochs),
            "best": self.best,
            "best_dice": self.best_dice,
            "patience": (self.patience.dice, self.patience.epoch),
            "plateau": self.plateau.state,
            "seconds": self.pace.seconds,
            "loss": (self._loss_sum, self._loss_count),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what `state_dict` gave."""
        self.epochs = from_rows(state["epochs"])
        self.best = dict(state["best"])
        self.best_dice = float(state["best_dice"])
        self.patience.dice, self.patience.epoch = state["patience"]
        self.plateau.state = dict(state["plateau"])
        self.pace.before_s = float(state["seconds"])
        self._loss_sum, self._loss_count = state["loss"]

    def _note(self, trainer: Trainer, learner: Learner, *, must_look: bool) -> Epoch:
        """Return the row of the epoch that has just ended."""
        number = trainer.current_epoch + 1
        look = must_look or number % self.recipe.validate_every == 0
        dice, organ, lesion = None, None, None
        if look or number == self.recipe.epochs:
            dice, organ, lesion = self._look(trainer, learner)
        sums = torch.tensor([self._loss_sum, self._loss_count], dtype=torch.float64)
        loss, count = _summed(trainer, sums).tolist()
        self._loss_sum, self._loss_count = 0.0, 0
        epoch = Epoch(
            fold=learner.fold + 1,
            epoch=number,
            step=trainer.global_step,
            loss=loss / max(count, 1.0),
            dice=dice,
            organ_dice=organ,
            lesion_dice=lesion,
            rate=learner.rate,
            seconds=self.pace.seconds,
        )
        self.epochs.append(epoch)
        return epoch

    def _look(
        self, trainer: Trainer, learner: Learner
    ) -> tuple[float, float | None, float | None]:
        mine = self.held_out[trainer.global_rank :: trainer.world_size]
        sums = dice_sums(learner.best_guess, learner.spec, mine, learner.device)
        organ, lesion = (
            float(total / count) if count else None
            for total, count in _summed(trainer, sums)
        )
        there = [value for value in (organ, lesion) if value is not None]
        return sum(there) / len(there) if there else 0.0, organ, lesion

    def _keep(self, learner: Learner) -> None:
        weights = learner.best_guess.state_dict()
        self.best = {
            name: value.detach().cpu().clone() for name, value in weights.items()
        }

    def _save(self, trainer: Trainer, learner: Learner) -> None:
        learner.refuse_broken_weights()
        trainer.save_checkpoint(self.checkpoint)

    def _tell(self, trainer: Trainer) -> None:
        if not trainer.is_global_zero:
            return
        step, epoch = trainer.global_step, trainer.current_epoch + 1
        left = self.pace.left_s(step)
        loss = self._loss_sum / self._loss_count
        text = f"epoch {epoch} of {self.recipe.epochs}, loss {loss:.3f}"
        text += "" if left is None else f", {say_duration(left)} {self._left}"
        self.ears.on_progress(step, self.pace.steps, text)

    def _words(self, epoch: Epoch) -> str:
        said = f"epoch {epoch.epoch} of {self.recipe.epochs}: loss {epoch.loss:.3f}"
        for name, value in (
            ("organ", epoch.organ_dice),
            ("lesions", epoch.lesion_dice),
        ):
            said += "" if value is None else f", Dice of {name} {value:.3f}"
        left = self.pace.left_s(epoch.step)
        if left is None:
            return said
        return f"{said}, {say_duration(left)} {self._left} at most"

    @property
    def _left(self) -> str:
        """What the time left is of: nobody here knows of the folds to come."""
        return "left of this fold" if self.recipe.folds > 1 else "left"

    @staticmethod
    def _all_agree(trainer: Trainer, wanted: bool) -> bool:
        """Whether some process wants it; all of them must do the same."""
        if trainer.world_size == 1:
            return wanted
        return bool(trainer.strategy.reduce_boolean_decision(wanted, all=False))


def _of_the_first(trainer: Trainer, value: Value) -> Value:
    """Return what the first process has."""
    if trainer.world_size == 1:
        return value
    first: Value = trainer.strategy.broadcast(value)
    return first


def _summed(trainer: Trainer, values: torch.Tensor) -> torch.Tensor:
    """Return a sum over all processes, float64 on the CPU."""
    if trainer.world_size == 1:
        return values
    there = values.to(trainer.strategy.root_device, torch.float32)
    summed = trainer.strategy.reduce(there, reduce_op="sum")
    return torch.as_tensor(summed).to("cpu", torch.float64)

"""Training a classifier, from its first epoch or from its last checkpoint."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter

from napari_liverseg.core.errors import ModelError
from napari_liverseg.training.breakdown import (
    Breakdown,
    BrokeDownError,
    note_breakdown,
    read_breakdown,
)
from napari_liverseg.training.checkpoint_file import CHECKPOINT_FILE
from napari_liverseg.training.curves import BOARD_FOLDER, Epoch
from napari_liverseg.training.pace import Pace, say_duration
from napari_liverseg.training.patience import Patience
from napari_liverseg.training.picture_set import altered
from napari_liverseg.training.whole_file import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.models.classifier import Classifier
    from napari_liverseg.training.classifier_recipe import ClassifierRecipe
    from napari_liverseg.training.picture_split import PictureSplit
    from napari_liverseg.training.watch import Ears

MOST_AT_ONCE = 64
"""Pictures that are looked at together where nothing is learnt."""


@dataclass(frozen=True)
class ClassifierEpoch:
    """What is known at the end of an epoch; losses are means over pictures."""

    epoch: int
    loss: float
    validation_loss: float
    accuracy: float
    validation_accuracy: float
    rate: float
    seconds: float


@dataclass(frozen=True, eq=False)
class PictureData:
    """Pictures, their classes, and which of them are for what.

    Parameters
    ----------
    pictures : Tensor, uint8, shape (n, 1, size, size)
    labels : Tensor, int64, shape (n,)
    split : PictureSplit
    """

    pictures: torch.Tensor
    labels: torch.Tensor
    split: PictureSplit

    def batch(self, numbers: np.ndarray[Any, Any] | tuple[int, ...]) -> torch.Tensor:
        """Return pictures as float32 from 0 to 1."""
        return self.pictures[list(numbers)].float() / 255


@dataclass(eq=False)
class ClassifierFit:
    """A classifier on its way; its state is its checkpoint.

    Parameters
    ----------
    recipe : ClassifierRecipe
    network : Classifier
        On the device where it learns; at the end with the weights of the best epoch.
    data : PictureData
    folder : Path
        Of its checkpoint.
    ears : Ears
    """

    recipe: ClassifierRecipe
    network: Classifier
    data: PictureData
    folder: Path
    ears: Ears
    epochs: list[ClassifierEpoch] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    was_stopped: bool = False

    def __post_init__(self) -> None:
        """Make optimiser and schedule, and take up a checkpoint if there is one."""
        wanted, plan = self.recipe.optimiser, self.recipe.schedule
        self.device = next(self.network.parameters()).device
        kind = torch.optim.AdamW if wanted.type == "adamw" else torch.optim.Adam
        slow = wanted.rate * self.recipe.backbone_rate
        groups = [
            {"params": self.network.head.parameters(), "lr": wanted.rate},
            {"params": self.network.backbone.parameters(), "lr": slow},
        ]
        self.optimiser = kind(groups, weight_decay=wanted.weight_decay)
        self.plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser,
            factor=plan.factor,
            patience=plan.patience,
            min_lr=plan.lowest,
        )
        self.patience = Patience(self.recipe.early_stopping, dice=-math.inf)
        self.pace = Pace(self.recipe.epochs, self.recipe.minutes)
        trained = self.data.labels[list(self.data.split.train)]
        counts = torch.bincount(trained, minlength=self.network.head.out_features)
        self.weights = (len(trained) / (len(counts) * counts)).to(self.device)
        self._take_up()

    def run(self) -> None:
        """Train until it is over or somebody asks to stop.

        Raises
        ------
        ModelError
            When the loss is no number any more, before anything was kept; later
            the best network from before is what came of it, and that is noted.
        ExportError
            When the disk is full; the last checkpoint stays.
        """
        while not self._is_over() and read_breakdown(self.folder) is None:
            if self.ears.stop.is_asked:
                self.was_stopped = True
                return
            try:
                row = self._epoch()
            except BrokeDownError as error:
                note_breakdown(self.folder, error.breakdown)
                break
            self._save()
            self._show(row)
            self._tell(row)
        if self.best:
            self.network.load_state_dict(self.best)

    def _is_over(self) -> bool:
        done = len(self.epochs)
        return (
            done >= self.recipe.epochs
            or (done > 0 and self.pace.is_over)
            or self.patience.is_over(done)
        )

    def _epoch(self) -> ClassifierEpoch:
        number = len(self.epochs) + 1
        loss, accuracy = self._learn(number)
        scores = logits_of(self.network, self.data, self.data.split.validation)
        labels = self.data.labels[list(self.data.split.validation)]
        weights = self.weights.cpu()
        missed = float(functional.cross_entropy(scores, labels, weights))
        self._refuse_broken(missed, number)
        right = float((scores.argmax(1) == labels).double().mean())
        rate = float(self.optimiser.param_groups[0]["lr"])
        row = ClassifierEpoch(
            number, loss, missed, accuracy, right, rate, self.pace.seconds
        )
        if not self.epochs or missed < min(e.validation_loss for e in self.epochs):
            state = self.network.state_dict()
            self.best = {k: v.detach().cpu().clone() for k, v in state.items()}
        self.epochs.append(row)
        self.patience.note(-missed, number)
        if number > self.recipe.frozen_epochs:
            self.plateau.step(missed)
        return row

    def _learn(self, number: int) -> tuple[float, float]:
        """Learn from each training picture once; return loss and accuracy."""
        rng = np.random.default_rng((self.recipe.seed, 53, number))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed * 100_003 + number)  # of the dropout
            return self._steps(number, rng)

    def _steps(self, number: int, rng: np.random.Generator) -> tuple[float, float]:
        is_frozen = number <= self.recipe.frozen_epochs
        self.network.train()
        # Frozen means its running means and variances too.
        self.network.backbone.train(not is_frozen)
        self.network.backbone.requires_grad_(not is_frozen)
        order = rng.permutation(self.data.split.train)
        batches = np.array_split(order, max(1, len(order) // self.recipe.batch))
        loss_sum, right = 0.0, 0
        for chosen in batches:
            pictures = altered(self.data.batch(chosen), self.recipe.augmentation, rng)
            labels = self.data.labels[list(chosen)].to(self.device)
            logits = self.network(pictures.to(self.device))
            loss = functional.cross_entropy(logits, labels, self.weights)
            self._refuse_broken(float(loss.detach()), number)
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            loss_sum += float(loss.detach()) * len(chosen)
            right += int((logits.argmax(1) == labels).sum())
        return loss_sum / len(order), right / len(order)

    def _refuse_broken(self, loss: float, number: int) -> None:
        if math.isfinite(loss):
            return
        if self.best:
            raise BrokeDownError(Breakdown(number, "the loss is no number"))
        found = f"Training broke down in epoch {number}: the loss is no number."
        step = "Lower the learning rate, and train into another folder."
        raise ModelError(found, step)

    def _show(self, row: ClassifierEpoch) -> None:
        """Add an epoch to the curves on TensorBoard, where the disk has room."""
        with (
            suppress(OSError),
            SummaryWriter(str(self.folder / BOARD_FOLDER)) as board,
        ):
            for name, value in asdict(row).items():
                board.add_scalar(name, value, row.epoch)

    def _tell(self, row: ClassifierEpoch) -> None:
        text = (
            f"epoch {row.epoch} of {self.recipe.epochs}: loss {row.loss:.3f}, "
            f"validation {row.validation_loss:.3f}, right {row.validation_accuracy:.0%}"
        )
        left = self.pace.left_s(row.epoch)
        text += "" if left is None else f", {say_duration(left)} left at most"
        self.ears.on_progress(row.epoch, self.recipe.epochs, text.capitalize())
        plain = Epoch(
            1, row.epoch, row.epoch, row.loss, None, None, None, row.rate, row.seconds
        )
        self.ears.on_epoch(plain, text.capitalize())

    def _save(self) -> None:
        content = {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "plateau": self.plateau.state_dict(),
            "patience": (self.patience.dice, self.patience.epoch),
            "epochs": [asdict(epoch) for epoch in self.epochs],
            "best": self.best,
            "seconds": self.pace.seconds,
        }

        def write(part: Path) -> None:
            with part.open("wb") as file:
                torch.save(content, file)

        write_whole(self.folder / CHECKPOINT_FILE, write)

    def _take_up(self) -> None:
        path = self.folder / CHECKPOINT_FILE
        if not path.is_file():
            return
        try:
            state = torch.load(path, "cpu", weights_only=True)
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.plateau.load_state_dict(state["plateau"])
            self.patience.dice, self.patience.epoch = state["patience"]
            self.epochs = [ClassifierEpoch(**row) for row in state["epochs"]]
            self.best, self.pace.before_s = state["best"], state["seconds"]
        except Exception as error:  # torch raises its own kinds for a broken file
            found = f"The checkpoint {path} cannot be read."
            raise ModelError(found, "Train into another folder.") from error


@torch.inference_mode()
def logits_of(
    network: torch.nn.Module, data: PictureData, numbers: tuple[int, ...]
) -> torch.Tensor:
    """Return a network's answers to pictures as they are, (n, classes) on the CPU."""
    network.eval()
    device = next(network.parameters()).device
    parts = [
        network(data.batch(numbers[at : at + MOST_AT_ONCE]).to(device)).float().cpu()
        for at in range(0, len(numbers), MOST_AT_ONCE)
    ]
    return torch.cat(parts)

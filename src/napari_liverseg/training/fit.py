"""Training one fold, from its first step or from its last checkpoint."""

from __future__ import annotations

import logging
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from napari_liverseg.models.network import build_network
from napari_liverseg.synthesis.sample import PatchGrid
from napari_liverseg.training.breakdown import (
    BrokeDownError,
    note_breakdown,
    read_breakdown,
)
from napari_liverseg.training.checkpoint_file import WholeCheckpoints, read_checkpoint
from napari_liverseg.training.compute import Place, enough_memory, precision_for
from napari_liverseg.training.curves import BOARD_FOLDER
from napari_liverseg.training.drawn_patches import even_workers
from napari_liverseg.training.heap import kept_memory
from napari_liverseg.training.learner import Learner
from napari_liverseg.training.patches import Numbers, Patches, make_loader
from napari_liverseg.training.watch import Ears, Watch
from napari_liverseg.training.whole_file import disk_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_liverseg.models.spec import ModelSpec
    from napari_liverseg.training.prepared_case import PreparedCase
    from napari_liverseg.training.segmentation_recipe import SegmentationRecipe


@dataclass(frozen=True, eq=False)
class FoldWork:
    """One fold to train.

    Parameters
    ----------
    number : int
        From 0.
    folder : Path
        Of its checkpoint, curve and model.
    train, held_out : tuple of PreparedCase
    first : Module or None
        Network to begin with.
    minutes : float or None
    """

    number: int
    folder: Path
    train: tuple[PreparedCase, ...]
    held_out: tuple[PreparedCase, ...]
    first: torch.nn.Module | None
    minutes: float | None


@dataclass(frozen=True, eq=False)
class Fitted:
    """What came of a fold.

    Parameters
    ----------
    network : Module
        The best one, on the CPU.
    was_stopped : bool
        Whether somebody asked to stop before it was over.
    """

    network: torch.nn.Module
    was_stopped: bool


def fit_fold(
    recipe: SegmentationRecipe,
    spec: ModelSpec,
    work: FoldWork,
    place: Place,
    ears: Ears,
) -> Fitted:
    """Train a fold until it is over, and return its best network.

    A fold with a checkpoint goes on from there, with the same patches in the same
    order as if it had never been interrupted.

    A fold whose loss or weights are no numbers any more is over, where something was
    kept: its best network from before is what came of it. That is noted.

    Raises
    ------
    ModelError
        When that happens before anything was kept, or to one of several processes:
        the others end, and whoever goes on makes the model.
    ExportError
        When the disk is full; the last checkpoint stays.
    DeviceError
        When the devices are not there, lack the recipe's precision or memory.
    """
    watch = Watch(recipe, work.folder, work.held_out, ears, work.minutes)
    learner = Learner(recipe, spec, work.number, work.first)
    best: dict[str, torch.Tensor] = {}
    if read_breakdown(work.folder) is None:
        try:
            _fit(learner, watch, work, place)
            best = watch.best or learner.best_guess.cpu().state_dict()
        except BrokeDownError as error:
            note_breakdown(work.folder, error.breakdown)
            if place.world > 1:
                raise
    network = build_network(spec.network)
    network.load_state_dict(best or _best_before(learner, watch))
    return Fitted(network.eval(), watch.was_stopped)


def _fit(learner: Learner, watch: Watch, work: FoldWork, place: Place) -> None:
    """Train until the fold is over, from its checkpoint if there is one."""
    recipe, spec = learner.recipe, learner.spec
    checkpoint = watch.checkpoint if watch.checkpoint.is_file() else None
    step = read_checkpoint(checkpoint, watch.state_key).step if checkpoint else 0
    with _only_our_words():
        trainer = _trainer(recipe, work, place, watch)
        numbers = Numbers(
            recipe.steps_per_epoch,
            recipe.batch,
            trainer.global_rank,
            trainer.world_size,
            step,
        )
        grid = PatchGrid(spec.patch, spec.spacing_mm)
        world = trainer.world_size
        patches = Patches(work.train, grid, recipe, work.number, world)
        workers = place.drawing
        if recipe.drawn is not None and place.workers is None:
            workers = even_workers(workers)
        loader = make_loader(patches, numbers, workers, torch.cuda.is_available)
        board = disk_in_words(work.folder / BOARD_FOLDER)  # all else is write_whole's
        with kept_memory(), enough_memory(place.kind), board:
            trainer.fit(learner, loader, ckpt_path=checkpoint, weights_only=True)


def _best_before(learner: Learner, watch: Watch) -> dict[str, torch.Tensor]:
    """Return the best network of a checkpoint; the last one where none was tested."""
    kept = read_checkpoint(watch.checkpoint, watch.state_key)
    best: dict[str, torch.Tensor] = kept.watch["best"]
    if not best:
        learner.load_state_dict(kept.learner)
        best = learner.best_guess.cpu().state_dict()
    return best


def _trainer(
    recipe: SegmentationRecipe, work: FoldWork, place: Place, watch: Watch
) -> Trainer:
    options = place.trainer_options()
    plugins = [WholeCheckpoints(), *options.pop("plugins", [])]
    return Trainer(
        **options,
        plugins=plugins,
        precision=precision_for(recipe.precision, place.kind),
        max_epochs=recipe.epochs,
        gradient_clip_val=recipe.gradient_clip,
        callbacks=[watch],
        logger=TensorBoardLogger(work.folder, name="", version=BOARD_FOLDER),
        use_distributed_sampler=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


@contextmanager
def _only_our_words() -> Iterator[None]:
    """Keep Lightning's advice off the screen: the devices it misses, its loggers."""
    loggers = [logging.getLogger(name) for name in ("lightning", "lightning.pytorch")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", module="torch.distributed")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)

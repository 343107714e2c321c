"""The one model that a training leaves, and its place among the user's models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch

from napari_liverseg.core.errors import ExportError
from napari_liverseg.models.kinds import read_model
from napari_liverseg.models.network import load_network, save_model
from napari_liverseg.models.spec import ModelSpec, read_spec
from napari_liverseg.models.store import list_models, user_folder
from napari_liverseg.models.two_stage import TwoStage
from napari_liverseg.models.two_stage_folder import save_two_stage
from napari_liverseg.training.breakdown import sentences
from napari_liverseg.training.folds import FOLDS_FILE, read_folds
from napari_liverseg.training.order import RESULT_FILE, Order, Trained
from napari_liverseg.training.report import write_report
from napari_liverseg.training.start import as_run
from napari_liverseg.training.whole_file import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.training.start import Start


def assemble(order: Order, card: ModelSpec, folds: int, start: Start | None) -> Trained:
    """Put the folds' networks together as one model, and list it.

    A model that is there already is never replaced: the new one gets a number.

    Parameters
    ----------
    order : Order
    card : ModelSpec
        With the figures over all folds, and the name that the model gets, with the
        date, where the order gives none.
    folds : int
    start : Start or None
        Where it has two stages, the new model has its first one.

    Raises
    ------
    ModelError, ExportError
        When it cannot be written or proven.
    """
    parts = [
        load_network(read_spec(order.fold_folder(k) / "model")) for k in range(folds)
    ]
    network = parts[0] if folds == 1 else torch.nn.ModuleList(parts)
    name = free_name(order.name or f"{card.name}-{card.trained_on:%Y-%m-%d}")
    title = f"{card.title}, {card.trained_on:%Y-%m-%d}"
    own = {"name": name, "title": title, "networks": folds}
    spec = card.model_copy(update=own)
    whole = as_run(spec, start, order.model)
    saved = save_whole(network, whole, order.model)
    write_report(order.out, spec, read_folds(order.out / FOLDS_FILE), saved.card)
    # Listed late, or a training that goes on after a full disk would be listed twice.
    save_whole(network, whole, user_folder() / name)
    content = {"name": name, "sha256": saved.sha256}
    write_text(order.out / RESULT_FILE, json.dumps(content, indent=1) + "\n")
    return _trained(order, saved, folds)


def known_result(order: Order, folds: int) -> Trained | None:
    """Return what a training of so many folds came to if it is over, else None."""
    if not (order.out / RESULT_FILE).is_file():
        return None
    model = read_model(order.model)
    assert isinstance(model, ModelSpec | TwoStage)
    return _trained(order, model, folds)


def save_whole(
    network: torch.nn.Module, model: ModelSpec | TwoStage, folder: Path
) -> ModelSpec | TwoStage:
    """Write a model folder, of two stages where the model has them.

    Raises
    ------
    ExportError
        When the disk is full.
    ModelError
        When the weights are not finite, or the folder is none of a model.
    """
    try:
        if isinstance(model, TwoStage):
            return save_two_stage(network, model, folder)
        return save_model(network, model, folder)
    except OSError as error:
        found = f"The model could not be written to {folder}: {error.strerror}."
        raise ExportError(found, "Make room, then go on with --resume.") from error


def free_name(wanted: str) -> str:
    """Return a name that no model has: the wanted one, or with a number behind it."""
    home = user_folder()
    taken = {model.name for model in list_models()}
    taken |= {path.name for path in home.iterdir()} if home.is_dir() else set()
    names = (wanted if n == 1 else f"{wanted}-{n}" for n in range(1, len(taken) + 2))
    return next(name for name in names if name not in taken)


def _trained(order: Order, model: ModelSpec | TwoStage, folds: int) -> Trained:
    return Trained(
        order.model,
        model.name,
        order.report,
        figures=tuple(figure.line for figure in model.figures),
        broke_down=sentences(order.fold_folders(folds)),
    )

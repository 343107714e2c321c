"""The one model that a training leaves, and its place among the user's models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch

from napari_liverseg.core.errors import ExportError
from napari_liverseg.models.network import load_network, save_model
from napari_liverseg.models.spec import read_spec
from napari_liverseg.models.store import list_models, user_folder
from napari_liverseg.training.folds import FOLDS_FILE, read_folds
from napari_liverseg.training.order import Order, Trained
from napari_liverseg.training.report import write_report
from napari_liverseg.training.whole_file import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.models.spec import ModelSpec

RESULT_FILE = "result.json"


def assemble(order: Order, base: str, card: ModelSpec, folds: int) -> Trained:
    """Put the folds' networks together as one model, and list it.

    A model that is there already is never replaced: the new one gets a number.

    Parameters
    ----------
    order : Order
    base : str
        Name that the model gets, with the date, where the order names none.
    card : ModelSpec
        With the figures over all folds.
    folds : int

    Raises
    ------
    ModelError, ExportError
        When it cannot be written or proven.
    """
    parts = [
        load_network(read_spec(order.fold_folder(k) / "model")) for k in range(folds)
    ]
    network = parts[0] if folds == 1 else torch.nn.ModuleList(parts)
    name = free_name(order.name or f"{base}-{card.trained_on:%Y-%m-%d}")
    title = f"{card.title}, {card.trained_on:%Y-%m-%d}"
    own = {"name": name, "title": title, "networks": folds}
    spec = card.model_copy(update=own)
    saved = save_whole(network, spec, order.model)
    save_whole(network, spec, user_folder() / name)
    write_report(order.out, saved, read_folds(order.out / FOLDS_FILE))
    content = {"name": name, "sha256": saved.sha256}
    write_text(order.out / RESULT_FILE, json.dumps(content, indent=1) + "\n")
    return _trained(order, saved)


def known_result(order: Order) -> Trained | None:
    """Return what a training came to that is over already, else None."""
    if not (order.out / RESULT_FILE).is_file():
        return None
    return _trained(order, read_spec(order.model))


def save_whole(network: torch.nn.Module, spec: ModelSpec, folder: Path) -> ModelSpec:
    """Write a model folder, see `models.network.save_model`.

    Raises
    ------
    ExportError
        When the disk is full.
    ModelError
        When the weights are not finite, or the folder is none of a model.
    """
    try:
        return save_model(network, spec, folder)
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


def _trained(order: Order, model: ModelSpec) -> Trained:
    said = tuple(figure.line for figure in model.figures)
    return Trained(order.model, model.name, order.report, figures=said)

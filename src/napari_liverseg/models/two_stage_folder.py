"""A two-stage model of our own, written as one folder that needs nothing beside it."""

from __future__ import annotations

import math
import shutil
from typing import TYPE_CHECKING

from pydantic import ValidationError

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.foreign_file import first_fault
from napari_liverseg.models.network import load_network, save_model
from napari_liverseg.models.spec import ModelSpec
from napari_liverseg.models.two_stage import (
    DETAIL,
    FINDER,
    TWO_STAGE_FILE,
    TwoStage,
    TwoStageSpec,
    read_two_stage,
)
from napari_liverseg.models.whole_folder import write_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch

    from napari_liverseg.models.contract import Model


def save_two_stage(network: torch.nn.Module, model: TwoStage, folder: Path) -> TwoStage:
    """Write a copy of the first stage and a new second one, whole or not at all.

    Parameters
    ----------
    network : torch.nn.Module
        Of the second stage, see `models.network.save_model`.
    model : TwoStage
        Both stages are `ModelSpec`; the first lies in its folder.
    folder : Path
        Replaced where it holds such a model.

    Returns
    -------
    TwoStage
        As written.

    Raises
    ------
    ModelError
        When a stage is of another kind, the first is damaged or the network does
        not fit, or `folder` holds something else than a model.
    """
    detail = _own(model.detail)

    def put(place: Path) -> None:
        save_model(network, detail, place)

    return _write(model, put, folder)


def join(finder: Model, detail: Model, name: str, folder: Path) -> TwoStage:
    """Write copies of two models as one of two stages, whole or not at all.

    Parameters
    ----------
    finder, detail : Model
        Both of our own kind; their probabilities are averaged.
    name : str
        Of the whole.
    folder : Path
        Replaced where it holds such a model.

    Raises
    ------
    ModelError
        When one is of another kind or damaged, the first is the finer, they do not
        fit together, or `folder` holds something else than a model.
    """
    first, second = _own(finder), _own(detail)
    if math.prod(first.spacing_mm) < math.prod(second.spacing_mm):
        found = f"'{first.name}' works at finer voxels than '{second.name}'."
        step = "Give the coarser model first: it finds the liver."
        raise ModelError(found, step)
    model = TwoStage(
        name=name,
        title=f"{first.title}; close by: {second.title}",
        notice="; ".join(dict.fromkeys((first.notice, second.notice))),
        version=second.version,
        folder=folder,
        finder=first,
        detail=second,
        liver="both",
    )
    return _write(model, lambda place: _copy(second, place), folder)


def _own(model: Model) -> ModelSpec:
    if isinstance(model, ModelSpec):
        return model
    is_double = isinstance(model, TwoStage)
    kind = "two stages already" if is_double else "another maker's kind"
    found = f"The model '{model.name}' is of {kind}."
    raise ModelError(found, "Join single models that this program trained.")


def _write(
    model: TwoStage, put_detail: Callable[[Path], object], folder: Path
) -> TwoStage:
    finder = _own(model.finder)
    try:
        said = TwoStageSpec(
            name=model.name,
            title=model.title,
            notice=model.notice,
            version=model.version,
            finder=FINDER,
            detail=DETAIL,
            liver=model.liver,
            figures=model.figures,
        )
    except ValidationError as error:
        found = f"There can be no such model: {first_fault(error)}."
        raise ModelError(found, "Choose another name.") from error

    def write(fresh: Path) -> None:
        _copy(finder, fresh / FINDER)
        put_detail(fresh / DETAIL)
        text = said.model_dump_json(indent=2) + "\n"
        (fresh / TWO_STAGE_FILE).write_text(text, encoding="utf-8")
        read_two_stage(fresh)

    write_folder(folder, {TWO_STAGE_FILE, FINDER, DETAIL}, write)
    return read_two_stage(folder)


def _copy(model: ModelSpec, folder: Path) -> None:
    """Copy the two files of a model, and prove them."""
    folder.mkdir()
    for name in (model.spec_name, model.weights_name):
        shutil.copyfile(model.folder / name, folder / name)
    load_network(ModelSpec.read(folder))

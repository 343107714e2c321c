"""A two-stage model of our own, written as one folder that needs nothing beside it."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.network import load_network, save_model
from napari_liverseg.models.spec import ModelSpec
from napari_liverseg.models.two_stage import (
    TWO_STAGE_FILE,
    TwoStage,
    TwoStageSpec,
    read_two_stage,
)
from napari_liverseg.models.whole_folder import write_folder

if TYPE_CHECKING:
    from pathlib import Path

    import torch

FINDER, DETAIL = "finder", "detail"


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
    finder, detail = model.finder, model.detail
    if not isinstance(finder, ModelSpec) or not isinstance(detail, ModelSpec):
        found = f"A stage of the model '{model.name}' is of another maker's kind."
        raise ModelError(found, "Join models that this program trained.")
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

    def write(fresh: Path) -> None:
        _copy(finder, fresh / FINDER)
        save_model(network, detail, fresh / DETAIL)
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

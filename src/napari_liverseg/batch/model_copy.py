"""A model on another computer: found there, or sent there once."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from napari_liverseg.batch.order import Parcel, Refused
from napari_liverseg.batch.work import refusal_of
from napari_liverseg.core.data_folder import data_folder
from napari_liverseg.core.errors import DeviceError, ModelError
from napari_liverseg.models.bundle import MonaiBundle, read_bundle
from napari_liverseg.models.digest import digest_of
from napari_liverseg.models.mapping import find_mapping
from napari_liverseg.models.two_stage import (
    DETAIL,
    FINDER,
    in_liver_of,
    stages_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_liverseg.batch.order import ModelCard, StageCard
    from napari_liverseg.models.contract import Model

MOST_BYTES = 10**9
"""A larger model is copied to its workers by whoever runs them."""


def received_folder() -> Path:
    """Return the folder of models that were sent here, by their digest."""
    return data_folder() / "received-models"


def find_copy(card: ModelCard) -> Model | None:
    """Return the model of a card among those of this computer, or None.

    The name, the folders that it has where it comes from and what was received
    before are looked at; only a model that gives the same results counts.
    """
    for look in (_of_its_name, _where_it_comes_from, _received):
        try:
            model = look(card)
            is_it = digest_of(model) == card.digest
        except (ModelError, OSError):
            continue
        if is_it:
            return model
    return None


def read_files(model: Model) -> Parcel:
    """Return a model's files, those of both stages where it has two.

    Raises
    ------
    DeviceError
        When they are too large to be sent, or are code.
    ModelError
        When they cannot be read.
    """
    _refuse_code(model)
    try:
        paths = model.files
        size = sum(path.stat().st_size for path in paths.values())
        if size > MOST_BYTES:
            raise _too_large(model, size)
        return Parcel({name: path.read_bytes() for name, path in paths.items()})
    except OSError as error:
        found = f"The model '{model.name}' cannot be read ({error.strerror})."
        raise ModelError(found, "Copy its folder again from its source.") from error


def receive(card: ModelCard, parcel: Parcel) -> Refused | None:
    """Keep a model that was sent; return why it cannot be kept, or None.

    Its weights are checked as those of any model when it is loaded.
    """
    try:
        _keep(card, parcel.files)
    except OSError as error:
        found = f"It cannot be written there ({error.strerror or type(error).__name__})"
        step = "Make room on the worker's disk, and see that its user may write in the "
        return Refused(f"{found}.", f"{step}folder of its data.")
    except Exception as error:  # noqa: BLE001 - a worker logs what a raise would carry
        return refusal_of(error)
    return None


async def receive_sent(
    card: ModelCard, key: str, within_s: float, dask_worker: Any
) -> Refused | None:
    """Keep a model that lies in a worker's memory, beside whatever it computes.

    Parameters
    ----------
    card : ModelCard
    key : str
        Of its files there.
    within_s : float
        The worker counts as lost afterwards.
    dask_worker : distributed.Worker
        Where this runs; Dask gives it by that name.
    """
    kept = asyncio.to_thread(receive, card, dask_worker.data[key])
    return await asyncio.wait_for(kept, within_s)


def _of_its_name(card: ModelCard) -> Model:
    from napari_liverseg.models.store import find_model

    return find_model(card.name)


def _where_it_comes_from(card: ModelCard) -> Model:
    return _read(card, (Path(stage.folder) for stage in card.stages))


def _received(card: ModelCard) -> Model:
    return _read_copy(card, _own_folder(card))


def _own_folder(card: ModelCard) -> Path:
    """Return where a copy lies; a short name, since Windows has paths of 260."""
    return received_folder() / card.digest[:16]


def _read_copy(card: ModelCard, folder: Path) -> Model:
    """Return the model that lies in a folder as `contract.Model.files` names them."""
    parts = ("",) if card.liver is None else (FINDER, DETAIL)
    return _read(card, (folder / part for part in parts))


def _read(card: ModelCard, folders: Iterable[Path]) -> Model:
    """Return the model whose stages lie in some folders.

    They are put together as the card says, whatever finders and mappings of
    channels this computer has.
    """
    stages = [_stage(*pair) for pair in zip(folders, card.stages, strict=True)]
    if card.liver is None:
        return stages[0]
    finder, detail = stages
    return replace(in_liver_of(finder, detail), liver=card.liver)


def _stage(folder: Path, stage: StageCard) -> Model:
    from napari_liverseg.models.kinds import BUNDLE, place_of, read_model
    from napari_liverseg.models.totalsegmentator import read_folder

    place = place_of(folder) if folder.is_dir() else None
    if place is None or stage.channels is None:
        return read_model(folder)
    kind, at = place
    read = read_bundle if kind == BUNDLE else read_folder
    return read(at, stage.channels)


def _refuse_code(model: Model) -> None:
    """Refuse to send what a worker would have to run: only its own user trusts it."""
    if any(isinstance(s, MonaiBundle) and s.runs_code for s in stages_of(model)):
        found = (
            f"A worker does not have the model '{model.name}', whose own code builds "
            "its network; code is not sent."
        )
        step = "Add it there with 'napari-liverseg models add', if you trust it."
        raise DeviceError(found, step)


def _too_large(model: Model, size: int) -> DeviceError:
    found = (
        f"A worker has no model '{model.name}' like the one here, and its "
        f"{size / 1e9:.1f} GB are too much to be sent."
    )
    stages = stages_of(model)
    names = " and ".join(f"'{stage.name}'" for stage in stages)
    what = f"folders of {names}" if len(stages) > 1 else "model's folder"
    step = f"Copy the {what} to the workers' folder of models"
    if any(find_mapping(stage.name) is not None for stage in stages):
        step += ", and liverseg.json to their folder of data"
    return DeviceError(found, f"{step}.")


def _keep(card: ModelCard, files: Mapping[str, bytes]) -> None:
    place = received_folder()
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=place) as work:
        fresh = Path(work) / "fresh"
        for name, content in files.items():
            target = fresh / _inside(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        if digest_of(_read_copy(card, fresh)) != card.digest:
            found = "Its files do not say there what they say here."
            raise ModelError(found, "Choose the model again, and run again.")
        _settle(card, fresh)


def _settle(card: ModelCard, fresh: Path) -> None:
    """Put a copy in its place, unless another worker here has done so meanwhile."""
    target = _own_folder(card)
    if find_copy(card) is not None:
        return
    shutil.rmtree(target, ignore_errors=True)
    try:
        fresh.rename(target)
    except OSError:
        if find_copy(card) is None:
            raise
    if find_copy(card) is None:
        found = f"It was written to {target} and cannot be read there."
        raise ModelError(found, "Set NAPARI_LIVERSEG_DATA to a folder of a short path.")


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        found = "A model was sent with a file outside of its folder."
        raise ModelError(found, "Choose another model.")
    return path

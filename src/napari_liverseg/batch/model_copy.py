"""A model on another computer: found there, or sent there once."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from napari_liverseg.batch.order import digest_of
from napari_liverseg.core.data_folder import data_folder
from napari_liverseg.core.errors import DeviceError, ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from napari_liverseg.batch.order import ModelCard
    from napari_liverseg.models.contract import Model

MOST_BYTES = 10**9
"""A larger model is copied to its workers by whoever runs them."""

Files = dict[str, bytes]


def received_folder() -> Path:
    """Return the folder of models that were sent here, by their digest."""
    return data_folder() / "received-models"


def find_copy(card: ModelCard) -> Model | None:
    """Return the model of a card among those of this computer, or None.

    The name, the folder that it has where it comes from and what was received
    before are looked at; only a model that gives the same results counts.
    """
    from napari_liverseg.models.store import find_model

    for place in (card.name, card.folder, str(received_folder() / card.digest)):
        try:
            model = find_model(place)
        except ModelError:
            continue
        if digest_of(model) == card.digest:
            return model
    return None


def read_files(model: Model) -> Files:
    """Return a model's files by their path in its folder.

    Raises
    ------
    DeviceError
        When they are too large to be sent.
    """
    files = list(_files(model.folder))
    size = sum(path.stat().st_size for path in files)
    if size > MOST_BYTES:
        found = (
            f"A worker has no model '{model.name}' like the one here, and its "
            f"{size / 1e9:.1f} GB are too much to be sent."
        )
        step = "Copy the model's folder to the workers' folder of models."
        raise DeviceError(found, step)
    return {p.relative_to(model.folder).as_posix(): p.read_bytes() for p in files}


def receive(card: ModelCard, files: Mapping[str, bytes]) -> bool:
    """Keep a model that was sent, and return whether it is the one of the card.

    Its weights are checked as those of any model when it is loaded.
    """
    place = received_folder()
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=place) as work:
        fresh = Path(work) / "fresh"
        for name, content in files.items():
            target = fresh / _inside(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        target = place / card.digest
        if find_copy(card) is None:
            shutil.rmtree(target, ignore_errors=True)
            fresh.rename(target)
    return find_copy(card) is not None


def _files(folder: Path) -> Iterator[Path]:
    for where, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(where, name)
            if path.is_file() and not name.startswith("."):
                yield path


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        found = "A model was sent with a file outside of its folder."
        raise ModelError(found, "Choose another model.")
    return path

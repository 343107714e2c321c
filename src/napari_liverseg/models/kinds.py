"""The kinds of model folders, each told by its files and read by its own module."""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.bundle_config import METADATA_FILE
from napari_liverseg.models.foreign_file import readable
from napari_liverseg.models.spec import SPEC_FILE, WEIGHTS_FILE
from napari_liverseg.models.two_stage import TWO_STAGE_FILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_liverseg.models.contract import Model


@dataclass(frozen=True)
class Kind:
    """One kind of model folder.

    Parameters
    ----------
    title : str
    marks : tuple of str
        Files that tell it, relative to the folder; all are there.
    module, reader : str
        What reads a folder of this kind; loaded when there is one.
    named_folder : bool
        Whether the folder's own name says something that its files do not.
    """

    title: str
    marks: tuple[str, ...]
    module: str
    reader: str
    named_folder: bool = False

    def marks_of(self, folder: Path) -> bool:
        """Whether a folder has the files that tell this kind."""
        return all((folder / mark).is_file() for mark in self.marks)

    def read(self, folder: Path) -> Model:
        """Return the model of a folder.

        Raises
        ------
        ModelError
            When it cannot be used.
        """
        try:
            module = importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if error.name != self.module:
                raise
            found = f"{folder} is a model of the kind '{self.title}'."
            step = "This version cannot run such models; install a newer one."
            raise ModelError(found, step) from error
        reader = cast("Callable[[Path], Model]", getattr(module, self.reader))
        return reader(folder)


OWN = Kind("own", (SPEC_FILE,), "napari_liverseg.models.spec", "read_spec")
BUNDLE = Kind(
    "MONAI bundle", (METADATA_FILE,), "napari_liverseg.models.bundle", "read_bundle"
)
NNUNET = Kind(
    "nnU-Net",
    ("plans.json", "dataset.json"),
    "napari_liverseg.models.totalsegmentator",  # it knows some of them by name
    "read_folder",
    named_folder=True,  # trainer, plans and configuration
)

TWO_STAGE = Kind(
    "two-stage",
    (TWO_STAGE_FILE,),
    "napari_liverseg.models.two_stage",
    "read_two_stage",
)

KINDS = (OWN, BUNDLE, NNUNET, TWO_STAGE)

_FOLD = re.compile(r"fold_\d+")

DEPTH = 2
"""Folders around a model, as zips and nnU-Net put them."""


def place_of(folder: Path) -> tuple[Kind, Path] | None:
    """Return the kind and the place of the one model in a folder.

    The folder itself is looked at first, then what lies in it.

    Raises
    ------
    ModelError
        When several models lie in it side by side, or that of one fold alone.
    """
    level = [folder]
    for _ in range(DEPTH + 1):
        found = [(kind, at) for at in level for kind in KINDS if kind.marks_of(at)]
        if len(found) > 1:
            inside = (at.relative_to(folder).as_posix() for _, at in found)
            names = ", ".join(sorted(inside))
            problem = f"{folder} holds several models: {names}."
            raise ModelError(problem, "Choose the folder of one of them.")
        if found and _is_fold_of(found[0][1], folder):
            problem = f"{folder} is a training that has not ended."
            step = f"Go on with it ('train --resume'), or choose {found[0][1]}."
            raise ModelError(problem, step)
        if found:
            return found[0]
        level = [p for at in level for p in sorted(at.iterdir()) if p.is_dir()]
    return None


def _is_fold_of(at: Path, training: Path) -> bool:
    """Return whether a model is that of one fold of a training."""
    fold = at.parent
    is_fold = _FOLD.fullmatch(fold.name) is not None
    return at.name == "model" and fold.parent == training and is_fold


def read_model(folder: Path) -> Model:
    """Read a model's folder, whatever its kind, without its weights.

    Raises
    ------
    ModelError
        When it is none, or cannot be used.
    """
    with readable(folder):
        place = place_of(folder) if folder.is_dir() else None
        if place is not None:
            kind, at = place
            return kind.read(at)
    found = (
        f"{folder} is no model folder: it holds no {SPEC_FILE}, no "
        f"{METADATA_FILE}, no plans.json with a dataset.json."
    )
    step = f"Choose a folder with {SPEC_FILE} and {WEIGHTS_FILE}, a MONAI bundle "
    raise ModelError(found, f"{step}or an nnU-Net model.")

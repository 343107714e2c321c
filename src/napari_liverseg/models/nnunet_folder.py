"""A model folder as nnU-Net v2 leaves it after training, without nnU-Net."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.contract import Output
from napari_liverseg.models.foreign_file import (
    inside,
    read_json,
    refuse_absurd_weights,
    refused,
)
from napari_liverseg.models.mapping import find_mapping, map_channels
from napari_liverseg.models.nnunet_labels import read_labels
from napari_liverseg.models.nnunet_model import (
    CHECKPOINT,
    DATASET,
    DATASET_FILE,
    PLANS_FILE,
    NnUNetModel,
)
from napari_liverseg.models.nnunet_plans import read_plans, runnable_configurations

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from napari_liverseg.models.mapping import ChannelMapping
    from napari_liverseg.models.nnunet_plans import Plans

MAX_PLANS_BYTES = 5_000_000
MAX_DATASET_BYTES = 50_000_000
MAX_FOLDS = 20

TRAINER = "nnUNetTrainer"
"""Trainers of nnU-Net's own family build the network that the plans describe."""

NOT_CT = frozenset(
    {"mr", "mri", "t1", "t1w", "t2", "t2w", "flair", "pet", "us", "xray"}
)

NOTICE = "Not tested by this program's makers and not for clinical use."


@dataclass(frozen=True)
class Origin:
    """What is known of a folder that its files do not say.

    Parameters
    ----------
    title, notice, licence : str
        Empty where the files must do.
    orientation : {'RAS'} or None
        Axes that its maker turned every CT to beforehand.
    """

    title: str = ""
    notice: str = ""
    licence: str = ""
    orientation: Literal["RAS"] | None = None


def is_nnunet(folder: Path) -> bool:
    """Whether a folder means to be an nnU-Net's."""
    return (folder / PLANS_FILE).is_file() and (folder / DATASET_FILE).is_file()


def read_nnunet(
    folder: Path,
    configuration: str | None = None,
    folds: tuple[str, ...] | None = None,
    mapping: ChannelMapping | None = None,
    origin: Origin | None = None,
) -> NnUNetModel:
    """Read and check what an nnU-Net's folder says of it, without its weights.

    Parameters
    ----------
    folder : Path
        ``Trainer__Plans__configuration`` with `plans.json`, `dataset.json` and
        a folder a fold.
    configuration : str or None
        Needed where the folder's name does not tell it and plans have several.
    folds : tuple of str or None
        Such as ``("0", "1")`` or ``("all",)``; None takes every numbered fold.
    mapping : ChannelMapping or None
        What its channels are; None asks the user's file, then their names.
    origin : Origin or None
        What is known of it beside its files.

    Raises
    ------
    ModelError
        When it cannot be run, with the reason.
    """
    known = origin or Origin()
    dataset = read_json(folder, DATASET_FILE, MAX_DATASET_BYTES)
    raw = read_json(folder, PLANS_FILE, MAX_PLANS_BYTES)
    trainer, named = _from_name(folder.resolve().name)
    plans = read_plans(raw, configuration or named or _only(raw))
    _refuse_other_images(dataset)
    _refuse_other_trainers(trainer)
    labels = read_labels(dataset)
    name = _name(folder, plans, trainer)
    names = dict(enumerate(labels.names))
    channels = map_channels(names, name, mapping or find_mapping(name))
    output = Output(len(names), channels.liver, channels.tumour, labels.activation)
    seen = plans.input
    if known.orientation is not None:
        seen = replace(seen, orientation=known.orientation)
    return NnUNetModel(
        name,
        known.title or f"{_dataset(folder, plans)} ({plans.configuration})",
        known.notice or NOTICE,
        folder.resolve(),
        plans,
        labels,
        seen,
        output,
        _checkpoints(folder, folds),
        trainer,
        known.licence or _one_line(dataset.get("licence") or dataset.get("license")),
    )


def _from_name(name: str) -> tuple[str, str]:
    """Return trainer and configuration of ``Trainer__Plans__configuration``."""
    parts = name.split("__")
    return (parts[0], parts[2]) if len(parts) == 3 else ("", "")


def _only(plans: dict[str, Any]) -> str:
    names = runnable_configurations(plans)
    if len(names) != 1:
        reason = f"the folder's name does not tell which of {', '.join(names)} it is"
        step = "Name it as nnU-Net does: Trainer__Plans__configuration."
        raise refused(PLANS_FILE, reason[:300], step)
    return names[0]


def _refuse_other_images(dataset: dict[str, Any]) -> None:
    """Refuse models that need more than one image, or another kind of image."""
    channels = dataset.get("channel_names", dataset.get("modality"))
    if not isinstance(channels, dict) or not channels:
        raise refused(DATASET_FILE, "it does not say what images it needs")
    names = ", ".join(_one_line(name) for name in list(channels.values())[:8])
    if len(channels) != 1:
        reason = f"it needs {len(channels)} images a case ({names}), not one CT"
        raise refused(DATASET_FILE, reason, "Choose a model for CT alone.")
    if set(re.findall(r"[a-z0-9]+", names.lower())) & NOT_CT:
        reason = f"it was trained on '{names}', not on CT"
        raise refused(DATASET_FILE, reason, "Choose a model for CT.")


def _refuse_other_trainers(trainer: str) -> None:
    if trainer and not trainer.startswith(TRAINER):
        reason = f"its trainer '{trainer[:60]}' may build another network than they say"
        raise refused(PLANS_FILE, reason, "Use a model of nnU-Net's own trainers.")


def _checkpoints(folder: Path, folds: tuple[str, ...] | None) -> tuple[Path, ...]:
    """Return the checkpoint of each fold that was asked for, or of all numbered."""
    numbered = [m[1] for path in folder.iterdir() if (m := _fold(path.name))]
    wanted = folds or tuple(sorted(numbered, key=int)) or ("all",)
    if len(wanted) > MAX_FOLDS:
        found = f"{folder} has {len(wanted)} folds, more than {MAX_FOLDS}."
        raise ModelError(found, "Name a few of them.")
    odd = [fold for fold in wanted if fold != "all" and not _fold(f"fold_{fold}")]
    if odd:
        found = f"There is no fold '{odd[0][:40]}' of a model."
        raise ModelError(found, "Folds are numbers, or 'all'.")
    paths = tuple(inside(folder, f"fold_{fold}/{CHECKPOINT}") for fold in wanted)
    for path in paths:  # before an absurd one is hashed
        refuse_absurd_weights(path)
    return paths


def _fold(name: str) -> re.Match[str] | None:
    return re.fullmatch(r"fold_([0-9]{1,3})", name)


def _dataset(folder: Path, plans: Plans) -> str:
    """Return what the model was trained on: its folder's name, else the plans'."""
    parent = folder.resolve().parent.name
    named = parent if parent.startswith(DATASET) else plans.dataset
    return _one_line(named) or "nnU-Net"


def _name(folder: Path, plans: Plans, trainer: str) -> str:
    """Return a name that tells apart what lies side by side in nnU-Net's results."""
    parts = [_dataset(folder, plans)]
    if trainer not in ("", TRAINER):
        parts.append(trainer)
    if plans.name != "nnUNetPlans":
        parts.append(plans.name)
    parts.append(plans.configuration)
    return re.sub(r"[^a-z0-9._-]+", "-", "-".join(parts).lower()).strip("-._")[:100]


def _one_line(text: object) -> str:
    """Return text of a stranger's file in one line of printable characters."""
    words = "".join(c if c.isprintable() else " " for c in str(text or ""))
    return " ".join(words.split())[:120]

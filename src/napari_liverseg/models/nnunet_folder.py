"""A model folder as nnU-Net v2 leaves it after training, without nnU-Net."""

from __future__ import annotations

import datetime
import hashlib
import re
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from napari_liverseg.core.errors import ModelError
from napari_liverseg.core.probabilities import PostProcessing
from napari_liverseg.models.contract import Output, Windows
from napari_liverseg.models.foreign_file import (
    inside,
    read_json,
    refuse_absurd_weights,
    refused,
)
from napari_liverseg.models.known_weights import file_sha256, refuse_if_changed
from napari_liverseg.models.mapping import ChannelMapping, find_mapping, map_channels
from napari_liverseg.models.nnunet_labels import read_labels
from napari_liverseg.models.nnunet_plans import read_plans, runnable_configurations

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    import torch

    from napari_liverseg.models.contract import Input
    from napari_liverseg.models.nnunet_labels import LabelNames
    from napari_liverseg.models.nnunet_plans import Plans

PLANS_FILE = "plans.json"
DATASET_FILE = "dataset.json"
CHECKPOINT = "checkpoint_final.pth"

DATASET = "Dataset"
"""How the names of folders begin that tell what a model was trained on."""

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


@dataclass(frozen=True, eq=False)
class NnUNetModel:
    """One configuration of an nnU-Net v2 on disk, described but not loaded.

    Made by `read_nnunet`; see `contract.Model` for what is not listed here.

    Parameters
    ----------
    plans : Plans
    labels : LabelNames
    checkpoints : tuple of Path
        One a fold.
    trainer : str
        The class that trained it, as the folder's name says.
    licence : str
        Empty where nobody says.
    """

    name: str
    title: str
    notice: str
    folder: Path
    plans: Plans
    labels: LabelNames
    input: Input
    output: Output
    checkpoints: tuple[Path, ...]
    trainer: str
    licence: str

    @property
    def version(self) -> str:
        """Day on which its newest weights were written."""
        newest = max(path.stat().st_mtime for path in self.checkpoints)
        day = datetime.datetime.fromtimestamp(newest, tz=datetime.UTC)
        return f"{day:%Y-%m-%d}"

    @property
    def mapping(self) -> ChannelMapping:
        """What its channels are, as a user would say it in a file of mappings."""
        liver, tumour = (
            tuple(self.labels.names[channel] for channel in channels)
            for channels in (self.output.liver, self.output.tumour)
        )
        return ChannelMapping(liver, tumour)

    @property
    def files(self) -> dict[str, Path]:
        """Its description and the weights of its folds, none of nnU-Net's results.

        They name cases. The folder's own name and its dataset's are kept, since
        they say what the files do not.
        """
        kept = [self.folder.name]
        if self.folder.parent.name.startswith(DATASET):
            kept.insert(0, self.folder.parent.name)
        # Folds may be links, so that their places are not those of `checkpoints`.
        folds = self.folder.glob(f"fold_*/{CHECKPOINT}")
        weights = [path for path in folds if path.resolve() in self.checkpoints]
        described = [self.folder / name for name in (PLANS_FILE, DATASET_FILE)]
        return {
            "/".join((*kept, *path.relative_to(self.folder).parts)): path
            for path in (*described, *sorted(weights))
        }

    @property
    def layers(self) -> str:
        """The network that its plans describe."""
        return self.plans.architecture.model_dump_json()

    @property
    def post_processing(self) -> PostProcessing:
        """None, as nnU-Net's own predictor does none."""
        return PostProcessing(largest_component=False, fill_holes_cm2=0.0)

    @property
    def card(self) -> str:
        """A few lines for a tooltip or a terminal."""
        spacing = " x ".join(f"{s:g}" for s in self.input.spacing_mm or ())
        tumour = [self.labels.names[i] for i in self.output.tumour]
        lines = [
            f"{self.title}, weights of {self.version}",
            self.notice,
            f"nnU-Net v2, {self.plans.architecture.network}, {len(self.checkpoints)} "
            f"fold(s), trained by {self.trainer or 'an unnamed trainer'}.",
            f"Works at {spacing} mm along the network's axes.",
            f"Liver: {', '.join(self.labels.names[i] for i in self.output.liver)}; "
            f"tumour: {', '.join(tumour) or 'none'}.",
            f"Licence: {self.licence or 'not stated'}",
        ]
        return "\n".join(lines)

    @cached_property
    def windows(self) -> Windows:
        """How it is moved over a volume; the axes to mirror are in its weights.

        Raises
        ------
        ModelError
            The first fold's checkpoint is not what it should be.
        """
        from napari_liverseg.models.nnunet_checkpoint import read_fold

        return Windows(
            self.plans.patch,
            overlap=0.5,
            placement="nnunet",
            blend="nnunet",
            padding=0.0,
            mirror_axes=read_fold(self, self.checkpoints[0]).mirror_axes,
        )

    @cached_property
    def sha256(self) -> str:
        """Hash of the checkpoint, or of the hashes of all folds, in hex."""
        return self.hash_weights()

    def hash_weights(self) -> str:
        """Return the hash of the weights as they are on disk now, in hex."""
        hashes = [file_sha256(path) for path in self.checkpoints]
        if len(hashes) == 1:
            return hashes[0]
        return hashlib.sha256("".join(hashes).encode()).hexdigest()

    def load_networks(self) -> tuple[torch.nn.Module, ...]:
        """Return one network a fold, see `contract.Model.load_networks`.

        Raises
        ------
        ModelError
            The weights are not those of their first use, hold more than
            numbers, or do not fit the plans.
        MissingExtraError
            `dynamic-network-architectures` is not installed.
        """
        from napari_liverseg.models.nnunet_checkpoint import read_fold
        from napari_liverseg.models.nnunet_network import build_nnunet, fill

        now = self.hash_weights()
        if now != self.sha256:
            found = f"The weights in {self.folder} have changed while in use."
            raise ModelError(found, "Choose the model again.")
        refuse_if_changed(self.folder, now)
        return tuple(
            fill(
                build_nnunet(self.plans.architecture, self.output.channels),
                read_fold(self, path).weights,
                path.name,
            )
            for path in self.checkpoints
        )


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

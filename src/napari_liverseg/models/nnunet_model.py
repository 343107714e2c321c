"""One configuration of an nnU-Net v2, described but not loaded."""

from __future__ import annotations

import datetime
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import ModelError
from napari_liverseg.core.probabilities import PostProcessing
from napari_liverseg.models.contract import Windows
from napari_liverseg.models.known_weights import file_sha256, refuse_if_changed
from napari_liverseg.models.mapping import ChannelMapping

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from napari_liverseg.models.contract import Input, Output
    from napari_liverseg.models.nnunet_labels import LabelNames
    from napari_liverseg.models.nnunet_plans import Plans

PLANS_FILE = "plans.json"
DATASET_FILE = "dataset.json"
CHECKPOINT = "checkpoint_final.pth"

DATASET = "Dataset"
"""How the names of folders begin that tell what a model was trained on."""


@dataclass(frozen=True, eq=False)
class NnUNetModel:
    """One configuration of an nnU-Net v2 on disk, described but not loaded.

    Made by `nnunet_folder.read_nnunet`; see `contract.Model` for what is not listed
    here.

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

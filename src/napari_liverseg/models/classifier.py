"""From a classifier's files to a network that runs, and back."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.backbone import build_backbone
from napari_liverseg.models.classifier_spec import (
    CLASSIFIER_FILE,
    CLASSIFIER_WEIGHTS,
    ClassifierSpec,
)

if TYPE_CHECKING:
    from napari_liverseg.models.classifier_spec import EncoderSpec, ResNetSpec


class Classifier(nn.Module):
    """A backbone and one layer from its features to classes.

    It maps ``(batch, 1, rows, columns)`` from 0 to 1 to ``(batch, classes)`` logits.

    Parameters
    ----------
    backbone : ResNetSpec or EncoderSpec
    classes : int
    dropout : float
        Share of features that a training step leaves out.
    """

    def __init__(
        self, backbone: ResNetSpec | EncoderSpec, classes: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.backbone.features, classes)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Return one logit per class."""
        logits: torch.Tensor = self.head(self.dropout(self.backbone(picture)))
        return logits


def load_classifier(spec: ClassifierSpec) -> Classifier:
    """Return a classifier's network with its weights on the CPU, ready to infer.

    Raises
    ------
    ModelError
        When the weights are not those of the spec.
    """
    path = spec.folder / CLASSIFIER_WEIGHTS
    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != spec.sha256:
            raise _refused(spec, f"are not those that {CLASSIFIER_FILE} is of")
        weights = load_tensors(content)
        network = Classifier(spec.backbone, len(spec.classes))
        network.load_state_dict(weights)
    except (OSError, SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise _refused(spec, "are missing, or of another network") from error
    if not all(bool(torch.isfinite(t).all()) for t in weights.values()):
        raise _refused(spec, "hold values that are not numbers")
    return network.requires_grad_(requires_grad=False).eval()


def save_classifier(
    network: nn.Module, spec: ClassifierSpec, folder: Path
) -> ClassifierSpec:
    """Write weights and spec as a folder, whole or not at all.

    Parameters
    ----------
    network : Classifier
    spec : ClassifierSpec
        Its hash is replaced by that of the written weights.
    folder : Path
        Must not hold anything else than a classifier.

    Returns
    -------
    ClassifierSpec
        As written, bound to `folder`.

    Raises
    ------
    ModelError
        When the network does not fit the spec, or the folder holds something else.
    """
    files = {CLASSIFIER_FILE, CLASSIFIER_WEIGHTS}
    if folder.exists() and not {p.name for p in folder.iterdir()} <= files:
        found = f"{folder} exists and is no classifier."
        raise ModelError(found, "Choose another folder for the model.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    state = network.state_dict()
    content = save_tensors({k: v.detach().cpu().contiguous() for k, v in state.items()})
    digest = hashlib.sha256(content).hexdigest()
    written = spec.model_copy(update={"sha256": digest})
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as work:
        fresh = Path(work) / "fresh"
        fresh.mkdir()
        (fresh / CLASSIFIER_WEIGHTS).write_bytes(content)
        text = written.model_dump_json(indent=2) + "\n"
        (fresh / CLASSIFIER_FILE).write_text(text, encoding="utf-8")
        load_classifier(written.in_folder(fresh))
        if folder.exists():
            shutil.move(folder, Path(work) / "former")
        shutil.move(fresh, folder)
    return written.in_folder(folder.resolve())


def _refused(spec: ClassifierSpec, reason: str) -> ModelError:
    found = f"The weights of the classifier '{spec.name}' {reason}."
    return ModelError(found, "Copy the whole folder of the model again.")

"""From a classifier's files to a network that runs, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from napari_liverseg.models.backbone import build_backbone
from napari_liverseg.models.classifier_spec import EncoderSpec
from napari_liverseg.models.weights import load_weights, save_with_weights

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from napari_liverseg.models.classifier_spec import ClassifierSpec, ResNetSpec


class Classifier(nn.Module):
    """A backbone and one layer from its features, standardised or not, to classes.

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
        # A U-Net's features differ a hundredfold, which one layer cannot learn from.
        uneven = isinstance(backbone, EncoderSpec) and backbone.pooling == "levels"
        features = self.backbone.features
        self.norm = nn.BatchNorm1d(features, affine=False) if uneven else nn.Identity()
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, classes)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Return one logit per class."""
        # A single picture has no spread of its own.
        self.norm.train(self.training and len(picture) > 1)
        features = self.norm(self.backbone(picture))
        logits: torch.Tensor = self.head(self.dropout(features))
        return logits


def load_classifier(spec: ClassifierSpec) -> Classifier:
    """Return a classifier's network with its weights on the CPU, ready to infer.

    Raises
    ------
    ModelError
        When the weights are not those of the spec.
    """
    return load_weights(spec, lambda: Classifier(spec.backbone, len(spec.classes)))


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
    return save_with_weights(network, spec, folder, load_classifier)

"""The network of a `GatedSpec`: a classifier of slices before a U-Net."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from napari_liverseg.core.segmentation import LIVER
from napari_liverseg.models.classifier import Classifier
from napari_liverseg.models.resunet import ResUNet

if TYPE_CHECKING:
    from napari_liverseg.models.gated_spec import GatedSpec

SHUT = 10.0
"""How far the tumour's logit lies below the liver's in a closed slice.

That is a probability of less than half a step of the 8 bits in which it is kept.
More would let the rim of one closed window, or one of several networks, outvote
all open ones where logits are averaged.
"""


class Gated(nn.Module):
    """Maps ``(batch, 1, y, x)`` from 0 to 1 to ``(batch, 3, y, x)`` logits.

    In training a fourth channel has the gate's logit, the same at every pixel, and
    the others are the U-Net's own: both learn from one patch, neither through the
    other.

    Parameters
    ----------
    spec : GatedSpec
    """

    def __init__(self, spec: GatedSpec) -> None:
        super().__init__()
        self.cut_off = spec.cut_off
        self.gate = Classifier(spec.gate, classes=1, dropout=spec.dropout)
        self.unet = ResUNet(spec)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Return one logit per label, and in training the gate's."""
        logits: torch.Tensor = self.unet(picture)
        if self.training:
            said = self.gate(picture)[..., None, None].to(logits.dtype)
            return torch.cat([logits, said.expand(-1, -1, *logits.shape[2:])], dim=1)
        is_open = self.probability(picture) >= self.cut_off
        return torch.where(is_open[:, None, None, None], logits, as_liver(logits))

    def probability(self, picture: torch.Tensor) -> torch.Tensor:
        """Return how likely each picture bears tumour, float32, shape (batch,)."""
        said: torch.Tensor = self.gate(picture)
        return said[:, 0].float().sigmoid()


def as_liver(logits: torch.Tensor) -> torch.Tensor:
    """Return logits that call liver what was tumour.

    The probability of either stays, but for a part of 20,000.

    Parameters
    ----------
    logits : Tensor, shape (batch, 3, y, x)
        Of background, liver and tumour.
    """
    inside = torch.logsumexp(logits[:, LIVER:].float(), dim=1).to(logits.dtype)
    return torch.stack([logits[:, 0], inside, inside - SHUT], dim=1)

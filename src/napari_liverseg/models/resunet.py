"""The network of a `ResUNetSpec`: a residual encoder, skips and a way up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from monai.networks.blocks import Convolution
from torch import nn
from torch.nn import functional

from napari_liverseg.models.backbone import GREY_MEAN, GREY_SD, ResNetBackbone
from napari_liverseg.models.spec import Labels

if TYPE_CHECKING:
    from napari_liverseg.models.resunet_spec import ResUNetSpec


class ResUNet(nn.Module):
    """Maps ``(batch, 1, y, x)`` from 0 to 1 to ``(batch, 3, y, x)`` logits.

    Parameters
    ----------
    spec : ResUNetSpec
    """

    def __init__(self, spec: ResUNetSpec) -> None:
        super().__init__()
        self.encoder = ResNetBackbone(spec.encoder)
        stages = [self.encoder.net.bn1, *self._layers()]
        skips = [0, stages[0].num_features, *map(_features, stages[1:4])]
        below = self.encoder.features
        steps = []
        for own, skip in zip(spec.channels[::-1], skips[::-1], strict=True):
            steps.append(_Up(below + skip, own, spec.dropout))
            below = own
        self.up = nn.ModuleList(steps)
        self.head = nn.Conv2d(below, len(Labels.model_fields), kernel_size=1)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Return one logit per label."""
        net = self.encoder.net
        stem = net.act(net.bn1(net.conv1((picture - GREY_MEAN) / GREY_SD)))
        skips, found = [stem], net.maxpool(stem)
        for layer in self._layers():
            found = layer(found)
            skips.append(found)
        skips.pop()  # the bottom
        for step in self.up:
            found = step(found, skips.pop() if skips else None)
        logits: torch.Tensor = self.head(found)
        return logits

    def _layers(self) -> list[nn.Module]:
        net = self.encoder.net
        return [net.layer1, net.layer2, net.layer3, net.layer4]


class _Up(nn.Module):
    """Twice the pixels, joined with what the encoder had there, then convolved."""

    def __init__(self, given: int, made: int, dropout: float) -> None:
        super().__init__()
        common = {"norm": "batch", "act": "relu", "bias": False, "dropout": dropout}
        self.first = Convolution(2, given, made, **common)
        self.second = Convolution(2, made, made, **common)

    def forward(self, below: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
        found = functional.interpolate(below, scale_factor=2.0, mode="nearest")
        if skip is not None:
            found = torch.cat([found, skip], dim=1)
        made: torch.Tensor = self.second(self.first(found))
        return made


def _features(layer: nn.Module) -> int:
    """Return how many features a stage of a residual network gives."""
    norms = [part for part in layer.modules() if isinstance(part, nn.BatchNorm2d)]
    return int(max(norm.num_features for norm in norms))

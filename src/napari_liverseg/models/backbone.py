"""Networks from a picture to features, and the weights that they begin with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import torch
from monai.networks.nets import ResNet
from monai.networks.nets.resnet import get_inplanes
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.checkpoint import read_checkpoint
from napari_liverseg.models.classifier_spec import EncoderSpec, ResNetSpec
from napari_liverseg.models.foreign_file import refuse_absurd_weights
from napari_liverseg.models.network import build_network
from napari_liverseg.models.planar import Planar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_liverseg.models.spec import ModelSpec

LAYERS = {
    10: ("basic", [1, 1, 1, 1]),
    18: ("basic", [2, 2, 2, 2]),
    34: ("basic", [3, 4, 6, 3]),
    50: ("bottleneck", [3, 4, 6, 3]),
}

GREY_MEAN, GREY_SD = 0.449, 0.226
"""Of ImageNet, as mean over its three colours."""

LAYER = re.compile(r"layer\d+\.")
"""How names of all layers begin but the first and the last ones."""

Tensors = dict[str, torch.Tensor]


class ResNetBackbone(nn.Module):
    """A residual network without its last layer.

    It maps ``(batch, 1, rows, columns)`` from 0 to 1 to ``(batch, features)``.
    """

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self.spec = spec
        block, layers = LAYERS[spec.depth]
        self.net = ResNet(
            block,
            layers,
            get_inplanes(),
            spatial_dims=2,
            n_input_channels=1,
            conv1_t_stride=2,
            widen_factor=spec.width,
            feed_forward=False,
            bias_downsample=False,
        )
        self.features = int(self.net.in_planes)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Return the pooled features."""
        found: torch.Tensor = self.net((picture - GREY_MEAN) / GREY_SD)
        return found


class EncoderBackbone(nn.Module):
    """The way down of one of our own U-Nets, then each feature pooled.

    It maps ``(batch, 1, rows, columns)`` from 0 to 1 to ``(batch, features)``.
    """

    def __init__(self, spec: EncoderSpec) -> None:
        super().__init__()
        flat = spec.network.model_copy(update={"dimensions": 2})
        self.levels = nn.ModuleList(_way_down(build_network(flat)))
        self.pools_levels = spec.pooling == "levels"
        channels = spec.network.channels
        self.features = 2 * sum(channels) if self.pools_levels else channels[-1]

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Return the pooled features."""
        found = picture * 2 - 1  # as HU are clipped and mapped for the U-Net
        pooled: list[torch.Tensor] = []
        for level in self.levels:
            found = level(found)
            if self.pools_levels:
                pooled += [found.mean(dim=(2, 3)), found.amax(dim=(2, 3))]
        return torch.cat(pooled, 1) if pooled else found.mean(dim=(2, 3))


def build_backbone(
    spec: ResNetSpec | EncoderSpec,
) -> ResNetBackbone | EncoderBackbone:
    """Return a backbone with fresh weights; its ``features`` is their number."""
    if isinstance(spec, EncoderSpec):
        return EncoderBackbone(spec)
    return ResNetBackbone(spec)


def encoder_weights(model: ModelSpec) -> Tensors:
    """Return the encoder of a segmentation model as weights of `EncoderBackbone`.

    A kernel is summed along z. On a volume that is the same in every slice the
    network in two dimensions then computes what the one in three does.

    Parameters
    ----------
    model : ModelSpec
        Of several networks the first is taken.

    Raises
    ------
    ModelError
        When its weights are not those of its spec.
    """
    network = model.load_networks()[0]
    levels = nn.ModuleList(_way_down(network))
    return {
        f"levels.{name}": value.sum(2) if value.ndim == 5 else value.clone()
        for name, value in levels.state_dict().items()
    }


def resnet_weights(path: Path, backbone: ResNetBackbone) -> Tensors:
    """Return weights of a residual network in a file, for a picture in grey.

    Parameters
    ----------
    path : Path
        ``.safetensors``, or a checkpoint of PyTorch that holds tensors alone, with
        the names of torchvision, such as its ImageNet weights. Weights of three
        colours are summed: grey is the same in all of them.
    backbone : ResNetBackbone

    Raises
    ------
    ModelError
        When the file is missing, unreadable or absurdly long, or belongs to another
        network.
    """
    given = _tensors(path)
    expected: Mapping[str, torch.Tensor] = backbone.net.state_dict()
    _refuse_deeper(path, given, expected)
    weights = {}
    for name, wanted in expected.items():
        if name not in given:
            if name.endswith("num_batches_tracked"):
                weights[f"net.{name}"] = wanted
                continue
            raise _misfit(path, f"it lacks '{name}'")
        value = given[name].float() if wanted.is_floating_point() else given[name]
        if name == "conv1.weight" and value.ndim == 4 and value.shape[1] == 3:
            value = value.sum(1, keepdim=True)
        if value.shape != wanted.shape:
            shapes = f"{tuple(value.shape)}, not {tuple(wanted.shape)}"
            raise _misfit(path, f"'{name}' has shape {shapes}")
        if not bool(torch.isfinite(value).all()):
            raise _misfit(path, f"'{name}' holds values that are no numbers")
        weights[f"net.{name}"] = value.clone()
    return weights


def _tensors(path: Path) -> Tensors:
    if not path.is_file():
        found = f"There is no file of weights '{path}'."
        step = "Name the path of one that is there, or write 'hub' for ImageNet's."
        raise ModelError(found, step)
    try:
        refuse_absurd_weights(path)
        if path.suffix == ".safetensors":
            content: dict[str, Any] = load_file(path)
        else:
            content = read_checkpoint(path)
    except (SafetensorError, OSError) as error:
        raise _misfit(path, "it is no safetensors file") from error
    inner = content.get("state_dict", content)
    tensors = inner.items() if isinstance(inner, dict) else ()
    return {
        re.sub(r"^(module|backbone|net)\.", "", name): value
        for name, value in tensors
        if isinstance(value, torch.Tensor)
    }


def _refuse_deeper(
    path: Path, given: Tensors, expected: Mapping[str, torch.Tensor]
) -> None:
    """Refuse a network of more layers: all that a shallower one has is in its file."""
    for name in given:
        if LAYER.match(name) and name not in expected:
            raise _misfit(path, f"it also holds '{name}'")


def _misfit(path: Path, reason: str) -> ModelError:
    found = f"The weights '{path.name}' do not fit this network: {reason}."
    step = "Name the depth that they are of; those of 18, 34 and 50 layers fit."
    return ModelError(found, step)


def _way_down(network: nn.Module) -> list[nn.Module]:
    """Return the levels of MONAI's U-Net that lead down, the bottom included."""
    levels: list[nn.Module] = []
    unet: Any = network.net if isinstance(network, Planar) else network
    here: Any = unet.model
    while isinstance(here, nn.Sequential) and hasattr(here[1], "submodule"):
        levels.append(here[0])
        here = here[1].submodule
    return [*levels, here]

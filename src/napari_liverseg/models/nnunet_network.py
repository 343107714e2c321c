"""From an nnU-Net's plans and one checkpoint to a network that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from napari_liverseg.core.errors import MissingExtraError
from napari_liverseg.models.foreign_file import refused
from napari_liverseg.models.nnunet_architecture import PLANS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_liverseg.models.nnunet_architecture import Architecture

MAX_PARAMETERS = 1_000_000_000
"""Ten times the largest preset of nnU-Net."""


def build_nnunet(architecture: Architecture, channels: int) -> nn.Module:
    """Return a network without memory for its weights, on the meta device.

    Parameters
    ----------
    architecture : Architecture
    channels : int
        Labels or regions that it tells apart.

    Raises
    ------
    MissingExtraError
        When `dynamic-network-architectures` is not installed.
    ModelError
        When the arguments do not make a network, or one beyond reason.
    """
    try:
        from dynamic_network_architectures.architectures import unet
    except ImportError as error:
        package = "dynamic-network-architectures"
        raise MissingExtraError(package, "nnunet", "Running an nnU-Net") from error
    build = getattr(unet, architecture.network)
    try:
        with torch.device("meta"):
            network = build(**_arguments(architecture, channels))
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        reason = f"its network cannot be built ({str(error)[:100]})"
        raise refused(PLANS, reason) from error
    size = sum(p.numel() for p in network.parameters())
    if size > MAX_PARAMETERS:
        raise refused(PLANS, f"its network has {size} weights, which is beyond reason")
    if not isinstance(network, nn.Module):
        raise TypeError(type(network))
    return network


def fill(network: nn.Module, weights: object, name: str) -> nn.Module:
    """Return the network with weights of its own, ready to infer.

    Parameters
    ----------
    network : Module
        From `build_nnunet`; changed.
    weights : object
        What a checkpoint holds under ``network_weights``.
    name : str
        Of the checkpoint, for the refusal.

    Raises
    ------
    ModelError
        When a tensor is missing, foreign, of another shape or type, or not
        finite.
    """
    if not isinstance(weights, dict):
        raise refused(name, "it holds no weights of a network")
    tensors = _proven(weights, network.state_dict(), name)
    network.load_state_dict(tensors, assign=True)
    network.requires_grad_(requires_grad=False)
    return network.eval()


def _arguments(architecture: Architecture, channels: int) -> dict[str, Any]:
    """Return the arguments with classes in the place of their names."""
    given = architecture.model_dump(exclude={"network", "depth"})
    for name in ("conv_op", "norm_op", "dropout_op", "nonlin"):
        given[name] = getattr(nn, given[name]) if given[name] else None
    if architecture.network == "PlainConvUNet":
        if given.pop("stem_channels") is not None:
            raise refused(PLANS, "a PlainConvUNet has no stem_channels")
        given["n_conv_per_stage"] = architecture.depth
    else:
        if given.pop("nonlin_first"):
            raise refused(PLANS, "a ResidualEncoderUNet has no nonlin_first")
        given["n_blocks_per_stage"] = architecture.depth
    return {**given, "input_channels": 1, "num_classes": channels}


def _proven(
    weights: Mapping[object, object], expected: Mapping[str, torch.Tensor], name: str
) -> dict[str, torch.Tensor]:
    """Return the weights as float32 in memory of their own.

    Shapes are compared before anything is copied: a tensor of a few bytes can
    claim to be of any size.
    """
    for wanted in expected.keys() - weights.keys():
        raise refused(name, f"it lacks the tensor '{wanted}'")
    checked: dict[str, torch.Tensor] = {}
    copies: dict[tuple[int, tuple[int, ...]], torch.Tensor] = {}
    for key, tensor in weights.items():
        label = str(key)[:100]
        if not isinstance(key, str) or key not in expected:
            raise refused(name, f"its tensor '{label}' is none of the network's")
        proven = _plain(tensor, expected[key], label, name)
        # The same tensor lies under several names: encoder, and decoder's encoder.
        place = (proven.data_ptr(), tuple(proven.stride()))
        if place not in copies or copies[place].shape != proven.shape:
            copies[place] = _copied(proven, expected[key], label, name)
        checked[key] = copies[place]
    return checked


def _plain(
    tensor: object, expected: torch.Tensor, label: str, name: str
) -> torch.Tensor:
    if type(tensor) is not torch.Tensor and type(tensor) is not nn.Parameter:
        raise refused(name, f"'{label}' is no tensor")
    assert isinstance(tensor, torch.Tensor)
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        raise refused(name, f"'{label}' is no plain tensor")
    if tensor.shape != expected.shape:
        found, wanted = tuple(tensor.shape), tuple(expected.shape)
        raise refused(name, f"'{label}' has shape {found}, the network {wanted}")
    if tensor.is_floating_point() != expected.is_floating_point():
        raise refused(name, f"'{label}' is of type {tensor.dtype}")
    return tensor


def _copied(
    tensor: torch.Tensor, expected: torch.Tensor, label: str, name: str
) -> torch.Tensor:
    copied = tensor.detach().to(expected.dtype, copy=True).contiguous()
    if not bool(torch.isfinite(copied).all()):
        raise refused(name, f"'{label}' holds values that are not numbers")
    return copied

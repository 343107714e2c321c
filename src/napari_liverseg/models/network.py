"""From a model's files to a network that runs, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from monai.networks.nets import UNet

from napari_liverseg.models.gated_spec import GatedSpec
from napari_liverseg.models.planar import Planar
from napari_liverseg.models.resunet_spec import ResUNetSpec
from napari_liverseg.models.spec import Labels
from napari_liverseg.models.weights import load_weights, save_with_weights

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.models.spec import ModelSpec, NetworkSpec


def build_network(network: NetworkSpec) -> torch.nn.Module:
    """Return the network of a spec with fresh weights, in training mode.

    It maps ``(batch, 1, z, y, x)`` to one logit per label,
    ``(batch, 3, z, y, x)``; the spatial shape must be a multiple of
    ``network.reduction``, except for z in a network of two dimensions. In training
    that of a `GatedSpec` gives one logit more, see `gated.Gated`.
    """
    if isinstance(network, GatedSpec):
        from napari_liverseg.models.gated import Gated

        return Planar(Gated(network))
    if isinstance(network, ResUNetSpec):
        from napari_liverseg.models.resunet import ResUNet

        return Planar(ResUNet(network))
    unet: torch.nn.Module = UNet(
        spatial_dims=network.dimensions,
        in_channels=1,
        out_channels=len(Labels.model_fields),
        channels=network.channels,
        strides=network.strides,
        num_res_units=network.num_res_units,
        norm=None if network.norm == "none" else network.norm,
        dropout=network.dropout,
    )
    return unet if network.dimensions == 3 else Planar(unet)


def load_networks(model: ModelSpec) -> tuple[torch.nn.Module, ...]:
    """Return each network of a model by itself, see `load_network`."""
    loaded = load_network(model)
    return (loaded,) if model.networks == 1 else tuple(loaded.children())


def load_network(model: ModelSpec) -> torch.nn.Module:
    """Return a model's network with its weights on the CPU, ready to infer.

    Several networks come as one `torch.nn.ModuleList`, whose tensors have the
    network's number in front of their names.

    Parameters
    ----------
    model : ModelSpec
        From `find_model` or `read_spec`.

    Raises
    ------
    ModelError
        When the weights are not those of the spec: another hash, not a
        safetensors file, tensors missing or of another shape, NaN.
    """
    return load_weights(model, lambda: _build(model))


def save_model(network: torch.nn.Module, model: ModelSpec, folder: Path) -> ModelSpec:
    """Write weights and spec as a model folder, whole or not at all.

    The folder is written beside its place, loaded once as a proof, and only
    then put in place of what was there.

    Parameters
    ----------
    network : torch.nn.Module
        As `build_network` builds it from ``model.network``, or a
        `torch.nn.ModuleList` of ``model.networks`` of them.
    model : ModelSpec
        Its hash is replaced by that of the written weights.
    folder : Path
        The model folder; replaced where it exists.

    Returns
    -------
    ModelSpec
        The spec as written, bound to `folder`.

    Raises
    ------
    ModelError
        When the network does not fit the spec, or its weights are not finite,
        or `folder` holds something else than a model.
    """
    return save_with_weights(network, model, folder, load_network)


def _build(model: ModelSpec) -> torch.nn.Module:
    if model.networks == 1:
        return build_network(model.network)
    return torch.nn.ModuleList(
        build_network(model.network) for _ in range(model.networks)
    )

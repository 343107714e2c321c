"""First weights of an encoder, which somebody else has trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_liverseg.core.progress import ignore_progress
from napari_liverseg.models.backbone import ResNetBackbone, resnet_weights
from napari_liverseg.models.gated import Gated
from napari_liverseg.models.known_weights import file_sha256
from napari_liverseg.models.network import build_network
from napari_liverseg.models.planar import Planar
from napari_liverseg.models.resunet import ResUNet
from napari_liverseg.models.resunet_spec import ResUNetSpec
from napari_liverseg.training.hub_weights import weights_file
from napari_liverseg.training.planar_recipe import PlanarRecipe

if TYPE_CHECKING:
    from napari_liverseg.core.progress import OnProgress
    from napari_liverseg.training.segmentation_recipe import SegmentationRecipe


def pretrained(
    recipe: SegmentationRecipe, fold: int, on_progress: OnProgress = ignore_progress
) -> torch.nn.Module | None:
    """Return a fold's network with an encoder of the recipe's weights, else None.

    A gate before it begins from the same ones, where it is of the same layers.

    Parameters
    ----------
    recipe : SegmentationRecipe
    fold : int
        What is not in the file is drawn anew for each.
    on_progress : callable
        Told before weights are fetched.

    Raises
    ------
    ModelError
        When the file is missing, cannot be fetched, or is of another network.
    """
    if not isinstance(recipe, PlanarRecipe) or recipe.weights is None:
        return None
    assert isinstance(recipe.network, ResUNetSpec)
    file = weights_file(recipe.weights, recipe.network.depth, on_progress)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed * 1000 + fold)
        network = build_network(recipe.network)
    assert isinstance(network, Planar)
    for encoder in _encoders(network.net):
        encoder.load_state_dict(resnet_weights(file, encoder))
    return network


def weights_sha256(recipe: SegmentationRecipe) -> str | None:
    """Return the hash of the file that an encoder begins from, if any."""
    if not isinstance(recipe, PlanarRecipe) or recipe.weights is None:
        return None
    assert isinstance(recipe.network, ResUNetSpec)
    return file_sha256(weights_file(recipe.weights, recipe.network.depth))


def _encoders(net: torch.nn.Module) -> list[ResNetBackbone]:
    """Return the residual networks that begin from one file."""
    if not isinstance(net, Gated):
        assert isinstance(net, ResUNet)
        return [net.encoder]
    gate, encoder = net.gate.backbone, net.unet.encoder
    assert isinstance(gate, ResNetBackbone)
    return [encoder, gate] if gate.spec == encoder.spec else [encoder]

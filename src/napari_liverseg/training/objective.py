"""What a segmentation network is trained to lower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from monai.losses import DiceCELoss, DiceLoss
from torch import nn
from torch.nn import functional

from napari_liverseg.core.segmentation import TUMOUR
from napari_liverseg.models.gated_spec import GatedSpec
from napari_liverseg.training.loss import liver_tumour_loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_liverseg.models.spec import NetworkSpec
    from napari_liverseg.training.segmentation_recipe import SegmentationRecipe

    Loss = Callable[..., torch.Tensor]


def make_loss(recipe: SegmentationRecipe, network: NetworkSpec) -> Loss:
    """Return the loss of a recipe, from what a network gives and labels to a number.

    Logits are ``(batch, classes, z, y, x)``, labels ``(batch, 1, z, y, x)``. Dice is
    soft, without the background and over the whole batch, so that a patch without a
    lesion does not rule it. The loss ``liver-tumour`` takes the weights of places as
    its third argument.
    """
    loss = _segmentation_loss(recipe)
    return BothStages(loss) if isinstance(network, GatedSpec) else loss


def _segmentation_loss(recipe: SegmentationRecipe) -> Loss:
    if recipe.loss == "liver-tumour":
        return liver_tumour_loss
    common = {
        "include_background": False,
        "to_onehot_y": True,
        "softmax": True,
        "batch": True,
    }
    kind = DiceLoss if recipe.loss == "dice" else DiceCELoss
    loss: Loss = kind(**common)
    return loss


class BothStages(nn.Module):
    """The loss of a U-Net plus that of the gate before it.

    They share no weights, so each learns as it would alone, but for the limit that
    their gradients have in common.

    Parameters
    ----------
    segmentation : callable
        Loss of the U-Net's logits, as if there were no gate.
    """

    def __init__(self, segmentation: Loss) -> None:
        super().__init__()
        self.segmentation = segmentation

    def forward(self, given: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the sum of both.

        Parameters
        ----------
        given : Tensor, shape (batch, classes + 1, z, y, x)
            What `Gated` gives in training.
        labels : Tensor, shape (batch, 1, z, y, x)
        """
        where: torch.Tensor = self.segmentation(given[:, :-1], labels)
        return where + gate_loss(given[:, -1, :, 0, 0], labels)


def gate_loss(said: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the cross-entropy of a gate's logits against 'this slice bears tumour'.

    Parameters
    ----------
    said : Tensor, shape (batch, z)
    labels : Tensor, shape (batch, 1, z, y, x)
    """
    bears = (labels[:, 0] == TUMOUR).flatten(2).any(dim=2)
    return functional.binary_cross_entropy_with_logits(said, bears.to(said.dtype))

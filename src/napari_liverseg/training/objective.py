"""What a segmentation network is trained to lower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from monai.losses import DiceCELoss, DiceLoss
from torch import nn
from torch.nn import functional

from napari_liverseg.core.segmentation import TUMOUR
from napari_liverseg.models.gated_spec import GatedSpec

if TYPE_CHECKING:
    from napari_liverseg.models.spec import NetworkSpec
    from napari_liverseg.training.segmentation_recipe import SegmentationRecipe


def make_loss(recipe: SegmentationRecipe, network: NetworkSpec) -> nn.Module:
    """Return the loss of a recipe, from what a network gives and labels to a number.

    Logits are ``(batch, classes, z, y, x)``, labels ``(batch, 1, z, y, x)``. Dice is
    soft, without the background and over the whole batch, so that a patch without a
    lesion does not rule it.
    """
    common = {
        "include_background": False,
        "to_onehot_y": True,
        "softmax": True,
        "batch": True,
    }
    kind = DiceLoss if recipe.loss == "dice" else DiceCELoss
    loss: nn.Module = kind(**common)
    return BothStages(loss) if isinstance(network, GatedSpec) else loss


class BothStages(nn.Module):
    """The loss of a U-Net plus that of the gate before it.

    They share no weights, so each learns as it would alone, but for the limit that
    their gradients have in common.

    Parameters
    ----------
    segmentation : Module
        Loss of the U-Net's logits, as if there were no gate.
    """

    def __init__(self, segmentation: nn.Module) -> None:
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

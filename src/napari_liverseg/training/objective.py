"""What a segmentation network is trained to lower."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai.losses import DiceCELoss, DiceLoss

from napari_liverseg.training.loss import liver_tumour_loss

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from napari_liverseg.training.segmentation_recipe import SegmentationRecipe


def make_loss(recipe: SegmentationRecipe) -> Callable[..., torch.Tensor]:
    """Return the loss of a recipe, from logits and labels to a number.

    Logits are ``(batch, classes, z, y, x)``, labels ``(batch, 1, z, y, x)``. Dice is
    soft, without the background and over the whole batch, so that a patch without a
    lesion does not rule it. The loss ``liver-tumour`` takes a focus as its third
    argument.
    """
    if recipe.loss == "liver-tumour":
        return liver_tumour_loss
    common = {
        "include_background": False,
        "to_onehot_y": True,
        "softmax": True,
        "batch": True,
    }
    kind = DiceLoss if recipe.loss == "dice" else DiceCELoss
    loss: Callable[..., torch.Tensor] = kind(**common)
    return loss

"""What a liver and tumour network is trained to lower."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from napari_liverseg.core.segmentation import TUMOUR
from napari_liverseg.training.segmentation_recipe import TUMOUR_WEIGHT

if TYPE_CHECKING:
    from torch import Tensor

CLASS_WEIGHTS = (1.0, 1.0, TUMOUR_WEIGHT)
"""Cross-entropy weights of background, liver and tumour."""

TUMOUR_DICE_WEIGHT = 0.5
SMOOTH_VOXELS = 50.0
"""Voxels added to both sides of a Dice: an absent organ does not rule the batch."""


def liver_tumour_loss(
    logits: Tensor, labels: Tensor, places: Tensor | None = None
) -> Tensor:
    """Return cross-entropy + Dice loss of liver-or-tumour + half that of the tumour.

    Parameters
    ----------
    logits : Tensor, shape (batch, 3, z, y, x)
    labels : Tensor of int, shape (batch, 1, z, y, x)
        0 background, 1 liver, 2 tumour.
    places : Tensor, shape (batch, 1, z, y, x), optional
        How often the cross-entropy counts each voxel.

    Notes
    -----
    Dice is soft, over the whole batch [1]_.

    .. [1] Milletari et al., V-Net, 3DV 2016.
    """
    logits, labels = logits.float(), labels[:, 0]
    weights = torch.tensor(CLASS_WEIGHTS, device=logits.device)
    entropy = functional.cross_entropy(logits, labels.long(), weights, reduction="none")
    counts = weights[labels.long()]
    if places is not None:
        entropy, counts = entropy * places[:, 0], counts * places[:, 0]
    entropy = entropy.sum() / counts.sum()
    probabilities = logits.softmax(1)
    liver = _dice(1 - probabilities[:, 0], labels > 0)
    tumour = _dice(probabilities[:, TUMOUR], labels == TUMOUR)
    return entropy + (1 - liver) + TUMOUR_DICE_WEIGHT * (1 - tumour)


def _dice(probability: Tensor, mask: Tensor) -> Tensor:
    mask = mask.to(probability.dtype)
    both = 2 * (probability * mask).sum() + SMOOTH_VOXELS
    return both / (probability.sum() + mask.sum() + SMOOTH_VOXELS)

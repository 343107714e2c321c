"""From Hounsfield units to the numbers that a network was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_liverseg.inference.preprocessing import normalise

if TYPE_CHECKING:
    from napari_liverseg.models.contract import Normalisation

SMALLEST_SCALE = 1e-8
"""An image without contrast is divided by this, as nnU-Net does."""


def normalise_as(image: torch.Tensor, wanted: Normalisation) -> torch.Tensor:
    """Return an image in the numbers that a model wants, as new float32.

    Parameters
    ----------
    image : Tensor, any shape
        Hounsfield units.
    wanted : Normalisation
    """
    if wanted.clip is not None and _spans_one(wanted):
        # The bits that training saw: one home of our own normalisation.
        return normalise(image, wanted.clip)
    numbers = image.to(torch.float32, copy=True)
    if wanted.clip is not None:
        numbers.clamp_(*wanted.clip)
    shift, scale = _shift_and_scale(numbers, wanted)
    return numbers.sub_(shift).div_(max(scale, SMALLEST_SCALE))


def _spans_one(wanted: Normalisation) -> bool:
    """Whether the clipped range becomes -1..1."""
    if wanted.clip is None or wanted.statistics != "fixed":
        return False
    low, high = wanted.clip
    middle, half = (low + high) / 2, (high - low) / 2
    return (wanted.shift, wanted.scale) == (middle, half)


def _shift_and_scale(
    numbers: torch.Tensor, wanted: Normalisation
) -> tuple[float, float]:
    if wanted.statistics == "mean-sd":
        deviation, mean = torch.std_mean(numbers, correction=0)
        return float(mean), float(deviation)
    if wanted.statistics == "min-max":
        low, high = torch.aminmax(numbers)
        return float(low), float(high - low)
    return wanted.shift, wanted.scale

"""From logits to a label and two probabilities, by plain comparisons and sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_liverseg.models.contract import Output

Floats = NDArray[np.float32]

STEEP = 60.0
"""Logits are told apart up to this; beyond it exp would overflow in sums."""


def liver_or_tumour(logits: torch.Tensor, output: Output) -> Floats:
    """Return the probability of liver or tumour, a few planes at a time.

    Parameters
    ----------
    logits : Tensor, shape (channels, z, y, x)
    output : Output
        What the channels mean.

    Returns
    -------
    ndarray of float32, shape (z, y, x)
    """
    wanted = torch.tensor((*output.liver, *output.tumour))
    found = np.empty(logits.shape[1:], np.float32)
    for index in range(logits.shape[1]):
        plane = logits[:, index].float()
        if output.activation == "sigmoid":
            inside = plane[wanted].amax(dim=0).sigmoid()
        else:
            inside = plane.softmax(dim=0)[wanted].sum(dim=0)
        found[index] = inside.cpu().numpy()
    return found


def decide_plane(planes: Sequence[Floats], output: Output) -> NDArray[np.uint8]:
    """Return the model's own decision: 0 background, 1 liver, 2 tumour.

    One plane of each channel. Under ``softmax`` the channel with the largest
    logit wins, the first of equal ones; comparisons are many times cheaper
    than argmax. Under ``sigmoid`` regions above 0 (probability 0.5) count, the
    tumour over the liver.
    """
    nothing = np.full_like(planes[0], -np.inf)
    liver = _largest([planes[i] for i in output.liver] or [nothing])
    rival = np.zeros_like(liver)
    if output.activation == "softmax":
        rival = _largest([planes[i] for i in _others(output)])
    is_tumour = np.zeros(liver.shape, np.bool_)
    if output.tumour:
        tumour = _largest([planes[i] for i in output.tumour])
        is_tumour = tumour > rival
        if output.activation == "softmax":
            is_tumour &= tumour > liver
    inside = (liver > rival) | is_tumour
    labels: NDArray[np.uint8] = inside.view(np.uint8) + is_tumour.view(np.uint8)
    return labels


def believe_plane(planes: Sequence[Floats], output: Output) -> tuple[Floats, Floats]:
    """Return the probabilities of liver or tumour and of tumour, 0..1."""
    if output.activation == "sigmoid":
        liver, tumour = (
            _sigmoid(_largest([planes[i] for i in known]))
            if known
            else np.zeros_like(planes[0])
            for known in (output.liver, output.tumour)
        )
        return np.maximum(liver, tumour), tumour
    first = _others(output)[0]
    total = np.ones_like(planes[first])
    inside, tumour = np.zeros_like(total), np.zeros_like(total)
    for index, plane in enumerate(planes):
        if index == first:
            continue
        share = np.exp(np.clip(plane - planes[first], -STEEP, STEEP))
        total += share
        if index in output.liver or index in output.tumour:
            inside += share
        if index in output.tumour:
            tumour += share
    return inside / total, tumour / total


def _others(output: Output) -> list[int]:
    known = (*output.liver, *output.tumour)
    return [i for i in range(output.channels) if i not in known]


def _largest(planes: Sequence[Floats]) -> Floats:
    largest = planes[0]
    for plane in planes[1:]:
        largest = np.maximum(largest, plane)
    return largest


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -STEEP, STEEP))), np.float32)

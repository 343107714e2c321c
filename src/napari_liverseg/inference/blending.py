"""How much a voxel of a window counts, by its place in the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.data.utils import compute_importance_map
from scipy import ndimage

if TYPE_CHECKING:
    from napari_liverseg.models.contract import Windows

SIGMA = 0.125
"""Standard deviation of both Gaussians, in windows."""

PEAK = 10.0
"""Largest weight of nnU-Net's Gaussian."""


def window_weights(windows: Windows) -> torch.Tensor:
    """Return the weight of each voxel of a window, float32, all above 0.

    ``gaussian`` and ``constant`` are MONAI's importance maps, ``nnunet`` is a
    filtered impulse whose zeros take the smallest weight
    (`compute_gaussian` of nnU-Net v2).
    """
    if windows.blend == "nnunet":
        impulse = np.zeros(windows.patch)
        impulse[tuple(n // 2 for n in windows.patch)] = 1.0
        sigmas = [n * SIGMA for n in windows.patch]
        weights = ndimage.gaussian_filter(impulse, sigmas, mode="constant", cval=0.0)
        weights *= PEAK / weights.max()
        weights[weights == 0] = weights[weights > 0].min()
        return torch.from_numpy(weights.astype(np.float32))
    mode = "constant" if windows.blend == "constant" else "gaussian"
    monais: torch.Tensor
    monais = compute_importance_map(windows.patch, mode=mode, sigma_scale=SIGMA)
    return monais

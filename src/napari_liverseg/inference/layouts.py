"""Instance norm that leaves a window's memory layout as it is.

PyTorch's own copies a channels-last window to channels-first, and the convolution
behind it copies it back.
Of a single window the instance is the batch, and batch norm keeps the layout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterable

FEW_CHANNELS = 8
"""Of fewer, copies take less than a sum over voxels of so many neighbours."""

CHUNK_VOXELS = 16_384
"""Voxels that are added up at a time: they stay in a processor's cache."""

SOME_VOXELS = 1000
"""Voxels, evenly spread, whose mean is near enough to that of all."""


class LayoutKeepingNorm(torch.nn.InstanceNorm3d):
    """`InstanceNorm3d` whose answer lies in memory as its input does.

    For what is not a single channels-last window it is its parent, to the bit.
    """

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Return windows, shape (n, channels, z, y, x), normalised each by itself."""
        if not _is_kept(windows) or self.track_running_stats:
            return super().forward(windows)
        if windows.device.type != "cpu" or torch.compiler.is_compiling():
            return functional.batch_norm(
                windows, None, None, self.weight, self.bias, training=True, eps=self.eps
            )
        with torch.autocast("cpu", enabled=False):
            mean, variance = _moments(windows)
        return functional.batch_norm(
            windows, mean, variance, self.weight, self.bias, eps=self.eps
        )


def keep_layouts(networks: Iterable[torch.nn.Module]) -> None:
    """Make the instance norms of networks `LayoutKeepingNorm`, weights untouched."""
    for network in networks:
        for module in network.modules():
            if type(module) is torch.nn.InstanceNorm3d:
                module.__class__ = LayoutKeepingNorm


def _is_kept(windows: torch.Tensor) -> bool:
    """Whether these are one window, channels last, of more than a few channels."""
    count, channels = windows.shape[:2]
    is_last = windows.is_contiguous(memory_format=torch.channels_last_3d)
    is_first = windows.is_contiguous()
    return count == 1 and channels >= FEW_CHANNELS and is_last and not is_first


def _moments(window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and variance of each channel, float32.

    A CPU's batch norm adds a channels-last window up voxel by voxel in float32, and
    takes rounding errors of a channel that hardly changes, as in air, for its contrast.
    So voxels are taken relative to the mean of some, and chunks are added up in
    float64; autocast, which would multiply in bfloat16, is kept out.
    """
    channels = window.shape[1]
    voxels = window.permute(0, 2, 3, 4, 1).reshape(-1, channels)
    pivot = voxels[:: max(1, len(voxels) // SOME_VOXELS)].float().mean(0)
    ones = torch.ones(1, CHUNK_VOXELS)
    first, second = torch.zeros(2, channels, dtype=torch.float64)
    for chunk in torch.split(voxels, CHUNK_VOXELS):
        apart = chunk - pivot
        add_up = ones[:, : len(apart)]
        first += (add_up @ apart)[0]
        second += (add_up @ apart.square_())[0]
    mean = first / len(voxels)
    variance = (second / len(voxels) - mean.square()).clamp_min(0.0)
    return (pivot + mean).float(), variance.float()

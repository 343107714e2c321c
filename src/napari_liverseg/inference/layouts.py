"""Instance norm that leaves a window's memory layout as it is.

PyTorch's own copies a channels-last window to channels-first; the convolution behind
it copies it back, and with nnU-Net's networks copies take as long as the arithmetic.
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

SLAB_VOXELS = 131_072
"""PyTorch adds channels-last voxels up one after the other: of a million, float32
loses a thousandth of a standard deviation, of so many a tenth of that."""


class LayoutKeepingNorm(torch.nn.InstanceNorm3d):
    """`InstanceNorm3d` whose answer lies in memory as its input does.

    For what is not a single channels-last window it is its parent, to the bit.
    """

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Return windows, shape (n, channels, z, y, x), normalised each by itself."""
        count, channels = windows.shape[:2]
        is_plain = count != 1 or channels < FEW_CHANNELS or windows.is_contiguous()
        if is_plain or self.track_running_stats:
            return super().forward(windows)
        if _adds_up_badly(windows):
            mean, variance = _moments(windows)
            return functional.batch_norm(
                windows, mean, variance, self.weight, self.bias, eps=self.eps
            )
        return functional.batch_norm(
            windows, None, None, self.weight, self.bias, training=True, eps=self.eps
        )


def keep_layouts(networks: Iterable[torch.nn.Module]) -> None:
    """Make the instance norms of networks `LayoutKeepingNorm`, weights untouched."""
    for network in networks:
        for module in network.modules():
            if type(module) is torch.nn.InstanceNorm3d:
                module.__class__ = LayoutKeepingNorm


def _adds_up_badly(window: torch.Tensor) -> bool:
    """Whether PyTorch's own sums lose more than the number format does."""
    is_exact = window.dtype == torch.float32 and window.device.type == "cpu"
    return is_exact and not torch.compiler.is_compiling()


def _moments(window: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and variance of each channel, put together from slabs of planes."""
    planes = max(1, SLAB_VOXELS // window[0, 0, 0].numel())
    slabs = torch.split(window, planes, dim=2)
    found = [torch.batch_norm_update_stats(slab, None, None, 0.0) for slab in slabs]
    means, variances = (torch.stack(each).double() for each in zip(*found, strict=True))
    share = torch.tensor([[slab.shape[2] / window.shape[2]] for slab in slabs])
    mean = (means * share).sum(0)
    variance = ((variances + (means - mean).square()) * share).sum(0)
    return mean.float(), variance.float()

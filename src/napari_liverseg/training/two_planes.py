"""Gradients of windows that are two planes deep, as PyTorch should give them.

On processors that multiply bfloat16 without matrix units (AVX512-BF16, no AMX) PyTorch
2.13 leaves parts of them unset: of a convolution three planes deep over an image of
two, oneDNN 3.12 does not write the whole gradient of the weights. What lay in memory
before is learnt then, be it numbers or not. A third, empty plane is what such a
convolution sees there anyway; with it the gradient is whole and the result the same.
"""

from __future__ import annotations

import torch
from torch.nn import functional


class WholeGradient(torch.nn.Conv3d):
    """A convolution with kernel 3, step 1 and edge 1 along z."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return what `Conv3d` does."""
        is_half = image.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        if not is_half or image.shape[2] != 2:
            return super().forward(image)
        third = functional.pad(image, (0, 0, 0, 0, 0, 1))
        return super().forward(third)[:, :, :2]


def mend_two_planes(network: torch.nn.Module) -> None:
    """Make the gradients of a network in training right, see the module.

    Its weights, their names and its results stay as they are.
    """
    for part in network.modules():
        if type(part) is torch.nn.Conv3d and _is_hit(part):
            part.__class__ = WholeGradient


def _is_hit(conv: torch.nn.Conv3d) -> bool:
    if conv.padding_mode != "zeros" or isinstance(conv.padding, str):
        return False
    along_z = conv.kernel_size[0], conv.stride[0], conv.padding[0], conv.dilation[0]
    return along_z == (3, 1, 1, 1)

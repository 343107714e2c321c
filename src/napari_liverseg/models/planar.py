"""Networks in two dimensions, run on volumes slice by slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from typing import Self


class Planar(nn.Module):
    """A network for slices, as one for windows of one slice or more.

    It maps ``(batch, 1, z, y, x)`` to ``(batch, channels, z, y, x)``, each slice by
    itself. Windows run from -1 to 1, as all models here see them; the network inside
    gets 0 to 1.

    Parameters
    ----------
    net : Module
        Maps ``(batch, 1, y, x)`` to ``(batch, channels, y, x)``.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Return one logit per channel."""
        n, _, z, y, x = windows.shape
        logits: torch.Tensor = self.net(self.slices(windows))
        return logits.reshape(n, z, -1, y, x).transpose(1, 2)

    @staticmethod
    def slices(windows: torch.Tensor) -> torch.Tensor:
        """Return what the network inside gets, shape (batch * z, 1, y, x)."""
        n, channels, z, y, x = windows.shape
        slices = windows.transpose(1, 2).reshape(n * z, channels, y, x)
        return (slices + 1) / 2

    def to(self, *args: Any, **options: Any) -> Self:
        """Move it; a layout for volumes is taken as the same one for slices."""
        if options.get("memory_format") is torch.channels_last_3d:
            options["memory_format"] = torch.channels_last
        return super().to(*args, **options)

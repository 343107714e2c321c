"""Layers that take a channels-last window on a processor without detours.

PyTorch's instance norm copies it to channels-first, and the convolution behind it
copies it back. Of a single window the instance is the batch, and batch norm keeps the
layout. PyTorch's convolution leaves oneDNN aside where a single window has few numbers,
as in the first and the deep layers of a U-Net, and takes twice as long or more. And a
transposed convolution to few channels, the last of a U-Net, fills a small part of what
a processor multiplies at a time; as one to eight times as many, it fills more.

All this is for inference: no gradient flows through these layers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FEW_CHANNELS, SIDE_BY_SIDE = 8, 16
"""Of fewer channels, up to so many neighbours along x are taken as one voxel of more
channels: a processor computes with many at a time."""

FEWEST_CHANNELS = 4
"""A transposed convolution to more fills a processor as it is."""

CHUNK = 2**18
"""Numbers that are looked at together: they stay in a processor's cache."""

FEW = 64
"""Numbers that are added up in float32, before float64 takes their sum."""

SOME_VOXELS = 1000
"""Voxels, evenly spread, whose mean is near enough to that of all."""

HAS_ONEDNN = bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]


class LayoutKeepingNorm(torch.nn.InstanceNorm3d):
    """`InstanceNorm3d` whose answer lies in memory as its input does.

    For what is not a single channels-last window it is its parent, to the bit.
    """

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Return windows, shape (n, channels, z, y, x), normalised each by itself."""
        one_window = len(windows) == 1 and _is_last(windows)
        is_double = windows.dtype == torch.float64
        if not one_window or is_double or self.track_running_stats:
            return super().forward(windows)
        scale, shift, eps = self.weight, self.bias, self.eps
        on_cpu = windows.device.type == "cpu"
        if on_cpu and not torch.compiler.is_compiling():
            return _norm(windows, scale, shift, eps)
        if on_cpu and _neighbours(windows) > 1:
            normed: torch.Tensor = _norm_as_it_is(windows, scale, shift, eps)
            return normed
        return functional.batch_norm(
            windows, None, None, scale, shift, training=True, eps=eps
        )


class DirectConvolution(torch.nn.Conv3d):
    """`Conv3d` by oneDNN, however small the window.

    For what is not float32 on a processor, as it comes, it is its parent.
    """

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Return windows, shape (n, channels, z, y, x), convolved."""
        is_plain = self.padding_mode == "zeros" and not isinstance(self.padding, str)
        if not is_plain or not _is_direct(windows, self.weight):
            return super().forward(windows)
        convolved: torch.Tensor = torch.ops.aten.mkldnn_convolution(
            windows, self.weight, self.bias, self.padding, self.stride, self.dilation,
            self.groups,
        )  # fmt: skip
        return convolved


class WideUpsampling(torch.nn.ConvTranspose3d):
    """`ConvTranspose3d` that doubles the sides of a channels-last window.

    To few channels: each voxel becomes eight by one convolution to eight times as
    many, which are then put beside each other. Products and sums are its parent's,
    in another order; for anything else it is its parent.
    """

    def forward(
        self, windows: torch.Tensor, output_size: list[int] | None = None
    ) -> torch.Tensor:
        """Return windows, shape (n, channels, 2 * z, 2 * y, 2 * x)."""
        is_wide = self.out_channels <= FEWEST_CHANNELS and self._doubles()
        on_cpu = windows.device.type == "cpu"
        if output_size or not is_wide or not on_cpu or not _is_last(windows):
            return super().forward(windows, output_size)
        bias = None if self.bias is None else self.bias.repeat(8)
        given, one = (windows, _of_each_voxel(self.weight), bias), (1, 1, 1)
        if _is_direct(windows, self.weight):
            eight = torch.ops.aten.mkldnn_convolution(*given, one, one, one, 1)
        else:
            eight = functional.conv3d(*given, padding=one)
        return _beside_each_other(eight[:, :, 1:, 1:, 1:], self.out_channels)

    def _doubles(self) -> bool:
        """Whether voxel i reaches voxels 2 i - 1 to 2 i + 1, and two come of each."""
        sides = self.kernel_size, self.stride, self.padding, self.output_padding
        ways = self.dilation, (self.groups,) * 3, self.padding_mode
        wanted = (3,) * 3, (2,) * 3, (1,) * 3, (1,) * 3
        return sides == wanted and ways == ((1,) * 3, (1,) * 3, "zeros")


INSTEAD = {
    torch.nn.InstanceNorm3d: LayoutKeepingNorm,
    torch.nn.Conv3d: DirectConvolution,
    torch.nn.ConvTranspose3d: WideUpsampling,
}


def swap_layers(networks: Iterable[torch.nn.Module], *, ours: bool = True) -> None:
    """Put the layers of this module in place of PyTorch's, or back; weights stay."""
    swaps = INSTEAD if ours else {new: old for old, new in INSTEAD.items()}
    for network in networks:
        for module in network.modules():
            module.__class__ = swaps.get(type(module), type(module))


def _is_direct(windows: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether oneDNN is to be asked: float32 on a processor, as it comes."""
    return (
        windows.device.type == "cpu"
        and windows.ndim == 5
        and windows.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and HAS_ONEDNN
    )


def _of_each_voxel(weight: torch.Tensor) -> torch.Tensor:
    """Return the convolution that makes eight voxels of each, (8 * new, old, 2, 2, 2).

    Along an axis the first of two is made of the voxel itself, the second of it and
    of the next one.

    Parameters
    ----------
    weight : Tensor, shape (old channels, new channels, 3, 3, 3)
        Of the transposed convolution.
    """
    share = weight.new_zeros(2, 2, 3)
    share[0, 0, 1] = share[1, 0, 2] = share[1, 1, 0] = 1.0
    spread = torch.einsum("ionml,zan,ybm,xcl->zyxoiabc", weight, share, share, share)
    return spread.flatten(0, 3).contiguous(memory_format=torch.channels_last_3d)


def _beside_each_other(eight: torch.Tensor, channels: int) -> torch.Tensor:
    """Return a channels-last window of twice the sides."""
    n, _, z, y, x = eight.shape
    rows = eight.permute(0, 2, 3, 4, 1).reshape(n, z, y, x, 2, 2, 2, channels)
    whole = rows.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(
        n, 2 * z, 2 * y, 2 * x, channels
    )
    return whole.permute(0, 4, 1, 2, 3)


def _is_last(tensor: torch.Tensor) -> bool:
    """Whether it is channels last beyond doubt: of one channel it is both."""
    is_last = tensor.is_contiguous(memory_format=torch.channels_last_3d)
    return is_last and not tensor.is_contiguous()


def _neighbours(window: torch.Tensor) -> int:
    """Return how many voxels along x are taken as one."""
    few = window.shape[1] < FEW_CHANNELS
    return math.gcd(window.shape[-1], SIDE_BY_SIDE) if few else 1


def _side_by_side(window: torch.Tensor, neighbours: int) -> torch.Tensor:
    """Return a channels-last window's voxels, so many taken as one: a view.

    Shape (1, neighbours * channels, z, y, x / neighbours).
    """
    one, channels, z, y, x = window.shape
    rows = window.permute(0, 2, 3, 4, 1)
    wide = rows.reshape(one, z, y, x // neighbours, neighbours * channels)
    return wide.permute(0, 4, 1, 2, 3)


def _apart(window: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Return the window of `shape` whose voxels were taken side by side: a view."""
    one, channels, z, y, x = shape
    rows = window.permute(0, 2, 3, 4, 1).reshape(one, z, y, x, channels)
    return rows.permute(0, 4, 1, 2, 3)


def _norm(
    window: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
) -> torch.Tensor:
    """Return a channels-last window, shape (1, channels, z, y, x), normalised.

    In the steps and roundings of PyTorch's norm.
    """
    neighbours = _neighbours(window)
    with torch.autocast("cpu", enabled=False):
        mean, variance = _moments(window, neighbours)
    scale = (variance + eps).rsqrt().float()
    scale = scale if weight is None else scale * weight
    shift = -mean.float() * scale
    shift = shift if bias is None else shift + bias
    wide = _side_by_side(window, neighbours)
    scale, shift = scale.repeat(neighbours), shift.repeat(neighbours)
    if window.dtype == torch.float32:
        zero, one = torch.zeros_like(scale), torch.ones_like(scale)
        normed = functional.batch_norm(wide, zero, one, scale, shift, eps=0.0)
    else:
        normed = _scaled(wide, scale, shift)
    return _apart(normed, window.shape)


def _scaled(
    window: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor
) -> torch.Tensor:
    """Return a channels-last window scaled and shifted in float32, then rounded.

    PyTorch's operations that take half precision and float32 together compute number
    by number.
    """
    scaled = torch.empty_like(window)
    for old, new in zip(_in_float32(window), _chunks(scaled), strict=True):
        new.copy_(old.mul_(scale).add_(shift))
    return scaled


def _in_float32(window: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield copies of some voxels at a time, shape (voxels, channels).

    All in the same memory: to ask for new one each time takes longer than to copy.
    """
    room: torch.Tensor | None = None
    for chunk in _chunks(window):
        room = torch.empty_like(chunk, dtype=torch.float32) if room is None else room
        yield room[: len(chunk)].copy_(chunk)


def _chunks(window: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return views of some voxels at a time, shape (voxels, channels)."""
    voxels = window.permute(0, 2, 3, 4, 1).view(-1, window.shape[1])
    return torch.split(voxels, max(1, CHUNK // window.shape[1]))


_norm_as_it_is = torch.library.custom_op(
    "napari_liverseg::norm_of_few_channels", _norm, mutates_args=()
)
"""`_norm` as one step of a compiled network: of few channels side by side a compiler
makes a loop over single numbers."""

_norm_as_it_is.register_fake(lambda window, *_: torch.empty_like(window))


def _moments(
    window: torch.Tensor, neighbours: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and variance of each channel, float64.

    A CPU's batch norm adds a channels-last window up voxel by voxel in float32, and
    takes rounding errors of a channel that hardly changes, as in air, for its contrast.
    So voxels are taken relative to the mean of some, and only a few are added up before
    float64 takes over; autocast, which would multiply in bfloat16, is kept out.
    """
    channels = window.shape[1]
    voxels = window.permute(0, 2, 3, 4, 1).view(-1, channels)
    pivot = voxels[:: max(1, len(voxels) // SOME_VOXELS)].float().mean(0)
    wide, pivots = _side_by_side(window, neighbours), pivot.repeat(neighbours)
    first, second = torch.zeros(2, len(pivots), dtype=torch.float64)
    for chunk in _in_float32(wide):
        apart = chunk.sub_(pivots)
        first += _sum(apart)
        second += _sum(apart.square_())
    mean, square = (
        total.reshape(neighbours, channels).sum(0) / len(voxels)
        for total in (first, second)
    )
    variance = (square - mean.square()).clamp_min(0.0)
    return pivot.double() + mean, variance


def _sum(rows: torch.Tensor) -> torch.Tensor:
    """Return the sum of float32 rows, in float64; a product adds up fastest."""
    whole = len(rows) // FEW * FEW
    few = torch.ones(1, FEW) @ rows[:whole].reshape(-1, FEW, rows.shape[1])
    return few.double().sum((0, 1)) + rows[whole:].sum(0)

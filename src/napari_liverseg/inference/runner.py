"""Networks as one function of a batch of windows: folds, mirror images, precision."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, cast

import torch

from napari_liverseg.inference.fallback import is_out_of_memory
from napari_liverseg.inference.layouts import swap_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Recipe:
    """How a network is computed.

    Parameters
    ----------
    precision : str
        ``float32``, the reference, or ``bfloat16`` or ``float16`` under autocast.
    channels_last : bool
        Memory layout of images and weights, with the layers of `layouts`.
    is_compiled : bool
        Whether `torch.compile` translates the network first.
    """

    precision: str = "float32"
    channels_last: bool = False
    is_compiled: bool = False

    def __str__(self) -> str:
        """Describe the recipe for a report."""
        parts = [self.precision]
        parts += ["channels last"] if self.channels_last else []
        parts += ["compiled"] if self.is_compiled else []
        return ", ".join(parts)


class Runner:
    """The networks of a model, ready for windows.

    Parameters
    ----------
    networks : sequence of Module
        One a fold; their logits are averaged.
    mirror_axes : tuple of int
        Axes ``0, 1, 2`` for z, y, x along which every combination of mirror
        images is averaged in; empty for none.
    recipe : Recipe
    """

    def __init__(
        self,
        networks: Sequence[torch.nn.Module],
        mirror_axes: tuple[int, ...] = (),
        recipe: Recipe | None = None,
    ) -> None:
        self.networks = tuple(networks)
        self.recipe = recipe or Recipe()
        self._flips = tuple(
            tuple(axis + 2 for axis in chosen)
            for count in range(len(mirror_axes) + 1)
            for chosen in combinations(mirror_axes, count)
        )
        self._device = torch.device("cpu")
        self._calls: list[Callable[[torch.Tensor], torch.Tensor]] = []

    @property
    def passes(self) -> int:
        """How often a network looks at each window: the factor in time."""
        return len(self.networks) * len(self._flips)

    def to(self, device: str) -> Runner:
        """Move the networks to a device and return the runner."""
        self._device = torch.device(device)
        # Said for both: networks are shared, and keep what another recipe left.
        is_last = self.recipe.channels_last
        layout = torch.channels_last_3d if is_last else torch.contiguous_format
        swap_layers(self.networks, ours=is_last)
        for network in self.networks:
            network.to(self._device)
            network.to(memory_format=layout)  # type: ignore[call-overload]
        if not self._calls:
            self._calls = [self._compiled(network) for network in self.networks]
        return self

    def __call__(self, windows: torch.Tensor) -> torch.Tensor:
        """Return logits, shape (n, channels, z, y, x), on the device.

        Averages are float32; what a network says in one look comes as it is, in
        whatever precision and layout.

        Parameters
        ----------
        windows : Tensor, float32, shape (n, 1, z, y, x)
        """
        if not self._calls:
            self.to(str(self._device))
        windows = windows.to(self._device)
        total: torch.Tensor | None = None
        for flips in self._flips:
            image = windows.flip(flips) if flips else windows
            if self.recipe.channels_last:
                image = image.contiguous(memory_format=torch.channels_last_3d)
            for call, network in zip(self._calls, self.networks, strict=True):
                logits = self._run(call, network, image)
                if self.passes == 1:
                    return logits
                logits = logits.float()
                logits = logits.flip(flips) if flips else logits
                total = logits if total is None else total + logits
        assert total is not None
        return total / self.passes

    def _run(
        self,
        call: Callable[[torch.Tensor], torch.Tensor],
        network: torch.nn.Module,
        image: torch.Tensor,
    ) -> torch.Tensor:
        if self.recipe.precision == "float32":
            return call(image)
        kind = getattr(torch, self.recipe.precision)
        with torch.autocast(self._device.type, kind):
            logits = call(image)
        if kind is torch.float16 and not bool(torch.isfinite(logits).all()):
            # Some value went beyond 65504, and every voxel would pass for background.
            return cast("torch.Tensor", network(image))
        return logits

    def _compiled(
        self, network: torch.nn.Module
    ) -> Callable[[torch.Tensor], torch.Tensor]:
        if not self.recipe.is_compiled:
            return network
        # Half a second to import, and needed here alone.
        from torch._inductor import config as inductor_config

        on_cuda, on_cpu = (self._device.type == kind for kind in ("cuda", "cpu"))
        # On CUDA as a graph too: small networks wait for the launch of each kernel.
        mode = "reduce-overhead" if on_cuda else None
        compiled = torch.compile(network, dynamic=False, mode=mode)
        is_broken = False

        def run(windows: torch.Tensor) -> torch.Tensor:
            nonlocal is_broken
            if not is_broken:
                try:
                    # Weights as constants: cast, and put in order for oneDNN, once.
                    with inductor_config.patch(freezing=on_cpu):
                        logits = cast("torch.Tensor", compiled(windows))
                    # A graph writes its next answer over this one.
                    return logits.clone() if on_cuda else logits
                except RuntimeError as error:
                    # No compiler here any more: the plain network is as right.
                    if is_out_of_memory(error):
                        raise
                    is_broken = True
            return cast("torch.Tensor", network(windows))

        return run

"""How much memory a network holds at its worst, found without running it."""

from __future__ import annotations

import copy
import math
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_liverseg.models.contract import Model, Shape

FEATURES_UNKNOWN = 100
"""Maps of a window's size that a network holds which torch cannot follow: a U-Net
of 32 features keeps about as many."""

WORKSPACE = 1.3
"""Convolutions need some memory beside their inputs and outputs."""


@dataclass(frozen=True)
class NetworkBytes:
    """What the networks of a model hold in memory.

    Parameters
    ----------
    weights : int
        Of all folds.
    window : int
        At the worst moment of one window, its logits included.
    """

    weights: int
    window: int


_known: dict[tuple[str, Shape, int], NetworkBytes] = {}
"""What was asked before, by the model's hash, window and channels."""


def network_bytes(
    model: Model, networks: Callable[[], Sequence[torch.nn.Module]]
) -> NetworkBytes:
    """Return what the networks of a model hold; folds run one after the other.

    Parameters
    ----------
    model : Model
    networks : callable
        Returns them; asked once a model.
    """
    patch, channels = model.windows.patch, model.output.channels
    key = (model.sha256, patch, channels)
    if key not in _known:
        folds = networks()
        logits = torch.float32.itemsize * channels * math.prod(patch)
        _known[key] = NetworkBytes(
            weights=sum(p.nbytes for network in folds for p in network.parameters()),
            window=window_bytes(folds[0], patch) + 2 * logits,
        )
    return _known[key]


def window_bytes(network: torch.nn.Module, patch: Shape) -> int:
    """Return the most bytes that one float32 window needs, weights aside.

    The network runs on tensors without values (torch's ``meta`` device), and
    the storages alive at each moment are added up.

    Parameters
    ----------
    network : Module
        Maps ``(1, 1, *patch)`` to logits.
    patch : tuple of int
        Voxels of a window.
    """
    window = torch.empty((1, 1, *patch), device="meta")
    try:
        hollow = _hollow(network)
        with torch.inference_mode(), _Live() as live:
            hollow(window)
    except (NotImplementedError, RuntimeError):
        return FEATURES_UNKNOWN * window.nbytes
    return int(WORKSPACE * (live.peak + window.nbytes))


def _hollow(network: torch.nn.Module) -> torch.nn.Module:
    """Return a copy of a network whose weights hold no values and take no memory.

    A module that goes by several names stays one.
    """
    tensors = (*network.parameters(), *network.buffers())
    memo = {id(tensor): _empty_like(tensor) for tensor in tensors}
    return copy.deepcopy(network, memo)


def _empty_like(tensor: torch.Tensor) -> torch.Tensor:
    hollow = torch.empty_like(tensor, device="meta")
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(hollow, requires_grad=False)
    return hollow


class _Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operations make, as long as they live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._watch(leaf.untyped_storage())
        return result

    def _watch(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size

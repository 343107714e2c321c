"""From a MONAI bundle's network definition and checkpoint to a network that runs."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch.overrides import TorchFunctionMode

from napari_liverseg.core.errors import MissingExtraError, ModelError
from napari_liverseg.models.bundle_component import NO_ARGUMENTS, TARGET
from napari_liverseg.models.bundle_weights import (
    Tensors,
    read_tensors,
    refuse_other_tensors,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_liverseg.models.bundle_component import Component

Network = torch.nn.Module

PACKAGES = ("monai.networks.nets", "torch.nn")
"""Where a `_target_` is looked up; nothing else is ever imported for one."""

ORIGINS = ("monai.networks.", "torch.nn.modules.")
"""Modules that define what may be built. A longer path through one of them, such
as to what it imported itself, is no name of a class there."""

OUTSIDE = ("pretrained", "url", "path", "download", "file")
"""Words in the names of arguments that make some networks fetch or open things."""

OBSOLETE = {"SwinUNETR": ("img_size",)}
"""Arguments that MONAI has dropped since, and that never changed the network."""

NEEDED = {"SwinUNETR": "einops"}
"""Packages that MONAI misses only once the network runs."""

UNFIT = (
    *(TypeError, ValueError, RuntimeError, KeyError, IndexError),
    AssertionError,  # how some of torch's layers refuse their sizes
)
"""What classes raise whose arguments do not fit."""

MAX_NUMBER = 100_000
"""No layer's size is larger; beyond it lies a forgery that fills the memory."""


def load_bundle_network(
    definition: Component, weights: bytes, title: str, rest: tuple[float, float]
) -> Network:
    """Return a bundle's network with its weights on the CPU, ready to infer.

    Parameters
    ----------
    definition : Component
        ``network_def`` of the config.
    weights : bytes
        Of the checkpoint.
    title : str
        For errors.
    rest : tuple of float
        Gain and offset at the network's entrance, see `Intensity.rest`.

    Raises
    ------
    ModelError
        When the definition names no network of MONAI, or the weights are not
        those of it.
    MissingExtraError
        When MONAI needs another package for it.
    """
    tensors = read_tensors(weights, title)
    build = _builder(definition)
    # First without memory, so that no definition can ask for more than its
    # weights fill.
    with torch.device("meta"), _NumbersOnCpu():
        shape_only = build()
    refuse_other_tensors(tensors, shape_only.state_dict(), title)
    with torch.random.fork_rng(devices=[]):
        return fill(build(), tensors, title, rest)


def fill(
    network: Network, tensors: Tensors, title: str, rest: tuple[float, float]
) -> Network:
    """Give a network its weights and return it ready to infer.

    Raises
    ------
    ModelError
        When the tensors are not those of the network.
    """
    refuse_other_tensors(tensors, network.state_dict(), title)
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    )
    if rest != (1.0, 0.0):
        network = _Entrance(network, *rest)
    network.requires_grad_(requires_grad=False)
    return network.eval()


class _NumbersOnCpu(TorchFunctionMode):
    """Keep the ranges on the CPU that networks read numbers from while they build."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        named = dict(kwargs or {})
        if func is torch.linspace:
            named.setdefault("device", "cpu")
        return func(*args, **named)


class _Entrance(Network):
    """A network behind ``gain * input + offset``."""

    def __init__(self, network: Network, gain: float, offset: float) -> None:
        super().__init__()
        self.network, self.gain, self.offset = network, gain, offset

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the network's logits."""
        logits: torch.Tensor = self.network(image * self.gain + self.offset)
        return logits


def _builder(definition: Component) -> Callable[[], Network]:
    """Return what builds the network of a definition that was found harmless."""
    arguments = {k: definition.get(k) for k in definition.raw.keys() - NO_ARGUMENTS}
    kind = _network_class(definition.target, definition)
    for name in OBSOLETE.get(kind.__name__, ()):
        arguments.pop(name, None)
    _refuse_arguments(arguments, kind, definition)
    makers = {name: _maker(value, definition) for name, value in arguments.items()}

    package = NEEDED.get(kind.__name__, "torch")
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(package, "bundles", kind.__name__)

    def build() -> Network:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return kind(**{name: make() for name, make in makers.items()})
        except ImportError as error:
            msg = "einops"
            raise MissingExtraError(msg, "bundles", kind.__name__) from error
        except UNFIT as error:
            raise _unfit(definition, f"cannot be built ({_line(error)})") from error

    return build


def _maker(value: Any, definition: Component) -> Callable[[], Any]:
    """Return what makes an argument; the layers named in it were found harmless."""
    if isinstance(value, list):
        parts = [_maker(part, definition) for part in value]
        return lambda: [make() for make in parts]
    if not isinstance(value, dict):
        return lambda: value
    arguments = {key: part for key, part in value.items() if key != TARGET}
    makers = {key: _maker(part, definition) for key, part in arguments.items()}
    if TARGET not in value:
        return lambda: {key: make() for key, make in makers.items()}
    kind = _network_class(str(value[TARGET]), definition)
    _refuse_arguments(arguments, kind, definition)
    return lambda: kind(**{key: make() for key, make in makers.items()})


def _network_class(target: str, definition: Component) -> type[Network]:
    """Return the class of a name, looked up among MONAI's networks and torch's layers.

    Raises
    ------
    ForeignCodeError
        When it is none of them.
    """
    path, _, name = target.rpartition(".")
    for package in PACKAGES:
        found = vars(importlib.import_module(package)).get(name)
        if not inspect.isclass(found) or not issubclass(found, Network):
            continue
        homes = ("", package, found.__module__)
        if path in homes and f"{found.__module__}.".startswith(ORIGINS):
            return found
    raise definition.config.foreign(target, "it is no network of MONAI's")


def _refuse_arguments(
    arguments: dict[str, Any], kind: type[Network], definition: Component
) -> None:
    known = inspect.signature(kind).parameters
    for name, value in arguments.items():
        if name not in known:
            raise _unfit(definition, f"does not know the argument {name}")
        if value and any(word in name.lower() for word in OUTSIDE):
            raise definition.config.foreign(name, "it fetches or opens something")
        if any(abs(number) > MAX_NUMBER for number in _numbers(value)):
            raise _unfit(definition, f"is asked for {name} beyond {MAX_NUMBER}")


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for part in value for number in _numbers(part)]
    return [value] if isinstance(value, (int, float)) else []


def _unfit(definition: Component, reason: str) -> ModelError:
    found = f"The bundle's network {definition.target} {reason}."
    return ModelError(found, "Use a bundle made for MONAI 1.6 or newer.")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

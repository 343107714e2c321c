"""Weights saved by `torch.save`, read as tensors alone: nothing else is unpickled."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.foreign_file import MALFORMED, plain_records

if TYPE_CHECKING:
    from collections.abc import Iterable

Tensors = dict[str, torch.Tensor]

WRAPPERS = ("model", "state_dict", "network", "network_weights")
"""Entries under which trainers keep a network's tensors beside their own state."""


MAX_SHARED = 4
"""Tensors may share their numbers, as tied layers do; more sharing is a bomb."""

ZIP_START = b"PK\x03\x04"
"""By these bytes PyTorch knows the zip that it writes since 1.6."""

CUT = "are no file that torch.save wrote, or are cut"


def read_tensors(content: bytes, title: str) -> Tensors:
    """Return the tensors of a checkpoint by name, on the CPU.

    Parameters
    ----------
    content : bytes
        Of the file.
    title : str
        Of the model, for errors.

    Raises
    ------
    ModelError
        When it asks for anything but tensors to be built, or holds none.
    """
    _refuse_packed(content, title)
    try:
        loaded: Any = torch.load(
            io.BytesIO(content), map_location="cpu", weights_only=True
        )
    except pickle.UnpicklingError as error:
        raise refused(title, "hold more than tensors, which could be code") from error
    except (RuntimeError, OSError, EOFError, MemoryError, *MALFORMED) as error:
        raise refused(title, CUT) from error
    while isinstance(loaded, Mapping):
        inner = next((k for k in WRAPPERS if isinstance(loaded.get(k), Mapping)), None)
        if inner is None:
            break
        loaded = loaded[inner]
    named = loaded if isinstance(loaded, Mapping) else {}
    if not named or not all(isinstance(v, torch.Tensor) for v in named.values()):
        raise refused(title, "are no table of tensors by name")
    if not all(v.layout is torch.strided for v in named.values()):
        raise refused(title, "hold sparse tensors")
    if sum(v.nbytes for v in named.values()) > MAX_SHARED * len(content):
        raise refused(title, "unfold to more than their file holds")
    return {str(k).removeprefix("module."): v for k, v in named.items()}


def _refuse_packed(content: bytes, title: str) -> None:
    """Refuse a zip that unfolds to more than it is long, before any of it is read."""
    if not content.startswith(ZIP_START):
        return  # of PyTorch before 1.6, which packed nothing
    try:
        plain_records(io.BytesIO(content), len(content))
    except ValueError as error:
        raise refused(title, f"are refused: {error}") from error


def refuse_other_tensors(
    tensors: Tensors, expected: Mapping[str, torch.Tensor], title: str
) -> None:
    """Refuse tensors that are not those of a network, or not all finite.

    Parameters
    ----------
    tensors, expected : mapping of str to Tensor
        As read, and of the network; those of the network may be on ``meta``.
    title : str

    Raises
    ------
    ModelError
        With the first tensor that is missing, foreign, of another shape or
        kind, or holds NaN or infinity.
    """
    for name in _first(expected.keys() - tensors.keys()):
        raise refused(title, f"lack the tensor '{name}'")
    for name in _first(tensors.keys() - expected.keys()):
        raise refused(title, f"hold a tensor '{name}' that the network lacks")
    for name, tensor in tensors.items():
        wanted = expected[name]
        if tensor.shape != wanted.shape:
            shapes = f"{tuple(tensor.shape)} in '{name}', the network"
            raise refused(title, f"have shape {shapes} {tuple(wanted.shape)}")
        if tensor.is_floating_point() != wanted.is_floating_point():
            raise refused(title, f"are of type {tensor.dtype} in '{name}'")
        if not bool(torch.isfinite(tensor).all()):
            raise refused(title, f"hold values in '{name}' that are not numbers")


def refused(title: str, reason: str) -> ModelError:
    """Return the error of weights that cannot be used."""
    found = f"The weights of the model '{title}' {reason}."
    return ModelError(found, "Copy the whole model again from its source.")


def _first(names: Iterable[str]) -> list[str]:
    return sorted(names)[:1]

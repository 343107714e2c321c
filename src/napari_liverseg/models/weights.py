"""A network's numbers in the file beside its spec: read with care, written whole."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.foreign_file import refuse_absurd_weights
from napari_liverseg.models.whole_folder import write_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from napari_liverseg.models.folder_spec import FolderSpec

Tensors = dict[str, torch.Tensor]

Network = TypeVar("Network", bound=torch.nn.Module)
Spec = TypeVar("Spec", bound="FolderSpec")


def load_weights(spec: FolderSpec, build: Callable[[], Network]) -> Network:
    """Return a network with a model's weights on the CPU, ready to infer.

    Parameters
    ----------
    spec : FolderSpec
        Bound to its folder.
    build : callable
        Returns the network with any weights.

    Raises
    ------
    ModelError
        When the weights are not those of the spec: absurdly long, another hash, not
        a safetensors file, tensors missing or of another shape, NaN.
    """
    weights = _checked(spec)
    with torch.device("meta"):  # no memory, no draw from the global random state
        network = build()
    _refuse_other_tensors(spec, weights, network.state_dict())
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in weights.items()},
        assign=True,
    )
    return network.requires_grad_(requires_grad=False).eval()


def save_with_weights(
    network: torch.nn.Module, spec: Spec, folder: Path, prove: Callable[[Spec], object]
) -> Spec:
    """Write spec and weights as a folder, whole or not at all.

    Parameters
    ----------
    network : torch.nn.Module
    spec : FolderSpec
        Its hash is replaced by that of the written weights.
    folder : Path
        Replaced where it exists.
    prove : callable
        Loads what was written, before it takes its place.

    Returns
    -------
    FolderSpec
        As written, bound to `folder`.

    Raises
    ------
    ModelError
        When the network does not fit the spec, or its weights are not finite,
        or `folder` holds something else than a model.
    """
    state = network.state_dict()
    content = save_tensors({k: v.detach().cpu().contiguous() for k, v in state.items()})
    digest = hashlib.sha256(content).hexdigest()
    written = spec.model_copy(update={"sha256": digest})

    def write(fresh: Path) -> None:
        (fresh / spec.weights_name).write_bytes(content)
        text = written.model_dump_json(indent=2) + "\n"
        (fresh / spec.spec_name).write_text(text, encoding="utf-8")
        prove(written.in_folder(fresh))

    write_folder(folder, {spec.spec_name, spec.weights_name}, write)
    return written.in_folder(folder.resolve())


def _checked(spec: FolderSpec) -> Tensors:
    """Return the tensors of the weights file once its hash is the spec's."""
    try:
        refuse_absurd_weights(spec.weights_file)
        content = spec.weights_file.read_bytes()
    except OSError as error:
        raise _refused(spec, f"cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != spec.sha256:
        raise _refused(spec, f"are not those that its {spec.spec_name} was written for")
    try:
        return dict(load_tensors(content))
    except (SafetensorError, ValueError, KeyError) as error:
        raise _refused(spec, f"are no safetensors file ({error})") from error


def _refuse_other_tensors(
    spec: FolderSpec, weights: Tensors, expected: Mapping[str, torch.Tensor]
) -> None:
    for name in expected.keys() - weights.keys():
        raise _refused(spec, f"lack the tensor '{name}'")
    for name, tensor in weights.items():
        if name not in expected:
            raise _refused(spec, f"hold a tensor '{name}' that the network lacks")
        if tensor.shape != expected[name].shape:
            found, wanted = tuple(tensor.shape), tuple(expected[name].shape)
            raise _refused(
                spec, f"have shape {found} in '{name}', the network {wanted}"
            )
        if tensor.is_floating_point() != expected[name].is_floating_point():
            raise _refused(spec, f"are of type {tensor.dtype} in '{name}'")
        if not bool(torch.isfinite(tensor).all()):
            raise _refused(spec, f"hold values in '{name}' that are not numbers")


def _refused(spec: FolderSpec, reason: str) -> ModelError:
    found = f"The weights of the {spec.called} '{spec.name}' {reason}."
    return ModelError(found, "Copy the whole model folder again from its source.")

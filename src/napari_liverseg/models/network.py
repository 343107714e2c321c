"""From a model's files to a network that runs, and back."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from monai.networks.nets import UNet
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.gated_spec import GatedSpec
from napari_liverseg.models.planar import Planar
from napari_liverseg.models.resunet_spec import ResUNetSpec
from napari_liverseg.models.spec import SPEC_FILE, WEIGHTS_FILE, Labels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_liverseg.models.spec import ModelSpec, NetworkSpec

Tensors = dict[str, torch.Tensor]


def build_network(network: NetworkSpec) -> torch.nn.Module:
    """Return the network of a spec with fresh weights, in training mode.

    It maps ``(batch, 1, z, y, x)`` to one logit per label,
    ``(batch, 3, z, y, x)``; the spatial shape must be a multiple of
    ``network.reduction``, except for z in a network of two dimensions. In training
    that of a `GatedSpec` gives one logit more, see `gated.Gated`.
    """
    if isinstance(network, GatedSpec):
        from napari_liverseg.models.gated import Gated

        return Planar(Gated(network))
    if isinstance(network, ResUNetSpec):
        from napari_liverseg.models.resunet import ResUNet

        return Planar(ResUNet(network))
    unet: torch.nn.Module = UNet(
        spatial_dims=network.dimensions,
        in_channels=1,
        out_channels=len(Labels.model_fields),
        channels=network.channels,
        strides=network.strides,
        num_res_units=network.num_res_units,
        norm=None if network.norm == "none" else network.norm,
        dropout=network.dropout,
    )
    return unet if network.dimensions == 3 else Planar(unet)


def load_networks(model: ModelSpec) -> tuple[torch.nn.Module, ...]:
    """Return each network of a model by itself, see `load_network`."""
    loaded = load_network(model)
    return (loaded,) if model.networks == 1 else tuple(loaded.children())


def load_network(model: ModelSpec) -> torch.nn.Module:
    """Return a model's network with its weights on the CPU, ready to infer.

    Several networks come as one `torch.nn.ModuleList`, whose tensors have the
    network's number in front of their names.

    Parameters
    ----------
    model : ModelSpec
        From `find_model` or `read_spec`.

    Raises
    ------
    ModelError
        When the weights are not those of the spec: another hash, not a
        safetensors file, tensors missing or of another shape, NaN.
    """
    weights = _checked_weights(model)
    with torch.device("meta"):  # no memory, no draw from the global random state
        network = _build(model)
    _refuse_other_tensors(model, weights, network.state_dict())
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in weights.items()},
        assign=True,
    )
    network.requires_grad_(requires_grad=False)
    return network.eval()


def save_model(network: torch.nn.Module, model: ModelSpec, folder: Path) -> ModelSpec:
    """Write weights and spec as a model folder, whole or not at all.

    The folder is written beside its place, loaded once as a proof, and only
    then put in place of what was there.

    Parameters
    ----------
    network : torch.nn.Module
        As `build_network` builds it from ``model.network``, or a
        `torch.nn.ModuleList` of ``model.networks`` of them.
    model : ModelSpec
        Its hash is replaced by that of the written weights.
    folder : Path
        The model folder; replaced where it exists.

    Returns
    -------
    ModelSpec
        The spec as written, bound to `folder`.

    Raises
    ------
    ModelError
        When the network does not fit the spec, or its weights are not finite,
        or `folder` holds something else than a model.
    """
    _refuse_foreign_folder(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    content = save_tensors(
        {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    )
    digest = hashlib.sha256(content).hexdigest()
    written = model.model_copy(update={"sha256": digest})
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as work:
        fresh, former = Path(work) / "fresh", Path(work) / "former"
        fresh.mkdir()
        (fresh / WEIGHTS_FILE).write_bytes(content)
        text = written.model_dump_json(indent=2) + "\n"
        (fresh / SPEC_FILE).write_text(text, encoding="utf-8")
        load_network(written.in_folder(fresh))
        _exchange(fresh, folder, former)
    return written.in_folder(folder.resolve())


def _build(model: ModelSpec) -> torch.nn.Module:
    if model.networks == 1:
        return build_network(model.network)
    return torch.nn.ModuleList(
        build_network(model.network) for _ in range(model.networks)
    )


def _exchange(fresh: Path, folder: Path, former: Path) -> None:
    """Put a folder in the place of another, or leave that one where it is."""
    if folder.exists():
        shutil.move(folder, former)
    try:
        shutil.move(fresh, folder)
    except OSError:
        if former.exists() and not folder.exists():
            shutil.move(former, folder)
        raise


def _checked_weights(model: ModelSpec) -> Tensors:
    """Return the tensors of the weights file once its hash is the spec's."""
    try:
        content = model.weights_file.read_bytes()
    except OSError as error:
        raise _refused(model, f"cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != model.sha256:
        raise _refused(model, f"are not those that its {SPEC_FILE} was written for")
    try:
        return dict(load_tensors(content))
    except (SafetensorError, ValueError, KeyError) as error:
        raise _refused(model, f"are no safetensors file ({error})") from error


def _refuse_other_tensors(
    model: ModelSpec, weights: Tensors, expected: Mapping[str, torch.Tensor]
) -> None:
    for name in expected.keys() - weights.keys():
        raise _refused(model, f"lack the tensor '{name}'")
    for name, tensor in weights.items():
        if name not in expected:
            raise _refused(model, f"hold a tensor '{name}' that the network lacks")
        if tensor.shape != expected[name].shape:
            found, wanted = tuple(tensor.shape), tuple(expected[name].shape)
            raise _refused(
                model, f"have shape {found} in '{name}', the network {wanted}"
            )
        if tensor.is_floating_point() != expected[name].is_floating_point():
            raise _refused(model, f"are of type {tensor.dtype} in '{name}'")
        if not bool(torch.isfinite(tensor).all()):
            raise _refused(model, f"hold values in '{name}' that are not numbers")


def _refuse_foreign_folder(folder: Path) -> None:
    """Refuse to replace a folder that is not a model's."""
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not _is_model(folder)):
        found = f"{folder} exists and is no model folder."
        raise ModelError(found, "Choose another folder for the model.")


def _is_model(folder: Path) -> bool:
    return {path.name for path in folder.iterdir()} <= {SPEC_FILE, WEIGHTS_FILE}


def _refused(model: ModelSpec, reason: str) -> ModelError:
    found = f"The weights of the model '{model.name}' {reason}."
    return ModelError(found, "Copy the whole model folder again from its source.")

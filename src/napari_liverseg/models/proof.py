"""Whether a model does what it says, shown by running it once on a small volume."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.origin import refuse_changed
from napari_liverseg.models.two_stage import stages_of

if TYPE_CHECKING:
    from napari_liverseg.models.contract import Model


@dataclass(frozen=True)
class Proof:
    """What a check of a model found.

    Parameters
    ----------
    networks, parameters : int
        How many networks it has, and numbers in all of them.
    seconds : float
        For one window on the CPU, all networks together.
    """

    networks: int
    parameters: int
    seconds: float


def prove(model: Model) -> Proof:
    """Load a model's networks and run each on one window of noise.

    Parameters
    ----------
    model : Model

    Raises
    ------
    ModelError
        When its weights are not those that it says or that were added, tensors
        do not fit, or a network does not give finite logits for the channels
        that the model speaks of.
    MissingExtraError
        When an optional package is not installed.
    """
    stages = stages_of(model)
    # The note beside weights of tumours alone knows nothing of their finder.
    noted = next((stage for stage in stages if stage.folder == model.folder), model)
    refuse_changed(noted, noted.sha256)
    proofs = [_prove(stage) for stage in stages]
    return Proof(
        sum(proof.networks for proof in proofs),
        sum(proof.parameters for proof in proofs),
        sum(proof.seconds for proof in proofs),
    )


def _prove(model: Model) -> Proof:
    networks = model.load_networks()
    noise = torch.Generator().manual_seed(0)
    window = torch.randn((1, 1, *model.windows.patch), generator=noise)
    started = time.perf_counter()
    for network in networks:
        _run(network, window, model)
    seconds = time.perf_counter() - started
    parameters = sum(p.numel() for network in networks for p in network.parameters())
    return Proof(len(networks), parameters, seconds)


def _run(network: torch.nn.Module, window: torch.Tensor, model: Model) -> None:
    try:
        with torch.inference_mode():
            logits = network(window)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise _unfit(model, "fails on a window of its own size") from error
    wanted = (1, model.output.channels, *model.windows.patch)
    if not isinstance(logits, torch.Tensor):
        raise _unfit(model, "gives no single volume")
    if tuple(logits.shape) != wanted:
        found = f"gives {tuple(logits.shape)} for one window, its config says {wanted}"
        raise _unfit(model, found)
    if not bool(torch.isfinite(logits).all()):
        raise _unfit(model, "gives values that are not numbers")


def _unfit(model: Model, reason: str) -> ModelError:
    found = f"The network of the model '{model.name}' {reason}."
    return ModelError(found, "Ask its maker for weights that fit its description.")

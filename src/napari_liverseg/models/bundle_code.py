"""A bundle whose own code builds its network, run only for a user who trusts it."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

import torch
from monai.bundle import ConfigParser

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.bundle_network import fill
from napari_liverseg.models.bundle_weights import read_tensors
from napari_liverseg.models.trust import is_trusted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_liverseg.models.bundle_component import Component


def load_trusted_network(
    definition: Component, weights: bytes, title: str, rest: tuple[float, float]
) -> torch.nn.Module:
    """Return a network that a bundle's own code builds; see `load_bundle_network`.

    Of the config, only what the network needs is run. The weights are read as
    tensors alone, as always.

    Raises
    ------
    ModelError
        When the folder is not, or no longer, what the user trusts, when its
        code fails, or the weights are not those of the network.
    """
    folder = definition.config.path.parent.parent
    if not is_trusted(folder):
        found = f"The code of the model '{title}' is not the code that was trusted."
        raise ModelError(found, "Remove the model and add it again, if you trust it.")
    tensors = read_tensors(weights, title)
    network = _run(definition, folder, title)
    return fill(network, tensors, title, rest)


def _run(definition: Component, folder: Path, title: str) -> torch.nn.Module:
    content = {**definition.config.content, "bundle_root": str(folder)}
    parser: Any = ConfigParser(content)
    try:
        with _importable(folder):
            network = parser.get_parsed_content(definition.where)
    except Exception as error:
        found = f"The code of the model '{title}' failed ({type(error).__name__})."
        raise ModelError(found, "Ask its maker for a bundle that runs.") from error
    if not isinstance(network, torch.nn.Module):
        found = f"The code of the model '{title}' builds no network."
        raise ModelError(found, "Ask its maker for a bundle that runs.")
    return network


@contextlib.contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the bundle's modules be imported, and forget them: others share names."""
    before, writes = set(sys.modules), sys.dont_write_bytecode
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True  # compiled files would change what is trusted
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        sys.dont_write_bytecode = writes
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None) or ""
            if file.startswith(str(folder)):
                del sys.modules[name]

"""Small models whose answers are known, for tests of everything around them."""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING

import torch

from napari_liverseg.core.probabilities import PostProcessing
from napari_liverseg.models.network import build_network, save_model
from napari_liverseg.models.spec import ModelSpec, NetworkSpec

if TYPE_CHECKING:
    from pathlib import Path

WINDOW_HU = (-160.0, 240.0)
SHARPNESS_PER_HU = 0.5


def tiny_spec(name="tiny", **changes) -> ModelSpec:
    fields = {
        "name": name,
        "title": "Tiny model",
        "notice": "For tests.",
        "version": "1.2",
        "spacing_mm": (3.0, 3.0, 3.0),
        "hu_window": WINDOW_HU,
        "patch": (24, 32, 40),
        "network": NetworkSpec(
            channels=(4, 8), strides=(1,), num_res_units=0, norm="none"
        ),
        "training_data": "nothing: weights set by hand",
        "trained_on": datetime.date(2026, 1, 2),
        "licence": "Apache-2.0",
    }
    return ModelSpec(**{**fields, **changes})


def write_threshold_model(
    folder: Path,
    liver_hu=(50.0, 150.0),
    tumour_hu=(150.0, 230.0),
    **changes,
) -> Path:
    """Write a model that calls one band of HU liver and another tumour.

    Each voxel is judged alone: its logits are 0 for background and, for the two
    bands, a tent that is above 0 inside the band. Bands must not overlap and
    must lie within -160..240 HU. `changes` are fields of the spec, such as
    ``name``, ``spacing_mm`` (default 3 mm) or ``post_processing``.
    """
    spec = tiny_spec(**{"name": folder.name, **changes})
    network = build_network(spec.network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        _set_tents(network.state_dict(), spec.hu_window, (liver_hu, tumour_hu))
    save_model(network, spec, folder)
    return folder


def write_random_model(folder: Path, seed=0, **changes) -> Path:
    """Write a small UNet of the product's own kind with fixed random weights."""
    spec = tiny_spec(
        **{
            "name": folder.name,
            "patch": (16, 24, 32),
            "network": NetworkSpec(channels=(4, 8), strides=(2,), num_res_units=1),
            **changes,
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(spec.network)
    save_model(network, spec, folder)
    return folder


def _set_tents(tensors, window, bands):
    """Set x + 2 and one kink per band in the first layer, tents in the last.

    A tent over ``low..high`` is ``(x - low) - 2 relu(x - middle)``; the first
    layer's PReLU has slope 0 below 0, so that it is a ReLU.
    """
    first, bias = tensors["model.0.conv.weight"], tensors["model.0.conv.bias"]
    last, offset = tensors["model.2.conv.weight"], tensors["model.2.conv.bias"]
    half_width = (window[1] - window[0]) / 2
    sharpness = SHARPNESS_PER_HU * half_width
    first[0, 0, 1, 1, 1], bias[0] = 1.0, 2.0
    for label, band in enumerate(bands, start=1):
        low, high = ((hu - window[0]) / half_width - 1 for hu in band)
        first[label, 0, 1, 1, 1], bias[label] = 1.0, -(low + high) / 2
        last[0, label, 1, 1, 1] = sharpness
        last[label, label, 1, 1, 1] = -2 * sharpness
        offset[label] = -sharpness * (low + 2.0)


def write_two_stage(folder: Path, finder: str, detail: str, **changes) -> Path:
    """Join two model folders, which lie in the folder or beside it."""
    said = {
        "name": folder.name,
        "title": "Two",
        "notice": "For tests.",
        "version": "1",
        "finder": finder,
        "detail": detail,
        **changes,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "two-stage.json").write_text(json.dumps(said))
    return folder


def write_own_two_stage(folder: Path, **detail) -> Path:
    """Write two stages for the tiny phantoms of `training_case`, 18 mm and finer.

    The first calls bands of HU liver and tumour, the second has random weights.
    """
    write_threshold_model(
        folder / "coarse",
        (60.0, 150.0),
        spacing_mm=(18.0, 18.0, 18.0),
        patch=(8, 12, 16),
    )
    fields = {
        "spacing_mm": (13.0, 13.0, 13.0),
        "patch": (8, 12, 12),
        "overlap": 0.4,
        "post_processing": PostProcessing(smallest_tumour_ml=0.2),
    }
    write_random_model(folder / "close", **{**fields, **detail})
    return write_two_stage(folder, "coarse", "close")

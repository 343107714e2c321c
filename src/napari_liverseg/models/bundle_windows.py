"""How a MONAI bundle moves its network over a CT, told by its inferer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from napari_liverseg.models.bundle_component import component, unfit
from napari_liverseg.models.bundle_config import refusal
from napari_liverseg.models.contract import Windows

if TYPE_CHECKING:
    from napari_liverseg.models.bundle_component import Component
    from napari_liverseg.models.bundle_config import Config
    from napari_liverseg.models.intensity import Intensity

MAX_WINDOW = 512
"""Voxels along one axis of a window; more fits no memory."""

DEFAULT_OVERLAP = 0.25
SIGMA_SCALE = 0.125
"""MONAI's defaults."""

HOW_IT_RUNS = (
    *("roi_size", "overlap", "mode", "sigma_scale", "padding_mode", "cval"),
    *("sw_batch_size", "sw_device", "device", "progress", "cache_roi_weight_map"),
    *("cpu_thresh", "buffer_steps", "buffer_dim"),
)

REPLICATED = (
    "Its config continues CTs smaller than a window at their edge; here they are "
    "continued with air."
)


def read_windows(config: Config, intensity: Intensity) -> tuple[Windows, list[str]]:
    """Return the bundle's windows, and remarks on what is done otherwise.

    Parameters
    ----------
    config : Config
        ``configs/inference.json``.
    intensity : Intensity
        Of its preprocessing, for the value around small volumes.

    Raises
    ------
    ModelError
        When there is no sliding window, or one that this program cannot do.
    """
    inferer = component(config, config.content.get("inferer"), "inferer")
    if inferer is None:
        raise refusal(config, "names no inferer")
    if inferer.name_in("monai.inferers") != "SlidingWindowInferer":
        raise unfit(inferer, "as inferer; only SlidingWindowInferer can be followed")
    inferer.only(*HOW_IT_RUNS)
    x, y, z = inferer.triple("roi_size")
    if not all(size == int(size) <= MAX_WINDOW for size in (x, y, z)):
        raise unfit(inferer, f"with a window above {MAX_WINDOW} or of broken voxels")
    overlap = inferer.number("overlap", DEFAULT_OVERLAP)
    if not 0 <= overlap < 1:
        raise unfit(inferer, "with an overlap that is not from 0 to below 1")
    padding, remarks = _padding(inferer, intensity)
    patch = (int(x), int(y), int(z))
    return Windows(patch, overlap, blend=_blend(inferer), padding=padding), remarks


def _blend(inferer: Component) -> Literal["gaussian", "constant"]:
    mode = inferer.get("mode", "constant")
    if mode == "constant":
        return "constant"
    if mode != "gaussian":
        raise unfit(inferer, f"with mode '{mode}'")
    if inferer.number("sigma_scale", SIGMA_SCALE) != SIGMA_SCALE:
        raise unfit(inferer, f"with a sigma_scale other than {SIGMA_SCALE}")
    return "gaussian"


def _padding(inferer: Component, intensity: Intensity) -> tuple[float, list[str]]:
    """Return the value around small volumes, as `Normalisation` leaves it."""
    mode = inferer.get("padding_mode", "constant")
    if mode == "constant":
        gain, offset = intensity.rest
        return (inferer.number("cval", 0.0) - offset) / gain, []
    if intensity.lowest is None:
        raise unfit(inferer, f"with padding_mode '{mode}'")
    return intensity.lowest, [REPLICATED]

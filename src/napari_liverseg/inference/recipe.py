"""Which way of computing a network pays on this computer: measured once, then kept."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch

from napari_liverseg import __version__
from napari_liverseg.core.data_folder import data_folder
from napari_liverseg.core.progress import ignore_progress, stop_if
from napari_liverseg.inference.precision import multiplies_bf16
from napari_liverseg.inference.runner import Recipe
from napari_liverseg.inference.trial import Trial, agree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.inference.plan import Plan
    from napari_liverseg.inference.predictor import Predictor

SWITCH = "NAPARI_LIVERSEG_TUNING"
"""Environment variable; ``off`` computes in float32 as it comes."""

FILE = "tuning.json"
FASTER = 0.9
"""Another way must take less than this share of the time of the best so far."""

LOOKED_AT = 4
"""Windows all over the CT that are compared, since a single one may agree by chance."""

COMPILE_PAYS_S = 120.0
"""Translating a network takes some twenty seconds on two cores, and spares about a
quarter of the run: only a long one earns that back."""


TRYING = "Finding the fastest way to compute this model here, once"
TRANSLATING = "Translating the model for this computer, once: Cancel waits for it"


def choose_recipe(
    predictor: Predictor,
    windows: torch.Tensor,
    plan: Plan,
    is_cancelled: IsCancelled,
    on_progress: OnProgress = ignore_progress,
) -> Recipe:
    """Return the fastest recipe that gives the same labels as float32.

    It is measured on windows of the CT at hand, as many at once as the run will take,
    the first time that windows of this size run so on a device of this computer, and
    read from `FILE` in the user's data folder afterwards. A first window without liver
    proves nothing: then it is float32 as it comes, and measured again the next time.

    Parameters
    ----------
    predictor : Predictor
    windows : Tensor, float32, shape (n, 1, z, y, x)
        Normalised, see `Sweep.sample`. The first is timed; labels are compared on all.
    plan : Plan
        Says how much is at stake.
    is_cancelled : callable
        Asked before each window that is measured.
    on_progress : callable
        Told what the wait is for.
    """
    if os.environ.get(SWITCH, "").lower() == "off":
        return Recipe()
    key = _key(predictor, plan, windows)
    known = _read().get(key)
    if known is not None:
        with contextlib.suppress(TypeError):
            return Recipe(**known)
    recipe = _measure(predictor, windows, plan, is_cancelled, on_progress)
    if recipe is None:
        return Recipe()
    _write(key, recipe)
    return recipe


def _key(predictor: Predictor, plan: Plan, windows: torch.Tensor) -> str:
    long = "long" if _is_long(plan, 1.0) else ""
    parts = (
        predictor.model.sha256, platform.node(),
        torch.backends.cpu.get_cpu_capability(),
        predictor.device.name, predictor.device.title,
        __version__, torch.__version__, str(torch.get_num_threads()),
        "x".join(map(str, (plan.batch, *windows.shape[2:]))), long,
    )  # fmt: skip
    return " ".join(part for part in parts if part)


def _is_long(plan: Plan, seconds_per_window: float) -> bool:
    return plan.windows * plan.passes * seconds_per_window > COMPILE_PAYS_S


def _measure(
    predictor: Predictor,
    windows: torch.Tensor,
    plan: Plan,
    is_cancelled: IsCancelled,
    on_progress: OnProgress = ignore_progress,
) -> Recipe | None:
    """Return the fastest recipe that agrees, None where the window cannot tell."""
    trial = Trial(predictor, windows, plan.batch, is_cancelled)
    best = Recipe()
    stop_if(is_cancelled)
    on_progress(0, 1, TRYING)
    if not trial.shows_liver():
        return None
    least, reference = trial.run(best)
    if reference is None:
        return None
    fastest, least_of_all = best, least
    for recipe in _candidates(plan.device, best):
        seconds, labels = trial.run(recipe, FASTER * least)
        if seconds < least_of_all:
            fastest, least_of_all = recipe, seconds
        if labels is not None and agree(labels, reference):
            best, least = recipe, seconds
    if _is_long(plan, least):
        # Translated, a network rounds less often: what was refused may agree then.
        on_progress(0, 1, TRANSLATING)
        was_refused = least_of_all < FASTER * least
        for plain in (best, fastest) if was_refused else (best,):
            recipe = translated(plain, plan.device)
            seconds, labels = trial.run(recipe, FASTER * least)
            if labels is not None and agree(labels, reference):
                best, least = recipe, seconds
    return best


def _candidates(device: str, plain: Recipe) -> Iterator[Recipe]:
    kind = torch.device(device).type
    precisions = ["float32"]
    if kind in ("cuda", "mps"):
        precisions.append("float16")
    if multiplies_bf16(device):
        # After float16, which rounds an eighth as much: it must be faster than that.
        precisions.append("bfloat16")
    for precision in precisions:
        for channels_last in (False, True):
            recipe = Recipe(precision, channels_last)
            if recipe != plain:
                yield recipe


def translated(plain: Recipe, device: str) -> Recipe:
    """Return a recipe compiled; for a processor in the layout of its vectors."""
    is_last = plain.channels_last or torch.device(device).type == "cpu"
    return replace(plain, channels_last=is_last, is_compiled=True)


def _path() -> Path:
    return data_folder() / FILE


def _read() -> dict[str, Any]:
    try:
        content = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(key: str, recipe: Recipe) -> None:
    """Keep a recipe; a folder that cannot be written costs a measurement each time."""
    kept = {**_read(), key: asdict(recipe)}
    with contextlib.suppress(OSError):
        _path().parent.mkdir(parents=True, exist_ok=True)
        unfinished = _path().with_suffix(f".{os.getpid()}.part")
        unfinished.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        unfinished.replace(_path())

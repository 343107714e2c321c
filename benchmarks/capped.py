"""512x512x1000 voxels with 6 GB of a GPU: what is planned and what is taken."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.card import capped, peaks
from benchmarks.memory import DRAWN, DRAWN_MM, as_volume, draw
from benchmarks.ratio import Row, seconds
from napari_liverseg.core.errors import DeviceError
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.models.store import find_model

if TYPE_CHECKING:
    from benchmarks.setting import Setting
    from napari_liverseg.core.probabilities import Probabilities
    from napari_liverseg.core.volume import CTVolume

CAP_BYTES = 6 * 10**9
TINY, TINY_MM = (20, 26, 26), (20.0, 16.0, 16.0)


def main(setting: Setting) -> Row:
    """Return the run under the cap beside one without: its time and its voxels."""
    spacing_mm = setting.pick(DRAWN_MM, TINY_MM)
    volume = as_volume(draw(setting.pick(DRAWN, TINY), spacing_mm), spacing_mm)
    predictor = Predictor(find_model("starter"), setting.device)
    predictor.predict(volume)  # what is measured once on a computer is measured now
    free, free_s = _timed(predictor, volume)
    with capped(setting.device, CAP_BYTES) as is_capped:
        try:
            found, found_s = _timed(predictor, volume)
        except DeviceError as error:
            return _row(0.0, f"refused: {error}", False, {"is_refused": True})
        taken = peaks(setting.device)
    dice = _dice(found, free, volume)
    gate = f"Dice {dice:.5f} with the run without a cap; it {found.run.memory}"
    more = {
        "is_capped": is_capped,
        "is_refused": False,
        **taken,
        "plan": found.run.memory,
        "plan_without_cap": free.run.memory,
        "ran_on": found.run.device,
        "notes": list(found.run.notes),
        "seconds": found_s,
        "seconds_without_cap": free_s,
    }
    return _row(found_s / free_s, gate, dice >= 0.999, more)


def _timed(predictor: Predictor, volume: CTVolume) -> tuple[Probabilities, float]:
    found: list[Probabilities] = []
    device = predictor.device.name
    passed = seconds(lambda: found.append(predictor.predict(volume)), device)
    return found[0], passed


def _row(ratio: float, gate: str, holds: bool, more: dict[str, Any]) -> Row:
    return Row(
        "cap", "512x512x1000 voxels with 6 GB of the card", "the whole card",
        "<= 6 GB", ratio, ratio, ratio, gate, holds, 1, more,
    )  # fmt: skip


def _dice(a: Probabilities, b: Probabilities, volume: CTVolume) -> float:
    """Return the smaller Dice of liver-or-tumour and of tumour of two decisions."""
    masks = []
    for found in (a, b):
        labels = np.zeros(volume.hu.shape, np.uint8)
        labels[found.box] = found.decision
        masks.append(labels)
    dices = []
    for label in (1, 2):
        one, other = (mask >= label for mask in masks)
        total = np.count_nonzero(one) + np.count_nonzero(other)
        dices.append(2 * np.count_nonzero(one & other) / total if total else 1.0)
    return min(dices)

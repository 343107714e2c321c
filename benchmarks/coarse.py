"""B4: a coarse pass and the windows over the liver, against every window."""

from __future__ import annotations

import numpy as np

from benchmarks.ratio import LONG_REPEATS, Row, interleave
from benchmarks.setting import ON_CPU, Setting
from napari_liverseg.core.box import bounding_box
from napari_liverseg.core.geometry import Geometry, Reorientation
from napari_liverseg.core.volume import CTVolume
from napari_liverseg.inference.decision import decide
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.models.store import find_model
from napari_liverseg.synthesis.phantom import make_phantom

DRAWN, DRAWN_MM = (250, 256, 256), (2.0, 1.6, 1.6)
"""Drawn at half the resolution, which saves minutes, and doubled along each axis."""

TINY, TINY_MM = (24, 28, 34), (12.0, 12.8, 12.0)

CHANGE = 0.001


def main(setting: Setting = ON_CPU) -> list[Row]:
    """Return B4."""
    predictor = Predictor(find_model("starter").detail, setting.device)
    volume, truth = _case(setting)
    repeats = setting.repeats(LONG_REPEATS)
    masks: dict[str, np.ndarray] = {}
    box = []

    def run(look: str) -> None:
        options = RunOptions(look=look, tune=False)
        found = predictor.predict(volume, options=options)
        masks[look] = decide(found).labels
        if look == "liver":
            box[:] = [found.run.box]

    pairs = interleave(
        lambda: run("liver"), lambda: run("everywhere"), repeats, setting.device
    )
    inside = box[0] or tuple(slice(0, n) for n in truth.shape)
    liver = bounding_box(truth > 0)
    complete = all(
        b.start <= t.start and t.stop <= b.stop
        for b, t in zip(inside, liver, strict=True)
    )
    dices = {look: _dice(mask[inside], truth[inside]) for look, mask in masks.items()}
    change = abs(dices["liver"] - dices["everywhere"])
    gate = (
        f"tumour Dice in the box changes by {change:.4f} (at most {CHANGE}), the box "
        f"{'holds' if complete else 'CUTS'} the whole liver"
    )
    return [
        Row(
            "B4", "512x512x500 phantom, coarse to fine", "every window", ">= 6x",
            *pairs.faster(), gate, change <= CHANGE and complete, repeats,
        )
    ]  # fmt: skip


def _case(setting: Setting) -> tuple[CTVolume, np.ndarray]:
    """Return a CT of 512x512x500 voxels of 0.8x0.8x1 mm and its truth."""
    drawn_mm = setting.pick(DRAWN_MM, TINY_MM)
    drawn = make_phantom(31337, setting.pick(DRAWN, TINY), drawn_mm)
    hu, truth = drawn.volume.hu, drawn.truth.labels
    for axis in range(3):
        hu, truth = np.repeat(hu, 2, axis), np.repeat(truth, 2, axis)
    z, y, x = (s / 2 for s in drawn_mm)
    grid = Geometry(hu.shape, (z, y, x), drawn.volume.geometry.origin_mm)
    volume = CTVolume(hu, grid, grid, Reorientation(), "phantom", "0f")
    return volume, truth


def _dice(mask: np.ndarray, truth: np.ndarray) -> float:
    a, b = mask == 2, truth == 2
    total = int(a.sum() + b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0

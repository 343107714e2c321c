"""B4: a coarse pass and the windows over the liver, against every window of the CT.

The other side is the same network as B1's other side runs: float32, the whole grid, the
air around the patient too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.ratio import LONG_REPEATS, Row, interleave
from benchmarks.setting import ON_CPU, Setting
from napari_liverseg.core.box import bounding_box
from napari_liverseg.core.geometry import Geometry, Reorientation
from napari_liverseg.core.volume import CTVolume
from napari_liverseg.inference.decision import decide
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.models.spec import ModelSpec
from napari_liverseg.models.store import find_model
from napari_liverseg.synthesis.phantom import make_phantom

if TYPE_CHECKING:
    from napari_liverseg.models.contract import Input

DRAWN, DRAWN_MM = (250, 256, 256), (2.0, 1.6, 1.6)
"""Drawn at half the resolution, which saves minutes, and doubled along each axis."""

TINY, TINY_MM = (24, 28, 34), (12.0, 12.8, 12.0)

CHANGE = 0.001


class WholeGrid(ModelSpec):
    """A model that sees the air around the patient too."""

    @property
    def input(self) -> Input:
        """What it is given of a CT."""
        return replace(super().input, crop="none")


def main(setting: Setting = ON_CPU) -> list[Row]:
    """Return B4."""
    detail = find_model("starter").detail
    predictor = Predictor(detail, setting.device)
    uncropped = WholeGrid(**detail.model_dump()).in_folder(detail.folder)
    on_whole_grid = Predictor(uncropped, setting.device)
    volume, truth = _case(setting)
    repeats = setting.repeats(LONG_REPEATS)
    masks: dict[str, np.ndarray] = {}
    box = []

    def ours() -> None:
        found = predictor.predict(volume)
        masks["liver"] = decide(found).labels
        box[:] = [found.run.box, found.run.recipe]

    def every_window() -> None:
        options = RunOptions(look="everywhere", tune=False)
        found = on_whole_grid.predict(volume, options=options)
        masks["everywhere"] = decide(found).labels

    ours()  # what is measured once on a computer is measured now
    pairs = interleave(ours, every_window, repeats, setting.device)
    inside = box[0] or tuple(slice(0, n) for n in truth.shape)
    liver = bounding_box(truth > 0)
    complete = all(
        b.start <= t.start and t.stop <= b.stop
        for b, t in zip(inside, liver, strict=True)
    )
    dices = {look: _dice(mask[inside], truth[inside]) for look, mask in masks.items()}
    change = abs(dices["liver"] - dices["everywhere"])
    gate = (
        f"tumour Dice in the box {dices['liver']:.4f}, of every window "
        f"{dices['everywhere']:.4f}: {change:.4f} apart (at most {CHANGE}); the box "
        f"{'holds' if complete else 'CUTS'} the whole liver ({box[1]})"
    )
    return [
        Row(
            "B4", "512x512x500 phantom, coarse to fine", "every window, float32",
            ">= 6x", *pairs.faster(), gate, change <= CHANGE and complete, repeats,
            pairs.peaks(),
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

"""B4: a coarse pass and the windows over the liver, against every window of the CT.

The other side is what B1's runs: the same network in float32 over the whole grid, the
air around the patient too. Its windows begin at the CT's first voxel, ours at the
liver's box, and a network with instance normalisation gives other masks when windows
lie elsewhere, however many they are. So the gate compares with MONAI's windows over the
whole grid when air is put before it until they fall on those of the box; what the
place of windows changes is told beside it. Both sides may see the air around the
patient, which the starter crops.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from torch.nn import functional

from benchmarks.ratio import LONG_REPEATS, Row, interleave
from benchmarks.setting import ON_CPU, Setting
from napari_liverseg.core.box import bounding_box
from napari_liverseg.core.geometry import Geometry, Reorientation
from napari_liverseg.core.volume import CTVolume
from napari_liverseg.inference.decision import decide
from napari_liverseg.inference.groups import Groups
from napari_liverseg.inference.native_grid import to_native_grid
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.inference.prepare import prepare, prepare_around
from napari_liverseg.models.spec import ModelSpec
from napari_liverseg.models.store import find_model
from napari_liverseg.synthesis.phantom import make_phantom

if TYPE_CHECKING:
    from napari_liverseg.core.box import Box
    from napari_liverseg.core.probabilities import Probabilities
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
    model = WholeGrid(**detail.model_dump()).in_folder(detail.folder)
    predictor = Predictor(model, setting.device)
    volume, truth = _case(setting)
    repeats = setting.repeats(LONG_REPEATS)
    found: dict[str, Probabilities] = {}

    def ours() -> None:
        found["box"] = predictor.predict(volume)
        decide(found["box"])

    def every_window() -> None:
        options = RunOptions(look="everywhere", tune=False)
        found["everywhere"] = predictor.predict(volume, options=options)
        decide(found["everywhere"])

    ours()  # what is measured once on a computer is measured now
    pairs = interleave(ours, every_window, repeats, setting.device)
    run = found["box"].run
    inside = run.box or tuple(slice(0, n) for n in truth.shape)
    liver = bounding_box(truth > 0)
    complete = all(
        b.start <= t.start and t.stop <= b.stop
        for b, t in zip(inside, liver, strict=True)
    )
    found["shifted"] = _shifted(predictor, volume, inside, found["everywhere"])
    dices = {
        side: _dice(decide(belief).labels[inside], truth[inside])
        for side, belief in found.items()
    }
    change = abs(dices["box"] - dices["shifted"])
    gate = (
        f"tumour Dice in the box {dices['box']:.4f}, of MONAI's windows over the whole "
        f"CT, of which some fall on the box's, {dices['shifted']:.4f}: {change:.4f} "
        f"apart (at most {CHANGE}); of windows from the CT's first voxel "
        f"{dices['everywhere']:.4f}; the box {'holds' if complete else 'CUTS'} the "
        f"whole liver ({run.recipe})"
    )
    return [
        Row(
            "B4", "512x512x500 phantom, coarse to fine", "every window, float32",
            ">= 6x", *pairs.faster(), gate, change <= CHANGE and complete, repeats,
            pairs.peaks(),
        )
    ]  # fmt: skip


def _shifted(
    predictor: Predictor, volume: CTVolume, box: Box, other: Probabilities
) -> Probabilities:
    """Return what MONAI's windows over the whole grid believe, air before it.

    So much that some fall on those over a box, and behind it so much that the last
    need not be moved back.
    """
    model = predictor.model
    prepared = prepare(volume, model.input)
    windows = model.windows
    part = prepare_around(volume, model.input, box, windows)
    starts = [0, 0, 0] if part is None else [s.start for s in part.frame.image_box]
    sides, kept = [], []
    for first, n, window in zip(
        starts, prepared.image.shape, windows.patch, strict=True
    ):
        step = int(window * (1 - windows.overlap))
        before = -first % step
        sides.append((before, -(before + n - window) % step))
        kept.append(slice(before, before + n))
    around = [voxels for pair in reversed(sides) for voxels in pair]
    image = functional.pad(prepared.image, around, value=windows.padding)
    with torch.inference_mode():
        logits = sliding_window_inference(
            image[None, None], windows.patch, 1, predictor.networks[0],
            windows.overlap, mode="gaussian", sw_device=predictor.device.name,
            device="cpu",
        )[0]  # fmt: skip
    groups = Groups(model.output)
    whole = groups.take_weight_back(logits[:, *kept].clone())
    frame = prepared.frame
    belief = to_native_grid(
        frame.to_volume_axes(whole), groups.kept, frame, largest_only=True
    )
    return replace(
        other, liver=belief.liver, tumour=belief.tumour, decision=belief.decision,
        box=belief.box,
    )  # fmt: skip


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

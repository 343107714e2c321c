"""B4: a coarse pass and the windows over the liver, against every window."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.ratio import LONG_REPEATS, Row, interleave
from napari_liverseg.core.box import bounding_box
from napari_liverseg.inference.decision import decide
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.models.store import find_model
from napari_liverseg.synthesis.phantom import make_phantom

if TYPE_CHECKING:
    import numpy as np

SHAPE, SPACING_MM = (500, 512, 512), (1.0, 0.8, 0.8)
FINE_MM = (1.5, 1.5, 1.5)
CHANGE = 0.001


def main() -> list[Row]:
    """Return B4."""
    starter = find_model("starter")
    fine = starter.model_copy(update={"spacing_mm": FINE_MM}).in_folder(starter.folder)
    predictor = Predictor(fine, "cpu")
    phantom = make_phantom(31337, SHAPE, SPACING_MM)
    masks: dict[str, np.ndarray] = {}
    box = []

    def run(look: str) -> None:
        options = RunOptions(look=look, tune=False)
        found = predictor.predict(phantom.volume, options=options)
        masks[look] = decide(found).labels
        if look == "liver":
            box[:] = [found.run.box]

    pairs = interleave(lambda: run("liver"), lambda: run("everywhere"), LONG_REPEATS)
    truth = phantom.truth.labels
    inside = box[0] or (slice(None),) * 3
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
            *pairs.faster(), gate, change <= CHANGE and complete, LONG_REPEATS,
        )
    ]  # fmt: skip


def _dice(mask: np.ndarray, truth: np.ndarray) -> float:
    a, b = mask == 2, truth == 2
    total = int(a.sum() + b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0

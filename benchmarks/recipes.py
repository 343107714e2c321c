"""Every recipe trained for the same time on phantoms, and compared on others.

``python -m benchmarks.recipes [--minutes 4]``, on the CPU. The table says how the
recipes do on synthetic abdomens within minutes, not which one is the best on patients.
Processors that multiply bfloat16 train in it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.__main__ import machine
from napari_liverseg.cli import main as command
from napari_liverseg.core.progress import never_cancelled
from napari_liverseg.inference.picture import PictureClassifier
from napari_liverseg.inference.precision import multiplies_bf16
from napari_liverseg.measure.roc import auc, auc_interval, rates_at
from napari_liverseg.models.classifier_spec import find_classifier
from napari_liverseg.training.case_slices import WITH, cut_slices
from napari_liverseg.training.comparison import compare
from napari_liverseg.training.comparison_report import summary_rows, write_comparison

if TYPE_CHECKING:
    from collections.abc import Sequence

OUT = Path("out/recipes")
RESULT = Path(__file__).parent / "results" / "recipes.json"
RECIPES = ("unet2d", "resnet50-unet", "two-stage", "unet3d", "liver3d")
CLASSIFIER = "slice-classifier"
REFERENCE = ("starter-3mm", "starter")
"""In the table for comparison; they were trained for hours."""

SETS = {"train": (8, 50_001), "test": (4, 80_001)}
"""Phantoms and the seed of the first; training draws none of either set's."""

HALF = "bf16"
SMALL = {"unet3d": ("patch=[48,96,96]",)}
"""Settings without which a recipe for GPUs takes no hundred steps here."""


def main() -> None:
    """Draw the sets, train, compare, and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=4.0)
    minutes = parser.parse_args().minutes
    for name, (count, seed) in SETS.items():
        if not (OUT / name).is_dir():
            _run("phantoms", "-o", OUT / name, "--count", count, "--seed", seed)
    for recipe in (*RECIPES, CLASSIFIER):
        _train(recipe, minutes)
    runs = [*(str(OUT / recipe) for recipe in RECIPES), *REFERENCE]
    models = compare(runs, OUT / "test", "cpu", lambda *_: None, never_cancelled)
    write_comparison(OUT / "comparison", models)
    rows = summary_rows(models)
    classifier = _slices()
    _keep(rows, classifier, minutes)


def _train(recipe: str, minutes: float) -> None:
    """Train one recipe without cross-validation, or go on with it."""
    words: list[object] = ["train", recipe, "--data", OUT / "train", "-o", OUT / recipe]
    words += ["--resume", "--device", "cpu"]
    settings = list(SMALL.get(recipe, ()))
    if recipe != CLASSIFIER and multiplies_bf16("cpu"):
        settings.append(f"precision={HALF}")  # more steps in the same minutes
    for setting in settings:
        words += ["--set", setting]
    _run(*words, "--folds", 1, "--max-minutes", minutes)


def _run(*words: object) -> None:
    print("napari-liverseg", *words, flush=True)
    if command([str(word) for word in words]) != 0:
        raise SystemExit(1)


def _slices() -> dict[str, Any]:
    """Return how well the classifier tells the test set's slices apart."""
    listed = json.loads((OUT / CLASSIFIER / "result.json").read_text("utf-8"))["name"]
    model = find_classifier(listed)
    folder = OUT / "test-slices"
    cut_slices(OUT / "test", folder, model.hu_window, lambda *_: None)
    files = sorted(folder.rglob("*.png"))
    seer = PictureClassifier(model, "cpu")
    found = np.array([seer.predict(file).probabilities[WITH] for file in files])
    truth = np.array([WITH in file.parts for file in files])
    patients = [file.parent.name for file in files]
    rates = rates_at(model.cut_off or 0.5, found, truth)
    return {
        "slices": len(files),
        "auc": auc(found, truth),
        "auc_95": auc_interval(found, truth, patients),
        "sensitivity": rates.sensitivity,
        "specificity": rates.specificity,
    }


def _keep(
    rows: Sequence[Sequence[str]], classifier: dict[str, Any], minutes: float
) -> None:
    """Print the table as Markdown and keep it with the machine."""
    head, *models = rows
    for row in (head, ["---"] * len(head), *models):
        print("|", " | ".join(row), "|")
    print(classifier)
    content = {
        "minutes": minutes,
        "precision": HALF if multiplies_bf16("cpu") else "fp32",
        "sets": SETS,
        "table": [dict(zip(head, row, strict=True)) for row in models],
        CLASSIFIER: classifier,
        **machine(),
    }
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

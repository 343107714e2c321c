"""Every recipe trained for the same time on phantoms, and compared on others.

``python -m benchmarks.recipes [--minutes 4] [--device cuda --together]``. The table
says how the recipes do on synthetic abdomens within minutes, not which one is the best
on patients. Processors that multiply bfloat16 train in it, and GPUs that do.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.__main__ import machine
from napari_liverseg.core.progress import ignore_progress
from napari_liverseg.inference.picture import PictureClassifier
from napari_liverseg.inference.precision import multiplies_bf16
from napari_liverseg.measure.roc import auc, auc_interval, rates_at
from napari_liverseg.models.classifier_spec import find_classifier
from napari_liverseg.training.case_slices import WITH, cut_slices
from napari_liverseg.training.comparison import compare
from napari_liverseg.training.comparison_report import summary_rows, write_comparison
from napari_liverseg.training.curves import CURVES_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

OUT = Path("out/recipes")
RESULT = Path(__file__).parent / "results" / "recipes.json"
RECIPES = ("unet2d", "resnet50-unet", "two-stage", "unet3d", "liver3d")
CLASSIFIER = "slice-classifier"
REFERENCE = ("starter-3mm", "starter")
"""In the table for comparison; they were trained for hours."""

SETS = {"train": (16, 50_001), "test": (6, 80_001)}
"""Phantoms and the seed of the first; training draws none of either set's."""

HALF = "bf16"
SMALL = {"unet3d": ("patch=[48,96,96]",)}
"""Settings without which a recipe for GPUs takes no hundred steps on a processor."""


@dataclass(frozen=True)
class Terms:
    """The same for every recipe.

    Parameters
    ----------
    minutes : float
        Of each training, its preparations included.
    device : str
    together : bool
        Train all at once, each with two processes that draw: for a GPU, which one
        training leaves waiting, and a processor with as many cores as that takes.
    """

    minutes: float
    device: str
    together: bool

    @property
    def precision(self) -> str:
        """In which the networks for masks train."""
        return HALF if multiplies_bf16(self.device) else "fp32"


def main() -> None:
    """Draw the sets, train, compare, and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--together", action="store_true", help="train all at once")
    parser.add_argument("--sets", action="store_true", help="draw the phantoms alone")
    asked = parser.parse_args()
    for name, (count, seed) in SETS.items():
        if not (OUT / name).is_dir():
            _run("phantoms", "-o", OUT / name, "--count", count, "--seed", seed)
    if asked.sets:
        return
    terms = Terms(asked.minutes, asked.device, asked.together)
    recipes = (*RECIPES, CLASSIFIER)
    with ThreadPoolExecutor(len(recipes) if terms.together else 1) as pool:
        list(pool.map(lambda recipe: _train(recipe, terms), recipes))
    runs = [*(str(OUT / recipe) for recipe in RECIPES), *REFERENCE]
    models = compare(runs, OUT / "test", terms.device, ignore_progress)
    write_comparison(OUT / "comparison", models)
    _keep(summary_rows(models), _slices(terms.device), terms)


def _train(recipe: str, terms: Terms) -> None:
    """Train one recipe without cross-validation, or go on with it."""
    words: list[object] = ["train", recipe, "--data", OUT / "train", "-o", OUT / recipe]
    words += ["--resume", "--device", terms.device]
    settings = list(SMALL.get(recipe, ())) if terms.device == "cpu" else []
    if recipe != CLASSIFIER:
        settings.append(f"precision={terms.precision}")
        words += ["--folds", 1, *(["--workers", 2] if terms.together else [])]
    for setting in settings:
        words += ["--set", setting]
    _run(*words, "--max-minutes", terms.minutes)


def _run(*words: object) -> None:
    print("napari-liverseg", *words, flush=True)
    call = [sys.executable, "-m", "napari_liverseg.cli", *map(str, words)]
    subprocess.run(call, check=True)


def _slices(device: str) -> dict[str, Any]:
    """Return how well the classifier tells the test set's slices apart."""
    listed = json.loads((OUT / CLASSIFIER / "result.json").read_text("utf-8"))["name"]
    model = find_classifier(listed)
    folder = OUT / "test-slices"
    cut_slices(OUT / "test", folder, model.hu_window, lambda *_: None)
    files = sorted(folder.rglob("*.png"))
    seer = PictureClassifier(model, device)
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


def _steps(recipe: str) -> int:
    """Return how many steps a training took."""
    with (OUT / recipe / CURVES_FILE).open(encoding="utf-8", newline="") as file:
        return max(int(row["step"]) for row in csv.DictReader(file))


def _keep(
    rows: Sequence[Sequence[str]], classifier: dict[str, Any], terms: Terms
) -> None:
    """Print the table as Markdown and keep it with the machine."""
    head, *models = rows
    for row in (head, ["---"] * len(head), *models):
        print("|", " | ".join(row), "|")
    print(classifier)
    content = {
        **asdict(terms),
        "precision": terms.precision,
        "steps": {recipe: _steps(recipe) for recipe in RECIPES},
        "sets": SETS,
        "table": [dict(zip(head, row, strict=True)) for row in models],
        CLASSIFIER: classifier,
        **machine(),
    }
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

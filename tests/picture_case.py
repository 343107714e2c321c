"""Small pictures of two classes, and recipes that learn them in seconds."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from napari_liverseg.training.classifier_recipe import ClassifierRecipe
from napari_liverseg.training.compute import Place
from napari_liverseg.training.order import Order
from napari_liverseg.training.stop import Stop
from napari_liverseg.training.train import train
from napari_liverseg.training.watch import Ears

if TYPE_CHECKING:
    from pathlib import Path

ROWS, COLUMNS = 40, 48
TINY = {
    "kind": "classification-2d",
    "name": "tiny-classifier",
    "title": "Tiny classifier",
    "backbone": {"type": "resnet", "depth": 10, "width": 0.125},
    "image_size": 32,
    "optimiser": {"rate": 1e-2},
    "backbone_rate": 0.5,
    "frozen_epochs": 1,
    "early_stopping": None,
    "dropout": 0.1,
    "epochs": 12,
    "batch": 8,
}


def grey(rng, has_spot):
    """Return a noisy picture, with a dark spot off its middle where wanted."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    picture = 0.5 + 0.05 * rng.standard_normal((ROWS, COLUMNS))
    if has_spot:
        middle = rng.uniform(10, 20), rng.uniform(12, 30)
        picture[np.hypot(y - middle[0], x - middle[1]) < rng.uniform(5, 8)] -= 0.35
    return np.clip(picture, 0, 1)


def write_png(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray((picture * 255).round().astype(np.uint8))
    sitk.WriteImage(image, str(path))
    return path


def make_pictures(folder: Path, patients=10, each=2, seed=0) -> Path:
    """Write ``FOLDER/class/patient/N.png``; each patient has one class."""
    rng = np.random.default_rng(seed)
    for number in range(2 * patients):
        label = ("none", "tumour")[number % 2]
        for place in range(each):
            path = folder / label / f"p{number:02d}" / f"{place}.png"
            write_png(path, grey(rng, label == "tumour"))
    return folder


def write_list(path: Path, rows, columns=("path", "label", "patient")) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


def train_tiny(data, out, stop_after=None, *, order=None, **changes):
    """Train a tiny classifier for real and return what became of it."""
    stop = Stop()

    def on_epoch(epoch, _text):
        if epoch.epoch == stop_after:
            stop.ask()

    recipe = ClassifierRecipe.model_validate({**TINY, **changes})
    wanted = {"place": Place("cpu", workers=0), **(order or {})}
    ears = Ears(lambda *_: None, on_epoch, stop)
    return train(recipe, Order(data, out, **wanted), ears)

"""A tiny data set and a tiny recipe, so that real trainings take seconds."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import SimpleITK as sitk
import yaml

from dicom_factory import Style, write_series
from napari_liverseg.io.grid import to_image
from napari_liverseg.io.label_map import write_label_map
from napari_liverseg.io.open import open_ct
from napari_liverseg.io.retraining_set import add_case
from napari_liverseg.synthesis.phantom import make_phantom
from napari_liverseg.training.compute import Place
from napari_liverseg.training.order import Order
from napari_liverseg.training.segmentation_recipe import SegmentationRecipe
from napari_liverseg.training.stop import Stop
from napari_liverseg.training.train import train
from napari_liverseg.training.watch import Ears

if TYPE_CHECKING:
    from pathlib import Path

SHAPE, SPACING = (22, 26, 30), (13.0, 13.5, 13.0)

EVERYTHING = {
    "rotation": {"probability": 0.5},
    "scaling": {"probability": 0.5},
    "flipping": {"probability": 0.3},
    "elastic": {"probability": 0.2},
    "noise": {"probability": 0.5},
    "blur": {"probability": 0.5},
    "contrast": {"probability": 0.5},
    "resolution": {"probability": 0.5},
}

TINY = {
    "kind": "segmentation-3d",
    "name": "tiny",
    "title": "Tiny",
    "folds": 1,
    "spacing_mm": [18, 18, 18],
    "patch": [8, 12, 16],
    "overlap": 0.25,
    "network": {"channels": [4, 8], "strides": [2], "num_res_units": 0},
    "optimiser": {"rate": 5e-3},
    "schedule": {"type": "cosine", "warm_up_steps": 2},
    "early_stopping": None,
    "epochs": 3,
    "steps_per_epoch": 3,
    "precision": "fp32",
    "ema": 0.9,
    "augmentation": EVERYTHING,
}


def tiny_recipe(**changes) -> SegmentationRecipe:
    return SegmentationRecipe.model_validate({**TINY, **changes})


def write_recipe(path: Path, **changes) -> Path:
    path.write_text(yaml.safe_dump({**TINY, **changes}))
    return path


def make_set(folder: Path) -> Path:
    """Write a retraining set of four CTs of three patients."""
    for seed, patient in enumerate(("a", "b", "a", "c")):
        phantom = make_phantom(seed, SHAPE, SPACING)
        volume = replace(phantom.volume, patient_key=patient)
        add_case(folder, volume, phantom.truth)
    return folder


def write_dicom_set(folder: Path, patients) -> Path:
    """Write a datalist of CTs in DICOM, whose headers alone name the patients."""
    items = []
    for number, patient in enumerate(patients):
        phantom = make_phantom(number, SHAPE, SPACING)
        style = Style(series_uid=f"1.2.3.{number}", patient_id=patient)
        volume = phantom.volume
        write_series(folder / f"ct{number}", volume.hu, volume.geometry, style)
        label = folder / f"label{number}.nii.gz"
        write_label_map(label, phantom.truth, volume)
        items.append({"image": f"ct{number}", "label": label.name})
    labels = {"background": 0, "liver": 1, "tumour": 2}
    return write_datalist(folder / "list.json", items, labels=labels)


def write_turned(image: Path, copy: Path) -> Path:
    """Write a CT once more, in another format and with other axes."""
    volume = open_ct(image)
    turned = sitk.DICOMOrient(to_image(volume.hu, volume.geometry), "SAR")
    sitk.WriteImage(turned, str(copy))
    return copy


def write_datalist(path: Path, items, **content) -> Path:
    path.write_text(json.dumps({"training": items, **content}))
    return path


@dataclass
class Told:
    """Everything that a training says, and when it is asked to stop."""

    stop_after: int | None = None
    stop: Stop = field(default_factory=Stop)
    progress: list[str] = field(default_factory=list)
    epochs: list = field(default_factory=list)

    def on_progress(self, done, _total, text):
        self.progress.append(text)
        if "epoch" in text.lower() and done == self.stop_after:
            self.stop.ask()

    @property
    def ears(self):
        return Ears(
            self.on_progress, lambda epoch, _: self.epochs.append(epoch), self.stop
        )


def run_tiny(data, out, told=None, *, ears=None, order=None, **changes):
    """Train the tiny recipe for real and return what became of it.

    `order` holds fields of `Order`; `changes` those of the recipe.
    """
    wanted = {"place": Place("cpu", workers=0), **(order or {})}
    recipe = tiny_recipe(**changes)
    return train(recipe, Order(data, out, **wanted), ears or (told or Told()).ears)

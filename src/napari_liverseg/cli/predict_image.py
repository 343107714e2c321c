"""The command `predict-image`: what a classifier says of pictures."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_liverseg.cli.ending import Refusals
from napari_liverseg.cli.options import DeviceName
from napari_liverseg.cli.text import columns, printable

if TYPE_CHECKING:
    from napari_liverseg.inference.picture import PicturePrediction
    from napari_liverseg.models.classifier_spec import ClassifierSpec

    Found = list[tuple[Path, PicturePrediction]]


def predict_image(
    model: Annotated[
        str, typer.Argument(help="A classifier's name or its folder.", metavar="MODEL")
    ],
    images: Annotated[
        list[Path],
        typer.Argument(
            help="PNG, JPEG, TIFF, BMP, or CT slices in DICOM.", metavar="IMAGE..."
        ),
    ],
    device: DeviceName = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say of each IMAGE which class it shows. Not for clinical use."""
    from napari_liverseg.inference.picture import PictureClassifier
    from napari_liverseg.models.classifier_spec import find_classifier

    spec = find_classifier(model)
    classifier = PictureClassifier(spec, device)
    found: Found = []
    refusals = Refusals()
    for image in images:
        with refusals.told(str(image), image.name):
            found.append((image, classifier.predict(image)))
    if found and as_json:
        typer.echo(json.dumps(as_dict(spec, found, refusals), indent=2))
    elif found:
        typer.echo(say_classes(spec, found))
    refusals.end(len(images), "pictures could not be read")


def as_dict(
    spec: "ClassifierSpec", found: "Found", refusals: Refusals
) -> dict[str, Any]:
    """Return what ``predict-image --json`` prints."""
    images = [
        {
            "image": str(image),
            "label": one.label,
            "probabilities": one.probabilities,
            "cut_off": one.cut_off,
        }
        for image, one in found
    ]
    refused = [{"image": image, "reason": why} for image, why in refusals.reasons]
    head = {"model": spec.name, "sha256": spec.sha256}
    return {**head, "images": images, "refused": refused}


def say_classes(spec: "ClassifierSpec", found: "Found") -> str:
    """Return a table of the pictures as text, and how their class was called."""
    head = ["image", "called", *spec.classes]
    rows = [
        [image.name, one.label, *(f"{p:.3f}" for p in one.probabilities.values())]
        for image, one in found
    ]
    lines = [columns([[printable(cell) for cell in row] for row in [head, *rows]])]
    if spec.cut_off is not None:
        lines.append(f"'{spec.positive}' is called from {spec.cut_off:.3f} on.")
    return "\n".join([*lines, "Not for clinical use."])

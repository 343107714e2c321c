"""The command `predict-image`: what a classifier says of pictures."""

import json
from pathlib import Path
from typing import Annotated

import typer

from napari_liverseg.cli.options import DeviceName
from napari_liverseg.cli.text import columns, printable


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
    found = [(image, classifier.predict(image)) for image in images]
    if as_json:
        content = [
            {
                "image": str(image),
                "label": one.label,
                "probabilities": one.probabilities,
                "cut_off": one.cut_off,
            }
            for image, one in found
        ]
        said = {"model": spec.name, "sha256": spec.sha256, "images": content}
        typer.echo(json.dumps(said, indent=2))
        return
    head = ["image", "called", *spec.classes]
    rows = [
        [image.name, one.label, *(f"{p:.3f}" for p in one.probabilities.values())]
        for image, one in found
    ]
    typer.echo(columns([[printable(cell) for cell in row] for row in [head, *rows]]))
    if spec.cut_off is not None:
        typer.echo(f"'{spec.positive}' is called from {spec.cut_off:.3f} on.")
    typer.echo("Not for clinical use.")

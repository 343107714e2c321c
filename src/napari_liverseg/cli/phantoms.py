"""The command `phantoms`: labelled synthetic CTs, to try a training with."""

from pathlib import Path
from typing import Annotated

import typer

from napari_liverseg.cli.progress import progress_bar

FIELD_MM = (240.0, 342.0, 414.0)
"""What each CT shows, ``(z, y, x)``."""


def phantoms(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Retraining set.", metavar="FOLDER"),
    ],
    count: Annotated[
        int, typer.Option(help="CTs to draw.", min=1, max=1000, metavar="N")
    ] = 8,
    seed: Annotated[
        int, typer.Option(help="Of the first one; the next have the next.", min=0)
    ] = 1,
    voxel_mm: Annotated[
        float, typer.Option(help="Edge of a voxel.", min=1, max=20, metavar="MM")
    ] = 2.5,
) -> None:
    """Draw synthetic CTs with five tumours each, and add them to a retraining set."""
    from napari_liverseg.io.retraining_set import add_case
    from napari_liverseg.synthesis.phantom import make_phantom

    z, y, x = (round(side / voxel_mm) for side in FIELD_MM)
    spacing = (voxel_mm, voxel_mm, voxel_mm)
    with progress_bar() as on_progress:
        for number in range(count):
            on_progress(number, count, f"Drawing phantom {number + 1}")
            phantom = make_phantom(seed + number, (z, y, x), spacing)
            add_case(output, phantom.volume, phantom.truth)
    typer.echo(f"Added {count} synthetic CTs to {output}.")

"""The command `compare`: several trained models on the same labelled cases."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from napari_liverseg.cli.options import DeviceName
from napari_liverseg.cli.progress import progress_bar
from napari_liverseg.cli.text import columns, printable


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Folders of trainings or models, or names of models.", metavar="RUN..."
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="Labelled cases: a retraining set, a raw folder of nnU-Net, a list.",
            metavar="FOLDER|LIST.json",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder of the report.", metavar="OUT"),
    ],
    device: DeviceName = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare models on the same cases: one table, one page."""
    from napari_liverseg.batch.outputs import all_or_none
    from napari_liverseg.core.progress import never_cancelled
    from napari_liverseg.training.extra import require_train

    require_train()
    from napari_liverseg.training.comparison import compare as run_all
    from napari_liverseg.training.comparison_report import (
        PAGE_FILE,
        summary_rows,
        write_comparison,
    )

    # Tried before hours are spent; the files are written whole by themselves.
    with all_or_none(output, ()):
        with progress_bar() as on_progress:
            models = run_all(runs, data, device, on_progress, never_cancelled)
        # First, for the disk may be full by now.
        if as_json:
            typer.echo(json.dumps({"models": [asdict(model) for model in models]}))
        else:
            # Upright on a terminal: a measure a line, a model a column.
            turned = list(zip(*summary_rows(models), strict=True))
            typer.echo(columns([[printable(cell) for cell in row] for row in turned]))
        write_comparison(output, models)
    if not as_json:
        typer.echo(f"Wrote {output / PAGE_FILE}. Not for clinical use.")

"""The command `compare`: several trained models on the same labelled cases."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_liverseg.cli.ending import says_when_stopped
from napari_liverseg.cli.options import DeviceName
from napari_liverseg.cli.progress import progress_bar
from napari_liverseg.cli.text import columns, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_liverseg.training.compared import Compared


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
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a report in the folder.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare models on the same cases: one table, one page."""
    from napari_liverseg.batch.outputs import all_or_none
    from napari_liverseg.training.extra import require_train

    require_train()
    from napari_liverseg.training.comparison import compare as run_all
    from napari_liverseg.training.comparison_report import (
        CASES_FILE,
        PAGE_FILE,
        write_comparison,
    )
    from napari_liverseg.training.kept_cases import KEPT_FILE, KeptCases

    files = (PAGE_FILE, CASES_FILE)
    kept = KeptCases(output / KEPT_FILE)
    stopped = f"Finished cases are kept in {output}; run again to go on with the rest."
    # The folder is tried before hours are spent.
    with (
        says_when_stopped(stopped),
        all_or_none(output, files, overwrite=overwrite) as unfinished,
    ):
        with progress_bar() as on_progress:
            models = run_all(runs, data, device, on_progress, kept)
        # First, for the disk may be full by now.
        typer.echo(as_json_text(models) if as_json else say_means(models))
        write_comparison(unfinished, models)
    kept.forget()
    if not as_json:
        typer.echo(f"Wrote {output / PAGE_FILE}. Not for clinical use.")


def as_json_text(models: "Sequence[Compared]") -> str:
    """Return what ``compare --json`` prints."""
    return json.dumps({"models": [asdict(model) for model in models]})


def say_means(models: "Sequence[Compared]") -> str:
    """Return the table of means as text: a measure a line, a model a column."""
    from napari_liverseg.training.comparison_report import summary_rows

    turned = zip(*summary_rows(models), strict=True)
    return columns([[printable(cell) for cell in row] for row in turned])

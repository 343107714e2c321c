"""The command `segment`: from a CT to a label map and a report of how."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_liverseg.batch.cases import Case
from napari_liverseg.batch.finished import ct_files
from napari_liverseg.batch.opening import open_chosen
from napari_liverseg.batch.outputs import all_or_none
from napari_liverseg.batch.report import peak_memory_mb, say_result
from napari_liverseg.batch.result import (
    FILES,
    PROBABILITY_FILES,
    Making,
    write_probabilities,
    write_result,
)
from napari_liverseg.batch.sight import sight_of
from napari_liverseg.cli.options import (
    DeviceName,
    LookName,
    Mirror,
    ModelName,
    Threshold,
    Ways,
    Where,
    as_decisions,
)
from napari_liverseg.cli.progress import progress_bar
from napari_liverseg.cli.text import printable
from napari_liverseg.core.errors import CancelledError, ExportError
from napari_liverseg.core.probabilities import Thresholds
from napari_liverseg.inference.options import Listener, RunOptions
from napari_liverseg.io.formats import is_image_file, stem
from napari_liverseg.models.digest import digest_of

if TYPE_CHECKING:
    from napari_liverseg.core.problem import Decision
    from napari_liverseg.core.volume import CTVolume


@dataclass(frozen=True)
class Job:
    """What `segment` was asked to do."""

    path: Path
    output: Path
    model: str | None
    device: str
    series: str | None
    thresholds: Thresholds
    decisions: "tuple[Decision, ...]"
    overwrite: bool
    probabilities: bool
    options: RunOptions


def segment(  # noqa: PLR0913 - typer reads the options from the parameters
    path: Annotated[
        Path,
        typer.Argument(
            help="A CT file, a DICOM folder or a zip of one.", metavar="PATH"
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for the results.", metavar="DIR"),
    ],
    model: ModelName = None,
    device: DeviceName = "auto",
    series: Annotated[
        str | None,
        typer.Option(help="Which series, as 'inspect' lists it.", metavar="UID"),
    ] = None,
    threshold_liver: Threshold = None,
    threshold_tumour: Threshold = None,
    decision: Ways = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results in the folder.")
    ] = False,
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities", help="Write how sure the model is of every voxel, too."
        ),
    ] = False,
    look: LookName = Where.LIVER,
    mirror: Mirror = False,
) -> None:
    """Write the liver and tumours of a CT as a label map, with a report."""
    job = Job(
        path=path,
        output=output,
        model=model,
        device=device,
        series=series,
        thresholds=Thresholds(liver=threshold_liver, tumour=threshold_tumour),
        decisions=as_decisions(decision),
        overwrite=overwrite,
        probabilities=probabilities,
        options=RunOptions(look=look.value, mirror=mirror),
    )
    try:
        typer.echo(run(job))
    except KeyboardInterrupt:
        raise CancelledError from None


def run(job: Job) -> str:
    """Do the job and return what to tell the user.

    The files appear in the output folder together at the end, or none does.

    Raises
    ------
    LiversegError
        When the CT, the model, the device or the output folder is refused.
    """
    from napari_liverseg.inference.decision import decide
    from napari_liverseg.inference.predictor import Predictor
    from napari_liverseg.models.store import default_model, find_model

    started = time.perf_counter()
    _refuse_file_name(job.output)
    with all_or_none(
        job.output, FILES, PROBABILITY_FILES, overwrite=job.overwrite
    ) as unfinished:
        model = find_model(job.model) if job.model else default_model()
        files = _ct_files(job)
        volume = open_chosen(job.path, job.series, job.decisions)
        _say_warnings(volume)
        with progress_bar() as on_progress:
            predictor = Predictor(model, job.device)
            probabilities = predictor.predict(
                volume,
                on_progress,
                options=job.options,
                listener=Listener(on_plan=_say_plan),
            )
        segmentation = decide(probabilities, job.thresholds)
        passed = time.perf_counter() - started
        digest = digest_of(model)
        making = Making(
            probabilities.run, job.thresholds, passed, peak_memory_mb(), digest, files
        )
        report = write_result(unfinished, segmentation, volume, making)
        if job.probabilities:
            write_probabilities(unfinished, probabilities, volume)
    for note in probabilities.run.notes:
        typer.echo(printable(note), err=True)
    written = FILES + PROBABILITY_FILES * job.probabilities
    *first, last = (str(job.output / name) for name in written)
    return f"{say_result(report)}\nWrote {', '.join(first)} and {last}."


def _ct_files(job: Job) -> str | None:
    """Return which files the CT is, so that a batch knows its result again.

    It is asked before the CT is opened, so that files that are replaced meanwhile
    count as others.
    """
    case = Case("", job.path, job.series)
    try:
        return ct_files(case, sight_of(job.path.resolve()))
    except (OSError, RuntimeError):  # a link that leads nowhere, or to itself
        return None


def _refuse_file_name(output: Path) -> None:
    """Refuse a folder that would be taken for an image."""
    if is_image_file(output) and not output.is_dir():
        found = f"'{output.name}' names a file; {' and '.join(FILES)} need a folder."
        step = f"Name a folder with -o, such as '{stem(output)}'."
        raise ExportError(found, step)


def _say_plan(plan: str) -> None:
    """Say before the run what it will take, to whoever is there to read it."""
    if sys.stderr.isatty():
        typer.echo(printable(f"{plan[0].upper()}{plan[1:]}."), err=True)


def _say_warnings(volume: "CTVolume") -> None:
    """Say before the long run what the masks cannot be trusted for."""
    for problem in volume.problems:
        if problem.severity == "warning":
            typer.echo(printable(f"Warning: {problem.message}"), err=True)

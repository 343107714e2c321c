"""The command `batch`: many cases, on this computer or on a cluster."""

import contextlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_liverseg.cli.ending import say_refused, says_when_stopped
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
from napari_liverseg.core.errors import (
    CaseError,
    ExportError,
    LiversegError,
    MissingExtraError,
)
from napari_liverseg.core.probabilities import Thresholds
from napari_liverseg.inference.options import RunOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from napari_liverseg.batch.address import TlsFiles
    from napari_liverseg.batch.crew import Crew
    from napari_liverseg.batch.order import Wish
    from napari_liverseg.batch.summary import Row
    from napari_liverseg.core.progress import OnProgress


LOCK_FILE = ".batch.lock"


class Sending(StrEnum):
    """The members of `batch.order.Send`, as typer takes choices."""

    AUTO = "auto"
    PATHS = "paths"
    BYTES = "bytes"


@dataclass(frozen=True)
class Place:
    """Where a batch is computed.

    Parameters
    ----------
    scheduler : str or None
        Address of a scheduler; None starts workers here.
    workers : int or None
        How many are started here.
    device : str
    tls : TlsFiles or None
    """

    scheduler: str | None
    workers: int | None
    device: str
    tls: "TlsFiles | None"


TlsFile = Annotated[
    Path | None, typer.Option(help="PEM file for tls:// addresses.", metavar="FILE")
]


def batch(  # noqa: PLR0913 - typer reads the options from the parameters
    source: Annotated[
        Path,
        typer.Argument(
            help="A folder of cases, or a table with the columns path, name and "
            "series.",
            metavar="FOLDER|LIST.csv",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder of the results.", metavar="DIR"),
    ],
    model: ModelName = None,
    device: DeviceName = "auto",
    threshold_liver: Threshold = None,
    threshold_tumour: Threshold = None,
    decision: Ways = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace other results in the folder.")
    ] = False,
    look: LookName = Where.LIVER,
    mirror: Mirror = False,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="A Dask scheduler to use; without it workers are started here.",
            metavar="tls://HOST:PORT",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(help="Workers to start here.", min=1, max=256, metavar="N"),
    ] = None,
    send: Annotated[
        Sending,
        typer.Option(
            help="Let workers read the CTs, or send them the voxels.",
            metavar="auto|paths|bytes",
        ),
    ] = Sending.AUTO,
    tls_ca: TlsFile = None,
    tls_cert: TlsFile = None,
    tls_key: TlsFile = None,
) -> None:
    """Segment many CTs; what is finished already is skipped."""
    from napari_liverseg.batch.order import Wish
    from napari_liverseg.models.store import default_model, find_model

    if scheduler and workers:
        msg = "--workers starts workers here; a scheduler has its own."
        raise typer.BadParameter(msg)
    place = Place(scheduler, workers, device, tls_files(tls_ca, tls_cert, tls_key))
    wish = Wish(
        model=find_model(model) if model else default_model(),
        thresholds=Thresholds(liver=threshold_liver, tumour=threshold_tumour),
        decisions=as_decisions(decision),
        overwrite=overwrite,
        send=send.value,
        options=RunOptions(look=look.value, mirror=mirror),
    )
    with says_when_stopped("Finished cases stay; run again to go on with the rest."):
        run(source, output, wish, place)


def run(source: Path, output: Path, wish: "Wish", place: Place) -> None:
    """Do the batch and say how it ended.

    Raises
    ------
    CaseError
        When some case was refused.
    LiversegError
        When the batch could not start, as another one writes there, or cannot go on.
    """
    from napari_liverseg.batch.cases import find_cases
    from napari_liverseg.batch.outputs import make_folder
    from napari_liverseg.batch.run import Batch
    from napari_liverseg.batch.summary import SUMMARY_FILE

    cases = find_cases(source, output)
    make_folder(output)
    with _alone(output), progress_bar() as on_progress:
        work = Batch(cases, output, wish, Teller(on_progress))
        work.skip_finished()
        if work.waiting:
            try:
                with _crew(place) as crew:
                    work.run(crew)
            except MissingExtraError:
                raise  # its next step is a command to copy, and ends with it
            except LiversegError as error:
                step = f"{error.next_step} Finished cases stay and are skipped then."
                raise type(error)(error.found, step) from error
    rows = work.rows
    typer.echo(f"{_count(rows)}. Wrote {output / SUMMARY_FILE}.")
    refused = sum(row.status == "refused" for row in rows)
    if refused:
        found = f"{refused} of {len(rows)} cases could not be segmented."
        step = f"{SUMMARY_FILE} says why; mend them and run again."
        raise CaseError(found, step)


def _alone(output: Path) -> "AbstractContextManager[None]":
    """Keep other batches out of a folder: each would undo rows of the other's table.

    The system itself lets go of the lock of a batch that was killed.
    """
    from napari_liverseg.io.folder_lock import locked

    step = "Wait until it has ended, or stop it; or choose another folder."
    busy = ExportError(f"Another batch writes into '{output}'.", step)
    return locked(output, LOCK_FILE, 0.0, busy)


class Teller:
    """Tells the terminal what becomes of each case."""

    def __init__(self, on_progress: "OnProgress") -> None:
        self._on_progress = on_progress

    def ended(self, row: "Row", ended: int, total: int, left_s: float | None) -> None:
        """Draw the bar; of a case that was refused, say why."""
        if row.status == "refused":
            say_refused(row.name, row.problems)
        left = "" if left_s is None or ended == total else f", {_about(left_s)} left"
        self._on_progress(ended, total, f"Case {ended} of {total}{left}")


def tls_files(
    authority: Path | None, certificate: Path | None, key: Path | None
) -> "TlsFiles | None":
    """Return the three files of TLS, or None without any; fewer are wrong usage."""
    from napari_liverseg.batch.address import TlsFiles

    if authority is None and certificate is None and key is None:
        return None
    if authority is None or certificate is None or key is None:
        msg = "--tls-ca, --tls-cert and --tls-key go together."
        raise typer.BadParameter(msg)
    return TlsFiles(authority, certificate, key)


@contextlib.contextmanager
def _crew(place: Place) -> "Iterator[Crew]":
    from napari_liverseg.batch.address import is_open, parse_address
    from napari_liverseg.batch.cluster import connected, local_workers

    if place.scheduler is None:
        with local_workers(place.workers, place.device) as crew:
            yield crew
        return
    address = parse_address(place.scheduler)
    if is_open(address):
        text = (
            f"Warning: The connection to {address} is not encrypted. Others on that "
            "network can read the CTs and run programs on the workers; use tls://."
        )
        typer.echo(text, err=True)
    with connected(address, place.tls, place.device) as crew:
        yield crew


def _count(rows: "tuple[Row, ...]") -> str:
    words = {"done": "segmented", "skipped": "there already", "refused": "refused"}
    counts = {status: sum(r.status == status for r in rows) for status in words}
    return ", ".join(f"{counts[status]} {words[status]}" for status in words)


def _about(seconds: float) -> str:
    return f"about {seconds:.0f} s" if seconds < 90 else f"about {seconds / 60:.0f} min"

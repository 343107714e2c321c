"""The command `models fetch`: published weights, their licence shown first."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_liverseg.cli.consent import ask
from napari_liverseg.cli.progress import progress_bar
from napari_liverseg.core.errors import CancelledError
from napari_liverseg.models.releases import RELEASES

if TYPE_CHECKING:
    from napari_liverseg.models.fetch import Fetched

FIRST_TIME = (
    "Its makers publish no hash, so nothing could prove this first fetch. The hash is "
    "written down; later fetches must have it."
)

Name = StrEnum("Name", {name: name for name in RELEASES})  # type: ignore[misc]
"""The names of `RELEASES`, as typer takes choices."""


def parse_sha256(text: str) -> str:
    """Return a hash in lower case; anything else is wrong usage."""
    digest = text.strip().lower()
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        msg = f"'{text}' is no SHA-256 of 64 hex digits."
        raise typer.BadParameter(msg)
    return digest


def fetch(
    name: Annotated[Name, typer.Argument(help="Which weights.")],
    from_file: Annotated[
        Path | None,
        typer.Option(help="The zip, fetched on another computer.", metavar="ZIP"),
    ] = None,
    sha256: Annotated[
        str | None,
        typer.Option(
            help="Hash that the zip must have.", parser=parse_sha256, metavar="HEX"
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Fetch TotalSegmentator's weights to your models."""
    from napari_liverseg.models.fetch import fetch as fetch_release

    release = RELEASES[name.value]
    source = from_file.name if from_file else release.address
    typer.echo(
        f"{release.name}: finds {release.finds}. {release.notice}\n"
        f"Licence: {release.licence}. From: {source}",
        err=True,
    )
    ask("Fetch it under these terms?", "--yes", given=yes)
    try:
        with progress_bar() as on_progress:
            fetched = fetch_release(release, from_file, sha256 or "", on_progress)
    except KeyboardInterrupt:
        raise CancelledError from None
    _tell(fetched)


def _tell(fetched: "Fetched") -> None:
    typer.echo(f"Fetched to {fetched.folder}.\nSHA-256 of the zip: {fetched.sha256}")
    if fetched.proven_by == "nothing":
        typer.echo(FIRST_TIME)
    else:
        typer.echo(f"It is the hash that is known ({fetched.proven_by}).")
    if fetched.reason:
        typer.echo(f"It cannot be run by itself yet: {fetched.reason}", err=True)

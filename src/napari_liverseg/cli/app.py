"""The command `napari-liverseg`: its commands, and how each of them may end."""

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from napari_liverseg.cli.batch import batch
from napari_liverseg.cli.compare import compare
from napari_liverseg.cli.ending import DONE, REFUSED, STOPPED
from napari_liverseg.cli.inspect import inspect
from napari_liverseg.cli.measure import measure
from napari_liverseg.cli.models import models
from napari_liverseg.cli.phantoms import phantoms
from napari_liverseg.cli.predict_image import predict_image
from napari_liverseg.cli.segment import segment
from napari_liverseg.cli.text import printable
from napari_liverseg.cli.train import train
from napari_liverseg.cli.viewer import demo, view
from napari_liverseg.core.errors import CancelledError, LiversegError

NO_MEMORY = (
    "There is not enough memory. Close other programs, or choose a smaller CT or crop "
    "this one, and run again."
)

WINDOWED = ("view", "demo")
"""Commands whose warnings napari shows in its own window."""

app = typer.Typer(
    name="napari-liverseg",
    help="Segment liver and tumours in abdominal CT. Not for clinical use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    inspect,
    segment,
    batch,
    measure,
    train,
    phantoms,
    compare,
    predict_image,
    demo,
    view,
):
    app.command()(command)
app.add_typer(models, name="models")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    arguments : sequence of str or None
        Without the program's name; None takes them from `sys.argv`.

    Returns
    -------
    int
        0 done, 1 refused with the reason on stderr, 2 wrong usage, 130 stopped
        by the user.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug, given = _debug_first(given)
    try:
        app(given, prog_name="napari-liverseg")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else DONE
        return _stopped("Stopped.") if code == STOPPED else code
    except CancelledError:
        return _stopped("Stopped: nothing was written.")
    except LiversegError as refusal:
        if debug:
            raise
        return _refused(str(refusal))
    except Exception as error:
        if debug:
            raise
        return _refused(_unforeseen(error))
    return DONE


def print_version(wanted: bool) -> None:
    """Print the version where it was asked for, and end."""
    if wanted:
        from napari_liverseg import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def start(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and warnings.")
    ] = False,
    _: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version and exit.",
            callback=print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Segment liver and tumours in abdominal CT. Not for clinical use."""
    if not debug and context.invoked_subcommand not in WINDOWED:
        context.with_resource(_quiet())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the remarks of libraries off the screen of a user who cannot act."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def _debug_first(given: list[str]) -> tuple[bool, list[str]]:
    """Move ``--debug`` in front of the command, so that it works anywhere."""
    end = given.index("--") if "--" in given else len(given)
    options = [word for word in given[:end] if word != "--debug"]
    if len(options) == end:
        return False, given
    return True, ["--debug", *options, *given[end:]]


def _refused(sentence: str) -> int:
    lines = "\n".join(printable(line) for line in sentence.splitlines())
    typer.echo(f"Error: {lines}", err=True)
    return REFUSED


def _stopped(sentence: str) -> int:
    typer.echo(sentence, err=True)
    return STOPPED


def _unforeseen(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return NO_MEMORY
    # Words of libraries quote paths, and paths name patients.
    reason = error.strerror if isinstance(error, OSError) else None
    said = f": {reason}" if reason else ""
    return (
        f"Something went wrong that should not ({type(error).__name__}{said}). "
        "Run the command again with --debug and report what it prints."
    )

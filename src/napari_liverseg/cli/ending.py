"""How a command over many things ends: stopped, or with some of them refused."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from napari_liverseg.cli.text import printable
from napari_liverseg.core.errors import CaseError, LiversegError

if TYPE_CHECKING:
    from collections.abc import Iterator

DONE, REFUSED, STOPPED = 0, 1, 130
"""Exit codes beside 2, wrong usage, which typer gives."""


@contextmanager
def says_when_stopped(text: str) -> Iterator[None]:
    """Say on Ctrl-C what is kept, and end as stopped."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(text, err=True)
        raise typer.Exit(STOPPED) from None


class Refusals:
    """What is refused of many things, told at once: one must not cost the others."""

    def __init__(self) -> None:
        self.reasons: list[tuple[str, str]] = []

    @contextmanager
    def told(self, thing: str, name: str | None = None) -> Iterator[None]:
        """Tell of a refusal inside of the block, and go on behind it.

        Parameters
        ----------
        thing : str
            Under which `reasons` keeps it.
        name : str or None
            What to call it on the terminal, if otherwise.
        """
        try:
            yield
        except (LiversegError, OSError) as error:
            reason = _in_words(error)
            self.reasons.append((thing, reason))
            say_refused(name or thing, reason)

    def end(self, total: int, what: str) -> None:
        """Refuse the whole where something was refused, once the rest is told.

        Parameters
        ----------
        total : int
            How many things there were.
        what : str
            Such as ``cases could not be measured``.

        Raises
        ------
        CaseError
        """
        if self.reasons:
            found = f"{len(self.reasons)} of {total} {what}."
            raise CaseError(found, "Mend or remove these files and run again.")


def say_refused(name: str, reason: str) -> None:
    """Say on stderr why one of many things was refused."""
    typer.echo(printable(f"Error in {name}: {reason}"), err=True)


def _in_words(error: LiversegError | OSError) -> str:
    # The system's own words quote paths, and paths name patients.
    return f"{error.strerror}." if isinstance(error, OSError) else str(error)

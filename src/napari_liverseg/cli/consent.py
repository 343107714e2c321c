"""Questions that a person answers at a terminal and a script answers beforehand."""

from __future__ import annotations

import sys

import typer

from napari_liverseg.core.errors import LiversegError


def ask(question: str, option: str, *, given: bool) -> None:
    """Go on only where the user says yes.

    Parameters
    ----------
    question : str
        Ends with a question mark.
    option : str
        What a script adds to say yes, such as ``--yes``.
    given : bool
        Whether it was added.

    Raises
    ------
    LiversegError
        When the answer is no, or nobody is there to give one.
    """
    if given:
        return
    if not sys.stdin.isatty():
        found = f"This needs a yes: {question}"
        raise LiversegError(found, f"Add {option} to say so.")
    if not typer.confirm(question, err=True):
        found = "You said no: nothing was done."
        raise LiversegError(found)

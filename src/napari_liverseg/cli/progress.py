"""A progress bar on a terminal; in a pipe none, or lines for a program that asks."""

from __future__ import annotations

import math
import os
import re
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from napari_liverseg.core.progress import IN_LINES, ignore_progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_liverseg.core.progress import OnProgress

LINE_EVERY_S = 1.0
"""A line whose numbers alone are new waits so long; one with other words does not."""

NUMBERS = re.compile(r"[\d.]+")


@contextmanager
def progress_bar() -> Iterator[OnProgress]:
    """Yield what to call with ``(done, total, text)``; the bar is on stderr."""
    if not sys.stderr.isatty():
        yield _in_lines() if os.environ.get(IN_LINES) == "1" else ignore_progress
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    look = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*look, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("Opening", total=None)

        def show(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total, description=escape(text))

        yield show


def _in_lines() -> OnProgress:
    """Return what writes the text of a progress to stderr, not too often."""
    last, words = -math.inf, ""

    def show(_done: int, _total: int, text: str) -> None:
        nonlocal last, words
        now, said = time.monotonic(), NUMBERS.sub("", text)
        if said != words or now - last >= LINE_EVERY_S:
            last, words = now, said
            typer.echo(text, err=True)

    return show

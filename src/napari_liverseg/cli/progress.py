"""A progress bar on a terminal, and none in a pipe."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_liverseg.core.progress import ignore_progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_liverseg.core.progress import OnProgress


@contextmanager
def progress_bar() -> Iterator[OnProgress]:
    """Yield what to call with ``(done, total, text)``; the bar is on stderr."""
    if not sys.stderr.isatty():
        yield ignore_progress
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

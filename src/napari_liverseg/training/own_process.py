"""A training in a process of its own: it may crash or be stopped, the window stays."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_liverseg.core.data_folder import data_folder
from napari_liverseg.core.errors import CancelledError, ModelError
from napari_liverseg.core.progress import IN_LINES
from napari_liverseg.training.breakdown import sentences
from napari_liverseg.training.order import MEASURES_FILE, RESULT_FILE, START_FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_liverseg.core.progress import IsCancelled, OnProgress

WAIT_S = 0.2
AGAIN_S = 15.0
"""After which a training that was asked to stop is asked again, and again: a signal may
be lost. A second one that is heard ends it at once."""

SAVING_S = 120.0
"""How long a training that was asked to stop may take to save."""

LEARNS = re.compile(r"\bepoch \d+ of \d+.* left\b", re.IGNORECASE)
"""Lines of steps and epochs from the second step on; the first knows no time yet."""


@dataclass(frozen=True)
class Retraining:
    """What to train on, and how.

    Parameters
    ----------
    data : Path
        A retraining set.
    start : str
        Name of the model to begin with.
    minutes : float
        The most that it may take.
    recipe : str
        A recipe's name or file.
    """

    data: Path
    start: str
    minutes: float = 20.0
    recipe: str = "quick"


def new_folder() -> Path:
    """Return a folder for a training in the user's data folder; it is not made."""
    now = datetime.datetime.now(tz=datetime.UTC).astimezone()
    return data_folder() / "trainings" / f"{now:%Y-%m-%d-%H%M%S}"


def retrain(
    wish: Retraining, out: Path, on_progress: OnProgress, is_cancelled: IsCancelled
) -> dict[str, Any]:
    """Train in another process and return what came of it, see `read_comparison`.

    Parameters
    ----------
    wish : Retraining
    out : Path
        Folder of the training.
    on_progress : callable
        Told the share of the minutes and the last that the training said. Nobody
        knows how long the cases take before it learns, and after: the total is 0.
    is_cancelled : callable
        Asked a few times a second; the training then ends, and what it had written is
        removed, where its folder is new.

    Raises
    ------
    CancelledError
        Once the user asked to stop.
    ModelError
        When the training ends with an error, in its own words, or was over before
        it could be stopped.
    """
    is_new = _make(out)
    try:
        return _follow(wish, out, on_progress, is_cancelled)
    except CancelledError:
        if is_new:
            # A copy of every CT, and a state that the window cannot go on with.
            shutil.rmtree(out, ignore_errors=True)
        raise


def is_finished(out: Path) -> bool:
    """Whether a training has left its model."""
    return (out / RESULT_FILE).is_file()


def _make(out: Path) -> bool:
    """Make the folder of a training; False where it is not this one's alone."""
    with contextlib.suppress(OSError):  # the training says what is wrong with it
        out.mkdir(parents=True)
        return True
    return False


def _follow(
    wish: Retraining, out: Path, on_progress: OnProgress, is_cancelled: IsCancelled
) -> dict[str, Any]:
    """Run a training to its end, see `retrain`."""
    clock = LearningClock(wish.minutes)
    last, said = "Preparing the cases", []
    with _running(_command(wish, out)) as (process, lines):
        while True:
            if is_cancelled():
                _stop(process)
                raise _too_late(out) if is_finished(out) else CancelledError
            with contextlib.suppress(queue.Empty):
                line = lines.get(timeout=WAIT_S)
                if line is None:  # it has said all
                    process.wait()
                    break
                last = line
                said.append(line)
            on_progress(*clock.share(last), last)
    if process.returncode != 0:
        raise _failed(said)
    return read_comparison(out)


class LearningClock:
    """The share of a training's minutes that it has learnt.

    Parameters
    ----------
    minutes : float
        The most that it may learn.
    """

    def __init__(self, minutes: float) -> None:
        self._minutes = minutes
        self._started: float | None = None

    def share(self, line: str) -> tuple[int, int]:
        """Return ``(done, total)`` for what the training said last.

        The total is 0 where the line is of other work than learning.
        """
        if not LEARNS.search(line):
            return 0, 0
        now = time.monotonic()
        if self._started is None:
            self._started = now
        share = min((now - self._started) / (60 * self._minutes), 0.99)
        return int(1000 * share), 1000


def read_comparison(out: Path) -> dict[str, Any]:
    """Return a training's result, with the measures of held-out cases, new and old.

    Returns
    -------
    dict
        ``name`` and ``sha256`` of the new model, ``held_out`` and
        ``start_held_out``, the fields of `CaseResult` for each case, and
        ``broke_down``, sentences on numbers that broke.
    """
    content: dict[str, Any] = json.loads((out / RESULT_FILE).read_text("utf-8"))
    folds = sorted(path for path in out.glob("fold_*") if path.is_dir())
    content["broke_down"] = sentences(folds)
    for key, part in (("held_out", ""), ("start_held_out", START_FOLDER)):
        files = (fold / part / MEASURES_FILE for fold in folds)
        content[key] = [
            row for file in files for row in json.loads(file.read_text("utf-8"))
        ]
    return content


def _command(wish: Retraining, out: Path) -> list[str]:
    words = ["train", wish.recipe, "--data", str(wish.data), "-o", str(out)]
    words += ["--from", wish.start, "--max-minutes", f"{wish.minutes:g}"]
    return [sys.executable, "-m", "napari_liverseg.cli", *words]


@contextlib.contextmanager
def _running(
    command: list[str],
) -> Iterator[tuple[subprocess.Popen[str], queue.Queue[str | None]]]:
    """Run a command; yield it with what it says, and leave none behind."""
    apart: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", IN_LINES: "1"},
        **apart,
    )
    lines: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    try:
        yield process, lines
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        reader.join()
        if process.stderr is not None:
            process.stderr.close()


def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    for line in process.stderr or ():
        if line.strip():
            lines.put(line.strip())
    lines.put(None)


def _stop(process: subprocess.Popen[str]) -> None:
    """Ask a training to save and end, and wait until it has."""
    # Not SIGINT: what a script starts in the background ignores that, and so do its
    # children until they say otherwise.
    ask = signal.SIGTERM
    if sys.platform == "win32":
        ask = signal.CTRL_BREAK_EVENT
    for _ in range(round(SAVING_S / AGAIN_S)):
        process.send_signal(ask)  # does nothing once it has ended
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(AGAIN_S)
            return


def _too_late(out: Path) -> ModelError:
    name = read_comparison(out)["name"]
    found = f"The training was over before it could be stopped: it made '{name}'."
    return ModelError(found, "Look at the report before you use it, or remove it.")


def _failed(said: list[str]) -> ModelError:
    """Return the error that the command line has told."""
    begin = next((i for i, line in enumerate(said) if line.startswith("Error: ")), None)
    if begin is None:
        found = f"The training ended early: {said[-1] if said else 'it said nothing'}."
        return ModelError(found, "Free memory, or try again with fewer cases.")
    found, *step = said[begin:]
    text = " ".join(step) or "Mend what it names, and start again."
    return ModelError(found.removeprefix("Error: "), text)

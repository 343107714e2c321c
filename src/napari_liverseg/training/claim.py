"""Folders that a training writes: tried before an epoch is spent, and its own."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from napari_liverseg.core.data_folder import DATA_VARIABLE
from napari_liverseg.core.errors import ExportError
from napari_liverseg.io.folder_lock import locked
from napari_liverseg.models.store import MODELS_VARIABLE, user_folder
from napari_liverseg.training.order import refuse_other_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_liverseg.training.order import Order

PATIENCE_S = 10.0
"""How long another training is waited for: of one that was killed, the processes that
draw end some seconds later."""

TRIED_BYTES = 64 * 1024
"""Written to see whether a folder takes anything: empty files fit on full disks."""


@contextmanager
def claimed(
    order: Order, folds: Sequence[int], listed: Path, *, follows: bool
) -> Iterator[None]:
    """Keep other trainings out of the folders of some folds meanwhile.

    Other folds of the same training may be trained at the same time. The system
    itself lets go of the locks of a process that has ended, however it did.

    Parameters
    ----------
    order : Order
    folds : sequence of int
        That are to be trained here, from 0.
    listed : Path
        Where the model will be listed.
    follows : bool
        Whether this is one of several processes, and not the first, which locks.

    Raises
    ------
    ExportError
        When another training holds a fold, `order.out` holds something else, or a
        folder cannot be written to.
    """
    refuse_other_folder(order.out)
    refuse_unwritable(order.out, "choose another folder for the training")
    variable = MODELS_VARIABLE if listed == user_folder() else DATA_VARIABLE
    refuse_unwritable(listed, f"name another folder with the variable {variable}")
    if follows:
        yield
        return
    order.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        for fold in folds:
            name = f".{order.fold_folder(fold).name}.lock"
            held.enter_context(locked(order.out, name, PATIENCE_S, _busy(order.out)))
        yield


def refuse_unwritable(folder: Path, instead: str) -> None:
    """Refuse a folder that takes no file; of one to be made that which will hold it.

    Parameters
    ----------
    folder : Path
    instead : str
        What else the user can do.

    Raises
    ------
    ExportError
        With what the system said.
    """
    whole = folder.absolute()
    there = next(path for path in (whole, *whole.parents) if path.exists())
    try:
        with tempfile.NamedTemporaryFile(prefix=".", dir=there) as file:
            file.write(bytes(TRIED_BYTES))
    except OSError as error:
        reason = str(error.strerror or "nothing more is known").lower()
        found = f"The folder {folder} cannot be written to: {reason}."
        step = f"See that you may write there and that there is room, or {instead}."
        raise ExportError(found, step) from error


def _busy(out: Path) -> ExportError:
    found = f"Another training is at work in {out}."
    step = "Wait until it has ended, or stop it; or train into another folder."
    return ExportError(found, step)

"""The course of a training: one row an epoch, in memory, in files, on TensorBoard."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from napari_liverseg.training.whole_file import write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

CURVES_FILE = "curves.csv"
BOARD_FOLDER = "tensorboard"
"""The same curves, as TensorBoard reads them, in the folder of a fold."""


@dataclass(frozen=True)
class Epoch:
    """What is known at the end of an epoch.

    Parameters
    ----------
    fold, epoch, step : int
        Fold and epoch count from 1; steps are those of the optimiser so far.
    loss : float
        Mean over the epoch's patches.
    dice, organ_dice, lesion_dice : float or None
        Mean over the held-out cases, on the network's grid; `dice` is the mean of
        the two others. None where nobody looked, or no case has a lesion.
    rate : float
        Learning rate of the last step.
    seconds : float
        Time that this fold has taken so far, without interruptions.
    """

    fold: int
    epoch: int
    step: int
    loss: float
    dice: float | None
    organ_dice: float | None
    lesion_dice: float | None
    rate: float
    seconds: float

    def numbers(self) -> dict[str, float]:
        """Return what TensorBoard draws."""
        drawn = ("loss", "dice", "organ_dice", "lesion_dice", "rate")
        values = asdict(self)
        return {name: values[name] for name in drawn if values[name] is not None}


COLUMNS = tuple(field.name for field in fields(Epoch))


def write_curves(path: Path, epochs: Iterable[Epoch]) -> None:
    """Write one row an epoch as CSV, all of it or nothing.

    Raises
    ------
    ExportError
        When the disk is full.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for epoch in epochs:
        values = asdict(epoch)
        values["seconds"] = f"{epoch.seconds:.1f}"
        # repr keeps every bit, so that two curves can be compared.
        writer.writerow("" if values[c] is None else values[c] for c in COLUMNS)
    write_text(path, text.getvalue())


def read_curves(path: Path) -> list[Epoch]:
    """Return the rows of a file of `write_curves`; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [_row(row) for row in csv.DictReader(file)]


def as_rows(epochs: Sequence[Epoch]) -> list[dict[str, Any]]:
    """Return plain values that a checkpoint can hold."""
    return [asdict(epoch) for epoch in epochs]


def from_rows(rows: Iterable[Mapping[str, Any]]) -> list[Epoch]:
    """Return what `as_rows` made plain."""
    return [Epoch(**row) for row in rows]


def _row(row: Mapping[str, str]) -> Epoch:
    whole = ("fold", "epoch", "step")
    values: dict[str, Any] = {
        name: int(text) if name in whole else (float(text) if text else None)
        for name, text in row.items()
    }
    return Epoch(**values)

"""A training whose numbers broke: what is noted of it, so that nobody is misled."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import ModelError
from napari_liverseg.training.whole_file import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BREAKDOWN_FILE = "broke_down.json"
"""In a fold's folder; where it lies, the fold is over."""

MEND = (
    "For a better model lower the learning rate or take precision fp32, and train into "
    "another folder."
)


@dataclass(frozen=True)
class Breakdown:
    """Where and why a fold could not go on.

    Parameters
    ----------
    epoch : int
        From 1; what was kept is older than its end.
    reason : str
        In words, such as 'the loss is no number'.
    """

    epoch: int
    reason: str

    def clause(self, fold: int | None = None) -> str:
        """Return what a model's card says of it; `fold` is from 0."""
        whose = "its training" if fold is None else f"the training of fold {fold + 1}"
        network = "it is" if fold is None else "its network is"
        return (
            f"{whose} broke down in epoch {self.epoch} ({self.reason}): {network} the "
            "best one from before"
        )


class BrokeDownError(ModelError):
    """Loss or weights are no numbers any more; a good state from before is kept.

    Parameters
    ----------
    breakdown : Breakdown
    """

    def __init__(self, breakdown: Breakdown) -> None:
        self.breakdown = breakdown
        found = f"Training broke down in epoch {breakdown.epoch}: {breakdown.reason}."
        step = "Go on with --resume: it makes a model of the best network from before."
        super().__init__(found, step)


def note_breakdown(folder: Path, breakdown: Breakdown) -> None:
    """Note in a fold's folder that it is over.

    Raises
    ------
    ExportError
        When the disk is full.
    """
    text = json.dumps(asdict(breakdown), indent=1) + "\n"
    write_text(folder / BREAKDOWN_FILE, text)


def read_breakdown(folder: Path) -> Breakdown | None:
    """Return what `note_breakdown` kept in a fold's folder, None where it kept nothing.

    Raises
    ------
    ModelError
        When it cannot be read.
    """
    path = folder / BREAKDOWN_FILE
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Breakdown(int(content["epoch"]), str(content["reason"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"{path} cannot be read."
        raise ModelError(found, f"Remove the folder {folder}, and go on.") from error


def clauses(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return what the folders of all folds say of breakdowns, for a model's card."""
    found = enumerate(map(read_breakdown, folders))
    alone = len(folders) == 1
    return tuple(b.clause(None if alone else fold) for fold, b in found if b)


def sentences(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return what to tell of breakdowns in the folders of all folds, in sentences."""
    said = tuple(f"{text[:1].upper()}{text[1:]}." for text in clauses(folders))
    return (*said, MEND) if said else ()

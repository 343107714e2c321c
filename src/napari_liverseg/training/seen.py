"""Which cases a training has seen, so that figures of them pass for no test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_liverseg.training.folds import FOLDS_FILE, read_folds
from napari_liverseg.training.prepared_case import CT_FILE, SERIES_FILE

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path


@dataclass(frozen=True)
class Seen:
    """What a training has seen: keys of its CTs, else the names of its cases.

    Each CT has two keys, of its series or file and of its voxels: a series may be
    anonymised anew, and exported in another format.

    Parameters
    ----------
    keys, names : frozenset of str
    """

    keys: frozenset[str]
    names: frozenset[str]

    @classmethod
    def by(cls, run: Path) -> Seen | None:
        """Return it for a training's folder, or its model's; None for other runs."""
        if run.name == "model" and (run.parent / FOLDS_FILE).is_file():
            run = run.parent
        kept = (
            p for name in (SERIES_FILE, CT_FILE) for p in run.glob(f"cache/*/{name}")
        )
        keys = {path.read_text("utf-8") for path in kept}
        file = run / FOLDS_FILE
        names = read_folds(file).cases if file.is_file() else ()
        return cls(frozenset(keys), frozenset(names)) if keys or names else None

    def has(self, name: str, keys: Collection[str]) -> bool:
        """Whether a case was seen, by its name in the data set and its CT's keys."""
        return not self.keys.isdisjoint(keys) if self.keys else name in self.names

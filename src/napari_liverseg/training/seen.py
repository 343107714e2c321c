"""Which cases a training has seen, so that figures of them pass for no test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_liverseg.training.begun_with import BEGUN_FILE, begun_cases
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
    contents : frozenset of str
        Of CT and labels together, see `prepared_case.content_key`. They are known
        where the training's cache is removed, too.
    has_start : bool
        Whether it began from another model, which has seen nobody knows what.
    """

    keys: frozenset[str]
    names: frozenset[str]
    contents: frozenset[str] = frozenset()
    has_start: bool = False

    @classmethod
    def by(cls, run: Path, *, has_start: bool = False) -> Seen | None:
        """Return it for a training's folder, or its model's; None for other runs.

        Parameters
        ----------
        run : Path
        has_start : bool

        Raises
        ------
        CaseError
            When its folds, or what it began with, cannot be read.
        """
        run = run.absolute()  # a folder where the user stands has no name else
        if run.name == "model" and (run.parent / FOLDS_FILE).is_file():
            run = run.parent
        kept = (
            p for name in (SERIES_FILE, CT_FILE) for p in run.glob(f"cache/*/{name}")
        )
        keys = {path.read_text("utf-8", errors="replace") for path in kept}
        file = run / FOLDS_FILE
        names = read_folds(file).cases if file.is_file() else ()
        if not keys and not names:
            return None
        contents = begun_cases(run / BEGUN_FILE)
        return cls(frozenset(keys), frozenset(names), contents, has_start)

    def has(self, name: str, keys: Collection[str], content: str) -> bool | None:
        """Whether a case was seen; None where the start may have seen it.

        Parameters
        ----------
        name : str
            In the data set.
        keys : collection of str
            Of its CT.
        content : str
            See `prepared_case.content_key`.
        """
        is_own = not self.keys.isdisjoint(keys) if self.keys else name in self.names
        is_own = is_own or content in self.contents
        return None if self.has_start and not is_own else is_own

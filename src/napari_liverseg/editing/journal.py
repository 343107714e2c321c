"""Corrections on disk after every stroke, so that a crash costs none of them."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING

from napari_liverseg.core.data_folder import data_folder
from napari_liverseg.editing.hold import LOCK_FILE, Hold, is_held
from napari_liverseg.editing.version_file import (
    UNREADABLE,
    read_version,
    write_version,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_liverseg.editing.corrections import Corrections

KEPT_VERSIONS = 20
SITTINGS = "offered"
"""Holds a folder for each sitting, offered once nobody holds it. Earlier versions of
this program wrote one level higher, and moved here what was left."""


def journal_folder(series_key: str) -> Path:
    """Return the folder of the corrections of one series.

    Parameters
    ----------
    series_key : str
        `CTVolume.series_key`, a digest without a patient's name.
    """
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", series_key).strip(".") or "unnamed"
    return data_folder() / "recovery" / safe


@dataclass(frozen=True, eq=False)
class Offer:
    """What a sitting that has ended left, and nobody has answered.

    Parameters
    ----------
    versions : tuple of Path
        Those that it had when it was offered.
    corrections : Corrections
        The newest readable ones of them.
    """

    versions: tuple[Path, ...]
    corrections: Corrections


class Journal:
    """Append-only versions of one sitting's corrections, oldest dropped first.

    Each sitting has a folder of its own, held while it lasts: windows that
    correct the same CT never see each other's. What a sitting leaves, by a crash
    too, stays there until it is answered.

    Parameters
    ----------
    folder : Path
        See `journal_folder`; made on the first write.
    kept : int
        Versions of this sitting that stay.
    """

    def __init__(self, folder: Path, kept: int = KEPT_VERSIONS) -> None:
        self.folder = folder
        self._kept = kept
        self._own: Path | None = None
        self._hold: Hold | None = None

    def write(self, corrections: Corrections) -> Path:
        """Add a version and hold the sitting. It is complete on disk, or not there.

        Raises
        ------
        OSError
            The folder cannot be written.
        """
        number = self._next_number()
        own = self._held()
        path = own / f"corrections-{number:06d}.npz"
        write_version(path, corrections)
        for old in _versions_in(own)[: -self._kept]:
            old.unlink(missing_ok=True)
        return path

    def release(self) -> None:
        """Let other windows be offered what this sitting holds, until it writes."""
        if self._hold is not None:
            self._hold.release()
            self._hold = None
        if self._own is not None:
            _remove_empty(self._own)

    def latest(self) -> Corrections | None:
        """Return the newest version of any sitting, None when it holds no edit.

        A newest version without edits means that the user has undone them
        all: then there is nothing to restore.
        """
        sittings = self._sittings()
        return _newest(_versions_in(sittings[-1])) if sittings else None

    def offered(self) -> Offer | None:
        """Return the newest corrections that a sitting left and nobody answered."""
        for sitting in reversed(self._others()):
            versions = _versions_in(sitting)
            corrections = _newest(versions)
            if corrections is not None and not is_held(sitting):
                return Offer(tuple(versions), corrections)
        return None

    def is_open_elsewhere(self) -> bool:
        """Whether another window has corrections of this series in work."""
        return any(map(is_held, self._others()))

    def answer(self, offer: Offer) -> None:
        """Put an offer away: it was restored or is not wanted.

        What its window may have written since, without a dock, stays.

        Raises
        ------
        OSError
            The folder cannot be written.
        """
        self._discard(offer.versions)
        for sitting in {path.parent for path in offer.versions}:
            _remove_empty(sitting)

    def discard(self) -> None:
        """Put this sitting's versions away; only the last ones put away are kept.

        Raises
        ------
        OSError
            The folder cannot be written.
        """
        if self._own is not None:
            self._discard(_versions_in(self._own))

    def _discard(self, versions: Sequence[Path]) -> None:
        if not any(path.exists() for path in versions):
            return  # another window was faster
        aside = self.folder / "discarded"
        aside.mkdir(exist_ok=True)
        for old in _versions_in(aside):
            old.unlink(missing_ok=True)
        for path in versions:
            with contextlib.suppress(FileNotFoundError):
                path.replace(aside / path.name)

    def _held(self) -> Path:
        """Return this sitting's folder, which nobody else writes or is offered."""
        if self._own is None:
            # Windows that begin in the same moment must not take the same name.
            name = f"{self._next_number():06d}-{token_hex(4)}"
            self._own = self.folder / SITTINGS / name
        # While it was released, another window may have put it away.
        self._own.mkdir(parents=True, exist_ok=True)
        if self._hold is None:
            self._hold = Hold(self._own)
        return self._own

    def _others(self) -> list[Path]:
        return [sitting for sitting in self._sittings() if sitting != self._own]

    def _sittings(self) -> list[Path]:
        """Return the folders that hold versions, those with the newest last."""
        folders = (self.folder, *(self.folder / SITTINGS).glob("[0-9]*"))
        newest = {folder: _last_number(_versions_in(folder)) for folder in folders}
        return sorted((f for f in folders if newest[f]), key=newest.__getitem__)

    def _next_number(self) -> int:
        """Return a number above that of every version of this series."""
        sittings = self._sittings()
        return 1 + (_last_number(_versions_in(sittings[-1])) if sittings else 0)


def _remove_empty(sitting: Path) -> None:
    if not _versions_in(sitting):
        with contextlib.suppress(OSError):  # it may hold a file of the system's
            (sitting / LOCK_FILE).unlink(missing_ok=True)
            sitting.rmdir()


def _versions_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("corrections-*.npz"), key=_number)


def _newest(versions: Sequence[Path]) -> Corrections | None:
    """Return the newest readable version, None when it holds no edit."""
    for path in reversed(versions):
        with contextlib.suppress(*UNREADABLE):
            corrections = read_version(path)
            return corrections if corrections.count else None
    return None


def _last_number(versions: Sequence[Path]) -> int:
    return _number(versions[-1]) if versions else 0


def _number(path: Path) -> int:
    digits = path.stem.removeprefix("corrections-")
    return int(digits) if digits.isdigit() else 0

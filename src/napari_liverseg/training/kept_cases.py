"""Figures of a comparison that is not over yet: one that was stopped goes on."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import ExportError
from napari_liverseg.training.compared import OnCase
from napari_liverseg.training.whole_file import write_text

if TYPE_CHECKING:
    from pathlib import Path

KEPT_FILE = "comparison-unfinished.json"


class KeptCases:
    """What models reached, by a key of model, case and device; on the disk at once.

    Parameters
    ----------
    path : Path or None
        Of `KEPT_FILE`; one that cannot be read counts as none. None keeps nothing.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._cases = {} if path is None else _read(path)

    def get(self, key: str) -> OnCase | None:
        """Return what is known under a key."""
        return self._cases.get(key)

    def put(self, key: str, reached: OnCase) -> None:
        """Keep what a model reached on a case."""
        self._cases[key] = reached
        if self._path is None:
            return
        rows = {key: asdict(case) for key, case in self._cases.items()}
        # Of a full disk the report tells, once all figures were shown.
        with suppress(ExportError):
            write_text(self._path, json.dumps(rows, indent=1) + "\n")

    def forget(self) -> None:
        """Remove the file: what it holds is in a report now."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, OnCase]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return {key: OnCase(**row) for key, row in rows.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}

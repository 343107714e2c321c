"""What a training was begun with, so that it goes on with that and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from napari_liverseg.core.errors import CaseError, ModelError
from napari_liverseg.training.whole_file import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

BEGUN_FILE = "begun_with.json"

MOST_NAMED = 3
"""Cases that changed and are named in a message."""


def keep_beginning(
    path: Path, keys: Mapping[str, str], start: str | None, what: str
) -> None:
    """Note data and start of a training; refuse others than were noted.

    Folds would have learnt from other data than the card says, and a start that was
    exchanged would be measured in place of the one that was begun from.

    Parameters
    ----------
    path : Path
        ``begun_with.json``. Trainings begun before it was kept have none.
    keys : mapping of str to str
        By the name of a case or picture, the same for the same content.
    start : str or None
        Hash of the model or the file of weights that it began from, if any. Of a file
        none was noted in trainings begun before that was done.
    what : str
        The data has, such as 'CT or labels'.

    Raises
    ------
    CaseError
        When the content of a case or picture changed, or the file is broken.
    ModelError
        When the start is another model than before.
    ExportError
        When the disk is full.
    """
    now = {"cases": dict(sorted(keys.items())), "start": start}
    if not path.exists():
        write_text(path, json.dumps(now, indent=1) + "\n")
        return
    before = _read(path)
    if before["start"] not in (None, now["start"]):
        found = "What this training began from is another one now."
        raise ModelError(found, "Put it back, or train into another folder.")
    others = [name for name, key in keys.items() if before["cases"].get(name) != key]
    if others:
        more = len(others) - MOST_NAMED
        which = ", ".join(f"'{name}'" for name in others[:MOST_NAMED])
        which += f" and {more} more" if more > 0 else ""
        found = f"{what} are others than when this training began: {which}."
        raise CaseError(found, "Put them back, or train into another folder.")


def begun_cases(path: Path) -> frozenset[str]:
    """Return the keys of all cases that a training began with; none without the file.

    Parameters
    ----------
    path : Path
        See `keep_beginning`.

    Raises
    ------
    CaseError
        When the file is broken.
    """
    return frozenset(_read(path)["cases"].values() if path.exists() else ())


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"cases": dict(content["cases"]), "start": content["start"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"'{path.name}' cannot be read."
        raise CaseError(found, "Restore it, or train into another folder.") from error

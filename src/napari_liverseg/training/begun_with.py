"""What a training was begun with, so that it goes on with that and nothing else."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from napari_liverseg.core.errors import CaseError, ModelError
from napari_liverseg.training.whole_file import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_liverseg.training.prepared_case import PreparedCase
    from napari_liverseg.training.start import Start

BEGUN_FILE = "begun_with.json"

MOST_NAMED = 3
"""Cases that changed and are named in a message."""


def keep_beginning(
    path: Path, cases: Mapping[str, PreparedCase], start: Start | None
) -> None:
    """Note CTs, labels and start of a training; refuse others than were noted.

    Folds would have learnt from other data than the card says, and a start that was
    exchanged would be measured in place of the one that was begun from.

    Parameters
    ----------
    path : Path
        ``begun_with.json``. Trainings begun before it was kept have none.
    cases : mapping of str to PreparedCase
    start : Start or None

    Raises
    ------
    CaseError
        When the voxels of a CT or of its label map changed, or the file is broken.
    ModelError
        When the start is another model than before.
    ExportError
        When the disk is full.
    """
    keys = {name: _key(case) for name, case in sorted(cases.items())}
    now = {"cases": keys, "start": None if start is None else start.model.sha256}
    if not path.exists():
        write_text(path, json.dumps(now, indent=1) + "\n")
        return
    before = _read(path)
    if before["start"] != now["start"]:
        found = "The model that this training began from is another one now."
        raise ModelError(found, "Put it back, or train into another folder.")
    others = [name for name, key in keys.items() if before["cases"].get(name) != key]
    if others:
        more = len(others) - MOST_NAMED
        which = ", ".join(f"'{name}'" for name in others[:MOST_NAMED])
        which += f" and {more} more" if more > 0 else ""
        found = f"CT or labels are others than when this training began: {which}."
        raise CaseError(found, "Put them back, or train into another folder.")


def _key(case: PreparedCase) -> str:
    # Not the series: keys of DICOM are other ones on another computer.
    both = f"{case.ct_key} {case.label_key}"
    return hashlib.sha256(both.encode()).hexdigest()[:24]


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"cases": dict(content["cases"]), "start": content["start"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"'{path.name}' cannot be read."
        raise CaseError(found, "Restore it, or train into another folder.") from error

"""Which bundles a user has said yes to, so that their own code may build a network."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from napari_liverseg.core.data_folder import data_folder
from napari_liverseg.models.fingerprint import fingerprint

TRUST_FILE = "trusted.json"


def is_trusted(folder: Path) -> bool:
    """Whether the user trusts exactly these files."""
    known = _read()
    return bool(known) and fingerprint(folder) in known


def trust(folder: Path, name: str) -> str:
    """Record that the user trusts a folder as it is now, and return its hash.

    Parameters
    ----------
    folder : Path
    name : str
        What it was called, for people who read the record.
    """
    digest = fingerprint(folder)
    _write({**_read(), digest: name})
    return digest


def distrust(folder: Path) -> None:
    """Take the yes back that was said to exactly these files, if there was one."""
    known = _read()
    if known and known.pop(fingerprint(folder), None) is not None:
        _write(known)


def _write(known: dict[str, str]) -> None:
    path = data_folder() / TRUST_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as work:
        fresh = Path(work) / TRUST_FILE
        text = json.dumps(known, indent=2)
        fresh.write_text(f"{text}\n", encoding="utf-8")
        fresh.replace(path)


def _read() -> dict[str, str]:
    """Return the record; one that cannot be read trusts nothing."""
    try:
        known = json.loads((data_folder() / TRUST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}

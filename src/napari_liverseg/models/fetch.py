"""Published weights brought into the user's folder, from the network or a file."""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import MissingExtraError, ModelError
from napari_liverseg.core.progress import ignore_progress, never_cancelled
from napari_liverseg.models.download import download
from napari_liverseg.models.kinds import read_model
from napari_liverseg.models.library import refuse_taken, settle, staged
from napari_liverseg.models.origin import write_origin
from napari_liverseg.models.store import user_folder

if TYPE_CHECKING:
    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.models.releases import Release

KNOWN_FILE = ".fetched.json"
"""Hashes of the zips that were fetched first, beside the models; it outlives them."""

DOWNLOADS = ".downloads"


@dataclass(frozen=True)
class Fetched:
    """What a fetch brought.

    Parameters
    ----------
    folder : Path
    sha256 : str
        Of the zip.
    proven_by : {'maker', 'user', 'earlier fetch', 'nothing'}
        What the hash was compared with.
    reason : str
        Why it cannot be run by itself, or not yet; empty where it can.
    """

    folder: Path
    sha256: str
    proven_by: str
    reason: str


def fetch(
    release: Release,
    from_file: Path | None = None,
    sha256: str = "",
    on_progress: OnProgress = ignore_progress,
    is_cancelled: IsCancelled = never_cancelled,
) -> Fetched:
    """Bring published weights into the user's folder.

    Where their makers publish no hash, the first fetch has nothing to compare
    with: its hash is written down, and every later one must have it.

    Parameters
    ----------
    release : Release
    from_file : Path or None
        Its zip, fetched elsewhere.
    sha256 : str
        Hash that the user knows it should have, in hex.
    on_progress, is_cancelled : callable
        See `models.download`.

    Raises
    ------
    ModelError
        When it is there already, cannot be fetched, has another hash, or is no
        model.
    """
    refuse_taken(release.name)
    if from_file is not None and not from_file.is_file():
        found = f"There is no file '{from_file.name}'."
        raise ModelError(found, f"Give the zip that was fetched: {release.file}.")
    if from_file is not None:
        return _install(release, from_file, sha256)
    path = user_folder() / DOWNLOADS / release.file
    if not path.is_file():
        download(release.address, path, on_progress, is_cancelled)
    try:
        return _install(release, path, sha256)
    finally:
        path.unlink(missing_ok=True)


def _install(release: Release, path: Path, sha256: str) -> Fetched:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    proven_by = _compare(release, digest, sha256.lower())
    with staged(path, release.name) as copy:
        reason, weights = _proof(copy)
        write_origin(copy, release.path, digest, weights)
        folder = settle(copy)
    _remember(release, digest)
    return Fetched(folder, digest, proven_by, reason)


def _compare(release: Release, digest: str, given: str) -> str:
    """Return what a hash was found equal to, or refuse it."""
    sources = {
        "maker": release.sha256,
        "user": given,
        "earlier fetch": _known().get(release.path, ""),
    }
    compared = {source: wanted for source, wanted in sources.items() if wanted}
    for source, wanted in compared.items():
        if digest != wanted:
            found = f"'{release.file}' has the hash {digest}, not {wanted} ({source})."
            step = "Do not use it; ask whoever gave it to you, or fetch it again."
            raise ModelError(found, step)
    return next(iter(compared), "nothing")


def _proof(copy: Path) -> tuple[str, str]:
    """Return why a model cannot be run by itself, if so, and its weights' hash.

    A model of tumours alone is no mistake: another finds the liver for it. A
    package that is missing can be installed later.
    """
    from napari_liverseg.models.proof import prove

    try:
        model = read_model(copy)
    except ModelError as error:
        return str(error), ""
    try:
        prove(model)
    except MissingExtraError as missing:
        return str(missing), model.sha256
    return "", model.sha256


def _known() -> dict[str, str]:
    path = user_folder() / KNOWN_FILE
    if not path.is_file():
        return {}
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        found = f"{path}, which holds the hashes of earlier fetches, cannot be read."
        raise ModelError(found, "Mend it, or remove it to trust anew.") from error
    return known if isinstance(known, dict) else {}


def _remember(release: Release, digest: str) -> None:
    home = user_folder()
    with tempfile.TemporaryDirectory(prefix=".", dir=home) as work:
        fresh = Path(work) / KNOWN_FILE
        text = json.dumps({**_known(), release.path: digest}, indent=2)
        fresh.write_text(f"{text}\n", encoding="utf-8")
        fresh.replace(home / KNOWN_FILE)

"""Keys that tell patients and series apart without telling who they are."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.data_folder import data_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_liverseg.core.geometry import Geometry

KEY_BYTES = 16
SECRET_BYTES = 32
SECRET_FILE = "identity.key"
NO_PATIENT = (
    "",
    "NONE",
    "UNKNOWN",
    "ANON",
    "ANONYMOUS",
    "ANONYMIZED",
    "ANONYMISED",
    "0",
)
"""PatientIDs that stand for nobody in particular."""


def patient_key(patient_id: str) -> str | None:
    """Return a key that groups the series of one patient, None where unknown.

    Parameters
    ----------
    patient_id : str
        PatientID. It is hashed with a secret of this installation, so that
        nobody without the secret can try IDs out; it is stored nowhere.
    """
    secret = _secret()
    if patient_id.strip().upper() in NO_PATIENT or secret is None:
        return None
    return _digest([patient_id.strip().encode()], secret)


def series_key(series_uid: str, decisions: Iterable[str]) -> str:
    """Return a key of a DICOM series as it was opened, the same at every run."""
    parts = [series_uid.encode(), *(d.encode() for d in sorted(decisions))]
    return _digest(parts, _secret() or b"")


def volume_key(voxels: NDArray[np.generic], geometry: Geometry) -> str:
    """Return a key of voxels on their grid, the same whatever file holds them."""
    numbers = [*geometry.spacing_mm, *geometry.origin_mm, *np.ravel(geometry.direction)]
    # Grids that differ by less than their formats' rounding are the same.
    rounded = ",".join(f"{n:.3f}" for n in np.round(numbers, 3) + 0.0)
    return _digest([rounded.encode(), np.ascontiguousarray(voxels).data.cast("B")], b"")


def voxel_key(hu: NDArray[np.generic]) -> str:
    """Return a key of the voxels of a CT, the same whatever format it came in.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x)
        `CTVolume.hu`, or labels on its grid: turned to LPS, in the smallest type that
        holds them, so that files of other axes and number types agree. Where the grid
        lies does not count, for formats round it, and some files lost it.
    """
    return hashlib.sha256(np.ascontiguousarray(hu).data.cast("B")).hexdigest()


def installation() -> str:
    """Return what tells this installation from others, and not its secret.

    Keys of patients and series are the same where it is the same. It is empty
    where no secret can be kept.
    """
    secret = _secret()
    return "" if secret is None else _digest([b"installation"], secret)


def _digest(parts: Iterable[bytes | memoryview], secret: bytes) -> str:
    digest = hashlib.blake2b(digest_size=KEY_BYTES, key=secret)
    for part in parts:
        digest.update(part)
        digest.update(b"\0")
    return digest.hexdigest()


def _secret() -> bytes | None:
    """Return this installation's secret, made at first need; None where impossible."""
    folder = data_folder()
    path = folder / SECRET_FILE
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _create(path)
        secret = path.read_bytes()
        if len(secret) == SECRET_BYTES:
            return secret
    return None


def _create(path: Path) -> None:
    """Write a new secret that only this user may read, complete or not at all."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
        _name(new, path)
    finally:
        new.unlink(missing_ok=True)


def _name(new: Path, path: Path) -> None:
    """Give a secret its name, unless another process was first."""
    try:
        # A link, unlike a rename, never replaces what another process just made.
        os.link(new, path)
    except FileExistsError:
        return
    except OSError:
        # exFAT and some network shares know no links.
        new.replace(path)

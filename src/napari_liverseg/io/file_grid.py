"""The grid that a NIfTI, NRRD or MetaImage file states, and whether it states one."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_liverseg.core.geometry import as_matrix
from napari_liverseg.core.problem import Problem
from napari_liverseg.io.formats import READABLE, ending

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_liverseg.core.geometry import Geometry

SPACING_MM = (0.02, 50.0)
"""Voxel spacings outside of this are no millimetres of a CT."""

ORTHONORMAL_TOLERANCE = 1e-3
"""Axes of a grid must be unit vectors at right angles within this."""

PATIENT_SPACES = (
    "left-posterior-superior",
    "right-anterior-superior",
    "left-anterior-superior",
)
"""NRRD spaces that ITK turns to LPS; it takes others, such as scanner-xyz, as LPS."""

SPACING_FIELDS = {
    "NrrdImageIO": ("spacings", "space directions"),
    "MetaImageIO": ("elementspacing", "elementsize"),
}
"""Fields of text headers, in lower case, that tell how far apart voxels lie."""

MATRIX_FIELDS = ("transformmatrix", "rotation", "orientation")
"""Of MetaImage, in lower case: the directions of its axes, under any of its names."""

UNIT_FIELDS = ("space units", "units", "distanceunits")
MILLIMETRES = ("mm", "millimeter", "millimeters", "millimetre", "millimetres")
"""Of both formats; ITK reads numbers alone and takes them for millimetres."""

MOST_FIELDS = 10_000
LONGEST_FIELD = 1024**2


def straight(geometry: Geometry) -> Geometry:
    """Return a grid with its axes at right angles exactly.

    Files round directions. NIfTI cannot give such axes back as they were, so that
    no export of such a CT would lie on its grid.
    """
    axes = np.asarray(geometry.direction)
    # Newton's steps to the nearest rotation; they leave exact axes as they are.
    for _ in range(3):
        axes = 1.5 * axes - 0.5 * axes @ axes.T @ axes
    return replace(geometry, direction=as_matrix(axes))


def spacing_problem(path: Path) -> Problem | None:
    """Return the error that a NRRD or MetaImage header gives no distances in mm.

    ITK takes 1 mm where there are none, and any number for millimetres.
    """
    fields = dict(_fields(path))
    if not any(field in fields for field in SPACING_FIELDS[READABLE[ending(path)]]):
        return _distanceless(path.name)
    told = " ".join(fields[field] for field in UNIT_FIELDS if field in fields)
    units = re.findall(r"[^\s\"]+", told)
    foreign = [u for u in units if u.lower() not in (*MILLIMETRES, "none", "???")]
    return _in_other_unit(path.name, foreign[0]) if foreign else None


def _fields(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the fields of a text header, their names in lower case."""
    with path.open("rb") as file:
        for _ in range(MOST_FIELDS):
            line = file.readline(LONGEST_FIELD).decode("latin-1")
            field, *value = re.split("[:=]", line, maxsplit=1)
            field = field.strip().lower()
            if field in ("", "elementdatafile"):
                return
            yield field, "".join(value).strip()


def grid_problems(geometry: Geometry, name: str) -> list[Problem]:
    """Return the error that a grid is none of a CT, if so."""
    spacing = geometry.spacing_mm
    low, high = SPACING_MM
    if not all(low <= s <= high for s in spacing):
        found = "x".join(f"{s:.4g}" for s in spacing)
        return [
            Problem(
                "not-a-volume",
                "error",
                f"'{name}' gives {found} mm as the distance of its voxels (z, y, x), "
                "which no CT has; its unit may be wrong. Export it again in mm.",
            )
        ]
    direction = np.asarray(geometry.direction)
    apart = np.abs(direction.T @ direction - np.eye(3)).max()
    finite = np.isfinite(geometry.origin_mm).all() and np.isfinite(apart)
    return [] if finite and apart <= ORTHONORMAL_TOLERANCE else [sheared(name)]


def sheared(name: str) -> Problem:
    """Return the error that a file's axes are not at right angles."""
    message = (
        f"The axes of '{name}' are not at right angles, as after a tilted gantry or an "
        "affine registration. Resample it to a straight grid, or open the DICOM folder."
    )
    return Problem("not-a-volume", "error", message)


def _distanceless(name: str) -> Problem:
    message = (
        f"'{name}' does not say how far apart its voxels lie. Export it again with "
        "their distances in mm, or open the original DICOM folder."
    )
    return Problem("not-a-volume", "error", message)


def _in_other_unit(name: str, unit: str) -> Problem:
    message = (
        f"'{name}' gives its distances in '{unit}', and only mm are read. Export it "
        "again in mm, or open the original DICOM folder."
    )
    return Problem("not-a-volume", "error", message)


def unclear_orientation(reader: Any, path: Path) -> Problem | None:
    """Return the warning that a text header does not say how the patient lies.

    A NRRD without a patient space, or a MetaImage whose letters contradict the axes
    that ITK takes where no matrix is given: those of LPS, ``RAI`` in its letters.
    """
    if reader.GetImageIO() == "NrrdImageIO":
        told = "NRRD_space" in reader.GetMetaDataKeys()
        if told and reader.GetMetaData("NRRD_space") in PATIENT_SPACES:
            return None
        why = "no patient space of NRRD"
    elif reader.GetImageIO() == "MetaImageIO":
        fields = dict(_fields(path))
        letters = fields.get("anatomicalorientation", "").upper()
        given = any(field in fields for field in MATRIX_FIELDS)
        if given or letters in ("", "RAI", "???"):
            return None
        why = f"'{letters}' without a matrix"
    else:
        return None
    message = (
        f"'{path.name}' does not say how the patient lies ({why}), so left and right "
        "are a guess. Check the picture, or convert the original DICOM again."
    )
    return Problem("unclear-orientation", "warning", message)

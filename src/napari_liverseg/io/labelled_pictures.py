"""Pictures with a class each: a folder with one subfolder a class, or a CSV."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import CaseError
from napari_liverseg.io.slice_picture import is_picture

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PATH, LABEL, PATIENT = "path", "label", "patient"

MOST_CLASSES = 50
"""More labels than this are numbers or names, and no classes."""

_LAYOUTS = (
    "Give a folder with one subfolder a class, or a CSV with the columns path,label "
    "and, where patients are known, patient."
)


@dataclass(frozen=True)
class LabelledPicture:
    """One picture and what it shows.

    Parameters
    ----------
    path : Path
    label : str
        Its class.
    patient : str
        What groups the pictures of one patient; its own path where nothing says it.
    """

    path: Path
    label: str
    patient: str


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures of at least two classes; none was opened.

    Parameters
    ----------
    pictures : tuple of LabelledPicture
        By path.
    classes : tuple of str
        Sorted.
    note : str
        How patients were told apart, for reports.
    """

    pictures: tuple[LabelledPicture, ...]
    classes: tuple[str, ...]
    note: str


def find_pictures(path: Path) -> LabelledPictures:
    """Return the pictures that a folder or a CSV names, without opening them.

    Parameters
    ----------
    path : Path
        ``FOLDER/class/picture`` or ``FOLDER/class/patient/picture``; or a CSV with
        the columns ``path``, ``label`` and perhaps ``patient``, paths from its
        folder.

    Raises
    ------
    CaseError
        When it is neither, names a file that is not there, or fewer than 2 classes.
    """
    if path.is_dir():
        pictures, named = _from_folder(path)
    elif path.suffix.lower() == ".csv" and path.is_file():
        pictures, named = _from_csv(path)
    else:
        found = f"'{path.name}' is no folder of pictures and no CSV."
        raise CaseError(found, _LAYOUTS)
    classes = tuple(sorted({picture.label for picture in pictures}))
    if not 2 <= len(classes) <= MOST_CLASSES:
        found = f"'{path.name}' has pictures of {len(classes)} classes."
        raise CaseError(found, f"Two to {MOST_CLASSES} are due. {_LAYOUTS}")
    ordered = tuple(sorted(pictures, key=lambda picture: str(picture.path)))
    return LabelledPictures(ordered, classes, _note(ordered, named))


def _from_folder(folder: Path) -> tuple[list[LabelledPicture], int]:
    pictures, named = [], 0
    for part in sorted(p for p in folder.iterdir() if p.is_dir()):
        if part.name.startswith("."):
            continue
        for file in sorted(part.rglob("*")):
            if not is_picture(file):
                continue
            inside = file.parent != part
            patient = file.relative_to(part).parts[0] if inside else ""
            named += inside
            pictures.append(LabelledPicture(file, part.name, patient or f"file {file}"))
    return pictures, named


def _from_csv(path: Path) -> tuple[list[LabelledPicture], int]:
    rows = _rows(path)
    pictures, named, missing = [], 0, []
    for number, row in enumerate(rows, start=2):
        name, label = (row.get(PATH) or "").strip(), (row.get(LABEL) or "").strip()
        if not name or not label:
            found = f"Line {number} of '{path.name}' lacks a path or a label."
            raise CaseError(found, "Complete it, or remove the line.")
        file = path.parent / name
        if not file.is_file():
            missing.append(f"line {number}")
        patient = (row.get(PATIENT) or "").strip()
        named += bool(patient)
        pictures.append(LabelledPicture(file, label, patient or f"file {file}"))
    if missing:
        shown = ", ".join(missing[:10]) + (", …" if len(missing) > 10 else "")
        found = f"{len(missing)} files that '{path.name}' names are not there: {shown}."
        raise CaseError(found, "Paths count from the folder of the CSV.")
    if len({picture.path.resolve() for picture in pictures}) < len(pictures):
        found = f"'{path.name}' names some picture twice."
        raise CaseError(found, "Leave one line for each picture.")
    return pictures, named


def _rows(path: Path) -> list[Mapping[str, str | None]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not {PATH, LABEL} <= set(reader.fieldnames or ()):
                found = f"'{path.name}' lacks the columns path and label."
                raise CaseError(found, _LAYOUTS)
            return list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        found = f"'{path.name}' cannot be read as CSV in UTF-8."
        raise CaseError(found, "Save it as CSV in UTF-8 again.") from error


def _note(pictures: tuple[LabelledPicture, ...], named: int) -> str:
    patients = len({picture.patient for picture in pictures})
    said = f"{len(pictures)} pictures of {patients} patients"
    if named == len(pictures):
        return f"{said}, by the patients that the data set names."
    return (
        f"{said}. {len(pictures) - named} pictures name no patient: each counts as a "
        "patient of its own, so figures are too good where that is not so."
    )

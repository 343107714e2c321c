"""Pictures with a class each: a folder with one subfolder a class, or a CSV."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import CaseError
from napari_liverseg.io.dicom import patient_of
from napari_liverseg.io.headers import BROKEN_FILE
from napari_liverseg.io.labelled_set import named_patient
from napari_liverseg.io.slice_picture import is_dicom, is_picture

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PATH, LABEL = "path", "label"

MOST_CLASSES = 50
"""More labels than this are numbers or names, and no classes."""

_LAYOUTS = (
    "Give a folder with one subfolder a class, or a CSV, by commas, with the columns "
    "path,label and, where patients are known, patient."
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
    is_named : bool
        Whether something says it: the data set, else the header of a DICOM slice.
    """

    path: Path
    label: str
    patient: str
    is_named: bool = True


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
    """Return the pictures that a folder or a CSV names, without reading their pixels.

    Parameters
    ----------
    path : Path
        ``FOLDER/class/picture`` or ``FOLDER/class/patient/picture``; or a CSV with
        the columns ``path``, ``label`` and perhaps ``patient`` (or ``subject``),
        paths from its folder. Capitals and spaces in the heading do not count.

    Raises
    ------
    CaseError
        When it is neither, names a file that is not there, a class without
        pictures, fewer than 2 classes, or one class in two ways.
    """
    if path.is_dir():
        pictures = _from_folder(path)
    elif path.suffix.lower() == ".csv" and path.is_file():
        pictures = _from_csv(path)
    else:
        found = f"'{path.name}' is no folder of pictures and no CSV."
        raise CaseError(found, _LAYOUTS)
    classes = tuple(sorted({picture.label for picture in pictures}))
    if not 2 <= len(classes) <= MOST_CLASSES:
        found = f"'{path.name}' has pictures of {len(classes)} classes."
        raise CaseError(found, f"Two to {MOST_CLASSES} are due. {_LAYOUTS}")
    if len({name.casefold() for name in classes}) < len(classes):
        found = f"'{path.name}' has classes that differ in capitals alone."
        raise CaseError(found, f"Write each in one way; it has: {', '.join(classes)}.")
    ordered = tuple(sorted(pictures, key=lambda picture: str(picture.path)))
    alone = sum(not picture.is_named for picture in ordered)
    note = tell_patients(ordered, alone, "pictures")
    return LabelledPictures(ordered, classes, note)


def tell_patients(pictures: Sequence[LabelledPicture], alone: int, what: str) -> str:
    """Return how many patients there are and how they were told apart, for reports.

    Parameters
    ----------
    pictures : sequence of LabelledPicture
    alone : int
        Of how many `what`, such as pictures, nothing names the patient.
    what : str
    """
    patients = len({picture.patient for picture in pictures})
    said = f"{len(pictures)} pictures of {patients} patients"
    if not alone:
        return f"{said}, by the patients that the data set names."
    return (
        f"{said}. Of {alone} {what} no patient is named: each counts as a patient of "
        "its own, so figures are too good where that is not so."
    )


def _from_folder(folder: Path) -> list[LabelledPicture]:
    pictures = []
    for part in sorted(p for p in folder.iterdir() if p.is_dir()):
        if part.name.startswith("."):
            continue
        files = [file for file in sorted(part.rglob("*")) if is_picture(file)]
        if not files:
            found = f"The class folder '{part.name}' holds no picture."
            raise CaseError(found, "Fill it, or remove it where it is no class.")
        for file in files:
            inside = file.parent != part
            patient = file.relative_to(part).parts[0] if inside else ""
            pictures.append(_picture(file, part.name, patient))
    return pictures


def _picture(file: Path, label: str, patient: str) -> LabelledPicture:
    """Return a picture of the patient that the data set names, else of its header's."""
    known = patient or _patient_in_header(file)
    return LabelledPicture(file, label, known or f"file {file}", bool(known))


def _patient_in_header(file: Path) -> str:
    """Return a DICOM slice's patient, empty for other files and where nobody is."""
    if not is_dicom(file):
        return ""
    try:
        return patient_of(file) or ""
    except BROKEN_FILE:
        return ""  # it is refused with all others once pictures are read


def _from_csv(path: Path) -> list[LabelledPicture]:
    pictures, missing = [], []
    for number, row in _rows(path):
        name, label = (row.get(PATH) or "").strip(), (row.get(LABEL) or "").strip()
        if not name or not label:
            found = f"Line {number} of '{path.name}' lacks a path or a label."
            raise CaseError(found, "Complete it, or remove the line.")
        file = path.parent / name
        if not file.is_file():
            missing.append(f"line {number}")
        pictures.append(_picture(file, label, named_patient(row) or ""))
    if missing:
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        shown = ", ".join(missing[:10]) + more
        found = f"'{path.name}' names files that are not there: {shown}."
        raise CaseError(found, "Paths count from the folder of the CSV.")
    if len({picture.path.resolve() for picture in pictures}) < len(pictures):
        found = f"'{path.name}' names some picture twice."
        raise CaseError(found, "Leave one line for each picture.")
    return pictures


def _rows(path: Path) -> list[tuple[int, Mapping[str, str | None]]]:
    """Return each row with the number of its line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            heading = [name.strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = heading
            if not {PATH, LABEL} <= set(heading):
                found = f"'{path.name}' lacks the columns path and label."
                raise CaseError(found, _LAYOUTS)
            return [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        found = f"'{path.name}' cannot be read as CSV in UTF-8."
        raise CaseError(found, "Save it as CSV in UTF-8 again.") from error

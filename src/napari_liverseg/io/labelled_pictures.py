"""Pictures with a class each: a folder with one subfolder a class, or a CSV."""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import CaseError
from napari_liverseg.io.dicom import patient_of
from napari_liverseg.io.headers import BROKEN_FILE
from napari_liverseg.io.labelled_set import named_patient, some_of, unite_owners
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
    header : str or None
        The key of the patient whom that header names; None where it names none.
    """

    path: Path
    label: str
    patient: str
    is_named: bool = True
    header: str | None = None


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
        paths from its folder. For the heading see also `named_patient`.

    Raises
    ------
    CaseError
        When it is neither, has lines that lack something or name a file that is not
        there, all of them in one report, a class without pictures, fewer than 2
        classes, or one class in two ways.
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
    ordered = _united(sorted(pictures, key=lambda picture: str(picture.path)))
    alone = sum(not picture.is_named for picture in ordered)
    note = tell_patients(ordered, alone, "pictures")
    return LabelledPictures(ordered, classes, note)


def _united(pictures: Sequence[LabelledPicture]) -> tuple[LabelledPicture, ...]:
    owners = unite_owners([p.patient for p in pictures], [p.header for p in pictures])
    return tuple(
        replace(picture, patient=owner)
        for picture, owner in zip(pictures, owners, strict=True)
    )


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
    header = _patient_in_header(file)
    known = patient or header
    return LabelledPicture(file, label, known or f"file {file}", bool(known), header)


def _patient_in_header(file: Path) -> str | None:
    """Return a DICOM slice's patient, None for other files and where nobody is."""
    if not is_dicom(file):
        return None
    try:
        return patient_of(file)
    except BROKEN_FILE:
        return None  # it is refused with all others once pictures are read


def _from_csv(path: Path) -> list[LabelledPicture]:
    pictures, incomplete, missing = [], [], []
    for number, row in _rows(path):
        name, label = (row.get(PATH) or "").strip(), (row.get(LABEL) or "").strip()
        file = path.parent / name
        if not name or not label:
            incomplete.append(f"line {number}")
        elif not file.is_file():
            missing.append(f"line {number}")
        else:
            pictures.append(_picture(file, label, named_patient(row) or ""))
    _refuse_lines(path, incomplete, missing)
    if len({picture.path.resolve() for picture in pictures}) < len(pictures):
        found = f"'{path.name}' names some picture twice."
        raise CaseError(found, "Leave one line for each picture.")
    return pictures


def _refuse_lines(path: Path, incomplete: list[str], missing: list[str]) -> None:
    """Refuse a CSV for its lines that lack something, or whose files are not there."""
    found, steps = [], []
    if incomplete:
        found.append(f"lacks a path or a label in {some_of(incomplete)}")
        steps.append("Complete or remove what lacks something.")
    if missing:
        found.append(f"names files that are not there: {some_of(missing)}")
        steps.append("Paths count from the folder of the CSV.")
    if found:
        said = f"'{path.name}' {', and '.join(found)}."
        raise CaseError(said, " ".join(steps))


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

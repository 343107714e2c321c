"""Which cases a folder or a list holds, and what each of them is called."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_liverseg.batch.result import FILES, PROBABILITY_FILES
from napari_liverseg.core.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LIST_ENDING = ".csv"

MOST_NAME_BYTES = 200
"""A longer name of a folder leaves no room for the files in it."""

NO_NAME = ("summary.csv",)
"""What lies beside the cases' folders of results."""

WINDOWS_FORBIDS = '<>:"/\\|?*'


@dataclass(frozen=True)
class Case:
    """One CT to segment.

    Parameters
    ----------
    name : str
        Of its folder of results; unique in a batch. It comes from the name of a
        file, which may name a patient, so that no log quotes it.
    path : Path
        A CT file, a folder of DICOM or a zip of one.
    series : str or None
        Its ``uid`` where the path holds several.
    """

    name: str = field(repr=False)
    path: Path = field(repr=False)
    series: str | None = field(default=None, repr=False)


def find_cases(source: Path, output: Path) -> tuple[Case, ...]:
    """Return the cases of a folder or a list, by name.

    Parameters
    ----------
    source : Path
        A folder, searched with all folders inside it, or a table ``*.csv``.
    output : Path
        Folder of the results; where it lies in `source`, it is passed over.

    Raises
    ------
    CaseError
        When there are none, the list cannot be read, or two would have one name.
    """
    if source.is_dir():
        cases = _in_folder(source, output)
    elif source.suffix.lower() == LIST_ENDING and source.is_file():
        cases = _in_list(source)
    else:
        found = f"'{source.name}' is neither a folder of cases nor a list of them."
        raise CaseError(found, "Give a folder, or a .csv file with a column 'path'.")
    if not cases:
        found = f"'{source.name}' holds no CT."
        raise CaseError(
            found, "Give a folder of NIfTI, NRRD or MHA files, zips or DICOM folders."
        )
    _refuse_doubles(cases)
    return tuple(sorted(cases, key=lambda case: case.name))


def _in_folder(source: Path, output: Path) -> list[Case]:
    """Find image files and zips anywhere, and each topmost folder of DICOM.

    `open_ct` looks into the folders inside a DICOM folder too: what lies there
    is part of the case, and several series are refused, not guessed about.
    """
    from napari_liverseg.io.formats import is_image_file

    cases: list[Case] = []
    dicom: list[Path] = []
    for folder, files in _walk(source, output.resolve()):
        images = [f for f in files if is_image_file(f) or f.suffix.lower() == ".zip"]
        cases += [Case(_name_of(f, source), f) for f in images]
        inside = any(parent in folder.parents for parent in dicom)
        others = (f for f in files if f not in images)
        if not inside and _has_slices(others):
            dicom.append(folder)
            cases.append(Case(_name_of(folder, source), folder))
    return cases


def _walk(source: Path, output: Path) -> Iterator[tuple[Path, list[Path]]]:
    for where, folders, names in os.walk(source):
        folder = Path(where)
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and (folder / name).resolve() != output
        )
        # What an earlier batch has left is no case, wherever its results lie.
        made = (*FILES, *PROBABILITY_FILES) if set(FILES) <= set(names) else ()
        names = sorted(set(names) - set(made))
        yield folder, [folder / name for name in names if not name.startswith(".")]


def _has_slices(files: Iterable[Path]) -> bool:
    """Whether a file among them is DICOM; a DICOMDIR only lists other files."""
    from napari_liverseg.io.headers import claims_dicom, looks_like_dicom

    return any(
        claims_dicom(f) or looks_like_dicom(f)
        for f in files
        if f.name.upper() != "DICOMDIR"
    )


def _name_of(path: Path, source: Path) -> str:
    """Return a case's name: its path from the folder, so that more cases change none.

    ``p1/ct.nii.gz`` becomes ``p1_ct``.
    """
    parts = path.relative_to(source).parts
    if not parts:
        return source.resolve().name
    return "_".join((*parts[:-1], _bare(path)))


def _bare(path: Path) -> str:
    """Return the name of a file without its ending, of a folder as it is."""
    from napari_liverseg.io.formats import stem

    if path.is_dir():
        return path.name
    return path.stem if path.suffix.lower() == ".zip" else stem(path)


def _in_list(source: Path) -> list[Case]:
    try:
        text = source.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        found = f"'{source.name}' cannot be read as a table of text in UTF-8."
        raise CaseError(found, "Save it as CSV (UTF-8) and run again.") from error
    head = text.partition("\n")[0]
    # Where numbers have decimal commas, spreadsheets write semicolons.
    table = csv.DictReader(
        text.splitlines(), delimiter=";" if head.count(";") > head.count(",") else ","
    )
    try:
        columns = table.fieldnames or ()
    except csv.Error as error:
        raise _no_row(source, 1, 1) from error
    # Whoever types them sets blanks behind the commas.
    table.fieldnames = [name.strip().lower() for name in columns]
    if "path" not in table.fieldnames:
        found = f"'{source.name}' has no column 'path'."
        raise CaseError(found, "Name the columns in its first line: path,name,series.")
    try:
        return [_row(row, source, table.line_num) for row in table]
    except csv.Error as error:
        raise _no_row(source, table.line_num + 1, table.reader.line_num) from error


def _no_row(source: Path, first: int, last: int) -> CaseError:
    """Return the refusal of lines that the module csv cannot read as one row."""
    what = f"Line {first}" if first >= last else f"What begins in line {first}"
    found = f"{what} of '{source.name}' cannot be read as a row of a table."
    step = "Look for a quotation mark that is not closed, or remove the line."
    return CaseError(found, step)


def _row(row: dict[str, str | None], source: Path, line: int) -> Case:
    path, name, series = (
        (row.get(column) or "").strip() for column in ("path", "name", "series")
    )
    if not path:
        found = f"Line {line} of '{source.name}' has no path."
        raise CaseError(found, "Fill the column 'path', or remove the line.")
    try:
        place = source.parent / Path(path).expanduser()
        name = name or _bare(place)
    except (OSError, RuntimeError) as error:  # too long; or nobody has this home
        raise _no_path(source, line) from error
    if "\0" in path:
        raise _no_path(source, line)
    if not _can_name_a_folder(name):
        found = f"Line {line} of '{source.name}' has a name that no folder can have."
        raise CaseError(found, "Use letters, digits, '-', '_' and '.' in 'name'.")
    return Case(name, place, series or None)


def _no_path(source: Path, line: int) -> CaseError:
    found = f"Line {line} of '{source.name}' has a path that no file here can have."
    return CaseError(found, "Write out the whole path, or remove the line.")


def _can_name_a_folder(name: str) -> bool:
    return (
        bool(name)
        and not name.startswith(".")
        and not name.endswith((".", " "))
        and name.isprintable()
        and not set(name) & set(WINDOWS_FORBIDS)
        and name.lower() not in NO_NAME
        and len(name.encode()) <= MOST_NAME_BYTES
    )


def _refuse_doubles(cases: list[Case]) -> None:
    seen: set[str] = set()
    for case in cases:
        # Disks of Windows and macOS hold 'A' and 'a' to be one name.
        folded = case.name.casefold()
        if folded in seen:
            found = f"Two cases would be called '{case.name}'."
            step = "Rename one, or give a list.csv with the columns path and name."
            raise CaseError(found, step)
        seen.add(folded)

"""Labelled cases as others keep them: nnU-Net's raw folder, a datalist, our own set."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from napari_liverseg.core.errors import CaseError
from napari_liverseg.core.segmentation import LABELS
from napari_liverseg.io.formats import stem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DATASET = "dataset.json"
INDEX = "cases.json"
"""What our own retraining set knows of its cases."""

MOST_BYTES = 100_000_000
"""A longer file is no list of cases."""

OWN_ID = re.compile(r"(?P<patient>.+_P\d+)_\d+")
"""IDs of our own retraining set: ``liver_P001_02`` is the second CT of a patient."""

PATIENT_KEYS = ("patient", "subject", "patientid", "subjectid")
"""As `_bare` leaves them; the first that says something counts."""

MOST_NAMED = 10
"""Bad items or lines that a report names; of others it gives the number."""

Owner = TypeVar("Owner", str, tuple[str, str])

Layout = Literal["nnU-Net raw folder", "datalist"]


@dataclass(frozen=True)
class LabelledCase:
    """Where a CT and its label map lie; neither was opened.

    Parameters
    ----------
    name : str
        Unique in its set.
    image, label : Path
    patient : str or None
        What groups the cases of one patient; None where nothing says it.
    header : str or None
        The key of the patient whom the CT's header names, see `CTVolume`; None where
        it names none, or was not read.
    """

    name: str
    image: Path
    label: Path
    patient: str | None = None
    header: str | None = None

    @property
    def owner(self) -> tuple[str, str]:
        """Whose case it is; where nothing names the patient, nobody else's."""
        return ("patient", self.patient) if self.patient else ("case", self.name)


@dataclass(frozen=True)
class LabelledSet:
    """Cases, and what the values of their label maps are called.

    Parameters
    ----------
    cases : tuple of LabelledCase
        By name.
    labels : dict of str to int
        Name to value, background included.
    layout : {'nnU-Net raw folder', 'datalist'}
        Our own retraining set has the former.
    """

    cases: tuple[LabelledCase, ...]
    labels: dict[str, int]
    layout: Layout


def find_labelled(path: str | Path) -> LabelledSet:
    """Return the cases that a folder or a list names, without opening them.

    Parameters
    ----------
    path : path
        A raw folder of nnU-Net (`imagesTr`, `labelsTr`, `dataset.json`), such as
        our own retraining set; or a datalist of MONAI or of the Medical
        Segmentation Decathlon, or the folder that holds one as `dataset.json`:
        ``{"training": [{"image": ..., "label": ...}]}``, paths from its folder. An
        item may name its ``patient`` (or ``subject``), see `named_patient`.

    Raises
    ------
    CaseError
        When it is none of these, or names no case, or lacks an image or a label of
        some: all of them in one report.
    """
    path = Path(path)
    file = path / DATASET if path.is_dir() else path
    if not file.is_file():
        found = f"'{path.name}' holds no labelled cases: there is no {file.name}."
        raise CaseError(found, _LAYOUTS)
    content = _read(file)
    if "training" in content:
        found_set = _from_datalist(content, file)
    elif (file.parent / "labelsTr").is_dir():
        found_set = _from_nnunet(content, file.parent)
    else:
        found = f"'{file.name}' lists no training cases, and beside it is no labelsTr."
        raise CaseError(found, _LAYOUTS)
    if not found_set.cases:
        raise CaseError(f"'{path.name}' holds no labelled case.", _LAYOUTS)  # noqa: EM102
    return found_set


_LAYOUTS = (
    "Give a retraining set, a raw folder of nnU-Net, or a datalist with 'training'."
)


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > MOST_BYTES:
            raise ValueError
        # Editors of Windows put a mark of the encoding in front.
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        found = f"'{file.name}' cannot be read as JSON."
        raise CaseError(found, "Mend it or copy it again.") from error
    if not isinstance(content, dict):
        raise CaseError(f"'{file.name}' lists no training cases.", _LAYOUTS)  # noqa: EM102
    return content


def _from_nnunet(content: dict[str, Any], folder: Path) -> LabelledSet:
    """Pair ``imagesTr/ID_0000.nii.gz`` with ``labelsTr/ID.nii.gz``, be it not there."""
    end = str(content.get("file_ending", ".nii.gz"))
    channels = content.get("channel_names", {"0": "CT"})
    if len(channels) != 1:
        found = f"The data set has {len(channels)} images a case, where one CT is due."
        raise CaseError(found, "Give a data set of CTs alone.")
    labels = {p.name.removesuffix(end) for p in _files(folder / "labelsTr", end)}
    mark = f"_0000{end}"
    images = {p.name.removesuffix(mark) for p in _files(folder / "imagesTr", mark)}
    nameless = _nameless(folder / INDEX)
    cases = tuple(
        LabelledCase(
            name,
            folder / "imagesTr" / f"{name}{mark}",
            folder / "labelsTr" / f"{name}{end}",
            None if name in nameless else _patient_in(name),
        )
        for name in sorted(labels | images)
    )
    return LabelledSet(cases, _label_values(content), "nnU-Net raw folder")


def _nameless(index: Path) -> set[str]:
    """Return the cases of our own set whose CT named no patient: IDs number all."""
    try:
        cases = json.loads(index.read_text(encoding="utf-8"))["cases"]
        return {str(name) for name, keys in cases.items() if keys["patient"] is None}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()


def _files(folder: Path, end: str) -> list[Path]:
    if not folder.is_dir():
        return []
    return [
        p
        for p in folder.iterdir()
        if p.name.endswith(end) and not p.name.startswith(".")
    ]


def _from_datalist(content: dict[str, Any], file: Path) -> LabelledSet:
    items = content["training"]
    if not isinstance(items, list) or not all(isinstance(i, dict) for i in items):
        found = f"'training' of '{file.name}' is no list of cases."
        raise CaseError(found, _LAYOUTS)
    _refuse_incomplete(items, file)
    cases = [_item(item, file) for item in items]
    return LabelledSet(_uniquely_named(cases), _label_values(content), "datalist")


def _refuse_incomplete(items: list[dict[str, Any]], file: Path) -> None:
    bad = [
        f"case {number}"
        for number, item in enumerate(items, start=1)
        if not all(isinstance(path, str) and path for path in _paths(item))
    ]
    if bad:
        which = some_of(bad)
        found = f"'{file.name}' does not name one image and one label for {which}."
        raise CaseError(found, "Give each case an 'image' and a 'label'.")


def some_of(bad: Sequence[str]) -> str:
    """Return the first `MOST_NAMED` of what is bad, and how many more there are."""
    more = len(bad) - MOST_NAMED
    shown = ", ".join(bad[:MOST_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown


def _paths(item: dict[str, Any]) -> tuple[Any, Any]:
    return item.get("image"), item.get("label")


def _item(item: dict[str, Any], file: Path) -> LabelledCase:
    image, label = (file.parent / path for path in _paths(item))
    # Of our own sets the CT's name ends in nnU-Net's number of a channel.
    owner = _patient_in(stem(image).removesuffix("_0000"))
    return LabelledCase(stem(image), image, label, named_patient(item) or owner)


def named_patient(item: Mapping[str, Any]) -> str | None:
    """Return the patient that an item of a list names, None where it names none.

    The field is called one of `PATIENT_KEYS`, however that is written: a patient who
    was overlooked could be learnt from and tested on. DICOM calls it ``PatientID``.
    Spaces around the value do not count.
    """
    said = [(_bare(str(key)), value) for key, value in item.items()]
    named = (
        str(value).strip()
        for known in PATIENT_KEYS
        for key, value in said
        if key == known and value is not None
    )
    return next(filter(None, named), None)


def _bare(key: str) -> str:
    """Return a field's name without capitals, spaces, ``_`` and ``-``."""
    return re.sub(r"[\s_-]", "", key).casefold()


def unite_owners(
    owners: Sequence[Owner], headers: Sequence[Owner | None]
) -> list[Owner]:
    """Return whose each case is, where some are known by their headers alone.

    A case that the data set names and whose header has a key tells that both are one
    person: all cases of the name and all cases of the key are then one patient's.
    Headers do not unite cases that the data set names otherwise, unless a case in
    between is known by its header alone: many anonymised sets have one PatientID for
    all.

    Parameters
    ----------
    owners : sequence of str, or of tuple of str
        Of each case by the data set, else by its header, else by its own name.
    headers : sequence of the same or None
        By its header, be it named by the data set or not.
    """
    alone = set(owners)
    same: dict[Owner, Owner] = {}

    def first(owner: Owner) -> Owner:
        while owner in same:
            owner = same[owner]
        return owner

    for owner, header in zip(owners, headers, strict=True):
        if header in alone and first(owner) != first(header):
            same[first(header)] = first(owner)
    return [first(owner) for owner in owners]


def _uniquely_named(cases: list[LabelledCase]) -> tuple[LabelledCase, ...]:
    """Tell files of one name apart by the folders around them."""
    count = Counter(case.name for case in cases)
    named = []
    for number, case in enumerate(cases, start=1):
        name = case.name
        if count[name] > 1:
            name = f"{case.image.parent.name}_{name}_{number:03d}"
        named.append(replace(case, name=name))
    return tuple(sorted(named, key=lambda case: case.name))


def _patient_in(name: str) -> str | None:
    found = OWN_ID.fullmatch(name)
    return found["patient"] if found else None


def _label_values(content: dict[str, Any]) -> dict[str, int]:
    """Return name to value; nnU-Net writes it so, the Decathlon the other way round."""
    given = content.get("labels", LABELS)
    try:
        pairs = given.items()
        if all(str(key).isdecimal() for key, _ in pairs):
            return {str(name): int(value) for value, name in pairs}
        return {str(name): int(value) for name, value in pairs}
    except (AttributeError, TypeError, ValueError) as error:
        found = "The labels of the data set are not numbers with a name each."
        step = "Give 'labels' such as {'background': 0, 'liver': 1, 'tumour': 2}."
        raise CaseError(found, step) from error

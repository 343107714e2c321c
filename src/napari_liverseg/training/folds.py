"""Which cases are held out in which fold: by patient, drawn once, then kept."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.errors import CaseError
from napari_liverseg.io.labelled_set import unite_owners
from napari_liverseg.training.whole_file import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_liverseg.io.labelled_set import LabelledCase

FOLDS_FILE = "folds.json"

HELD_OUT_PARTS = 5
"""Where there is no cross-validation, one of so many parts is held out."""


@dataclass(frozen=True)
class Folds:
    """The cases that each fold holds out; the others train it.

    Parameters
    ----------
    held_out : tuple of tuple of str
        Names of cases, one tuple a fold.
    cases : tuple of str
        All names, sorted; a case's number in reports is its place here.
    patients : int
    note : str
        How patients were told apart.
    """

    held_out: tuple[tuple[str, ...], ...]
    cases: tuple[str, ...]
    patients: int
    note: str

    def train(self, fold: int) -> tuple[str, ...]:
        """Return the cases that train a fold."""
        return tuple(name for name in self.cases if name not in self.held_out[fold])


def keep_folds(
    path: Path, cases: Sequence[LabelledCase], count: int, seed: int
) -> Folds:
    """Return the folds in a file, drawn and written there if it is new.

    Parameters
    ----------
    path : Path
        ``folds.json``.
    cases : sequence of LabelledCase
    count : int
        Folds; 1 holds one part of `HELD_OUT_PARTS` out.
    seed : int

    Raises
    ------
    CaseError
        When there are too few patients, or the file is of other cases or folds, or
        from before two of its cases were known to be of one patient.
    """
    if not path.exists():
        folds = draw_folds(cases, count, seed)
        content = {
            "seed": seed,
            "patients": folds.patients,
            "note": folds.note,
            "cases": folds.cases,
            "held_out": folds.held_out,
        }
        write_text(path, json.dumps(content, indent=1) + "\n")
        return folds
    folds = read_folds(path)
    names = tuple(sorted(case.name for case in cases))
    if folds.cases != names or len(folds.held_out) != count:
        found = (
            f"'{path.name}' has {len(folds.held_out)} folds of {len(folds.cases)} "
            f"cases; asked for are {count} of {len(names)}, or of other cases."
        )
        raise CaseError(found, "Give the same cases and folds, or another folder.")
    _refuse_patients_on_both_sides(folds, cases, path.name)
    return folds


def _refuse_patients_on_both_sides(
    folds: Folds, cases: Sequence[LabelledCase], file: str
) -> None:
    owner = _owners(cases)
    for fold, names in enumerate(folds.held_out):
        held_out = {owner[name] for name in names}
        if not held_out.isdisjoint(owner[name] for name in folds.train(fold)):
            found = (
                f"'{file}' was drawn when cases of one patient were not known as such: "
                f"fold {fold + 1} would be tested on a patient that it learnt from."
            )
            raise CaseError(found, "Train into another folder: folds are drawn anew.")


def _owners(cases: Sequence[LabelledCase]) -> dict[str, tuple[str, str]]:
    """Return whose each case is by its name, see `unite_owners`."""
    headers = [("patient", case.header) if case.header else None for case in cases]
    owners = unite_owners([case.owner for case in cases], headers)
    return {case.name: owner for case, owner in zip(cases, owners, strict=True)}


def draw_folds(cases: Sequence[LabelledCase], count: int, seed: int) -> Folds:
    """Deal patients to folds, those with most cases first, so that folds are even.

    Raises
    ------
    CaseError
        When there are fewer patients than folds.
    """
    patients: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, owner in _owners(cases).items():
        patients[owner].append(name)
    parts = count if count > 1 else min(HELD_OUT_PARTS, len(patients))
    if len(patients) < max(parts, 2):
        _refuse_few(len(patients), max(parts, 2), cases)
    order = np.random.default_rng((seed, 31)).permutation(len(patients))
    # By their cases: keys of patients are other ones on another computer.
    by_case = sorted(patients, key=lambda key: min(patients[key]))
    keys = [by_case[i] for i in order]
    keys.sort(key=lambda key: -len(patients[key]))
    dealt: list[list[str]] = [[] for _ in range(parts)]
    for key in keys:
        min(dealt, key=len).extend(patients[key])
    held_out = tuple(tuple(sorted(names)) for names in dealt)
    if count == 1:
        held_out = (min(held_out, key=len),)
    names = tuple(sorted(case.name for case in cases))
    return Folds(held_out, names, len(patients), _note(cases, len(patients)))


def _refuse_few(patients: int, parts: int, cases: Sequence[LabelledCase]) -> None:
    found = f"{_count(patients, 'patient')} cannot make {parts} parts."
    fewer = ", or ask for fewer --folds" if patients > 1 else ""
    step = f"Add cases of other patients{fewer}."
    if patients < len({case.owner for case in cases}):
        step += (
            " Patients of several names count as one, since headers of their CTs do "
            "not tell them apart: where that is wrong, let the list name each case's."
        )
    raise CaseError(found, step)


def _note(cases: Sequence[LabelledCase], patients: int) -> str:
    alone = sum(case.patient is None for case in cases)
    said = f"{_count(len(cases), 'case')} of {_count(patients, 'patient')}"
    if not alone:
        return f"{said}, by the patients that the data set names."
    which = "No case names its patient" if alone == len(cases) else f"{alone} name none"
    return f"{said}. {which}: each such case counts as a patient of its own."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def read_folds(path: Path) -> Folds:
    """Return the folds that a file of `keep_folds` holds.

    Raises
    ------
    CaseError
        When it cannot be read, or a fold holds out none, all or unknown cases.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        folds = Folds(
            tuple(tuple(str(n) for n in names) for names in content["held_out"]),
            tuple(str(n) for n in content["cases"]),
            int(content["patients"]),
            str(content["note"]),
        )
        known = set(folds.cases)
        if not all(names and known > set(names) for names in folds.held_out):
            raise ValueError
        return folds
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"'{path.name}' cannot be read."
        raise CaseError(found, "Restore it, or train into another folder.") from error

"""Which pictures train, which choose and which test: by patient, with even classes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.errors import CaseError
from napari_liverseg.training.whole_file import write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_liverseg.io.labelled_pictures import LabelledPictures

SPLIT_FILE = "split.json"
PARTS = ("train", "validation", "test")

TRIES = 200
"""Orders in which patients are dealt; the most even deal is kept."""


@dataclass(frozen=True)
class PictureSplit:
    """Numbers of pictures, by their place among all pictures.

    Parameters
    ----------
    train, validation, test : tuple of int
    """

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def keep_split(
    path: Path, data: LabelledPictures, shares: tuple[float, float], seed: int
) -> PictureSplit:
    """Return the split in a file, drawn and written there if it is new.

    Parameters
    ----------
    path : Path
        ``split.json``; it names no file, only numbers.
    data : LabelledPictures
    shares : tuple of float
        Of the test among all patients, of the validation among the others.
    seed : int

    Raises
    ------
    CaseError
        When a class has too few patients, or the file is of other pictures.
    """
    labels = [picture.label for picture in data.pictures]
    digest = _digest(data)
    if path.is_file():
        return _read(path, labels, digest)
    split = draw_split(labels, [p.patient for p in data.pictures], shares, seed)
    content = {"seed": seed, "labels": labels, "pictures": digest}
    content |= {part: getattr(split, part) for part in PARTS}
    write_text(path, json.dumps(content) + "\n")
    return split


def draw_split(
    labels: Sequence[str],
    patients: Sequence[str],
    shares: tuple[float, float],
    seed: int,
) -> PictureSplit:
    """Deal patients to the parts, so that each part has its share of every class.

    Raises
    ------
    CaseError
        When a class would be missing from a part.
    """
    own: dict[str, list[int]] = defaultdict(list)
    for number, patient in enumerate(patients):
        own[patient].append(number)
    test, validation = shares[0], shares[1] * (1 - shares[0])
    wanted = np.array([1 - test - validation, validation, test])
    classes = sorted(set(labels))
    table = np.array(
        [[sum(labels[i] == c for i in own[p]) for c in classes] for p in sorted(own)]
    )
    rng = np.random.default_rng((seed, 41))
    deals = [_deal(table, wanted, rng) for _ in range(TRIES)]
    best = min(deals, key=lambda deal: _unevenness(table, wanted, deal))
    for place, name in enumerate(classes):
        _refuse_missing(name, table[:, place], best)
    parts: list[list[int]] = [[], [], []]
    for patient, part in zip(sorted(own), best, strict=True):
        parts[part].extend(own[patient])
    train, choosing, testing = (tuple(sorted(part)) for part in parts)
    return PictureSplit(train, choosing, testing)


def _deal(
    table: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    wanted: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    rng: np.random.Generator,
) -> list[int]:
    """Return the part of each patient: where most of its pictures are still lacking."""
    total = np.maximum(table.sum(0), 1)
    lacking = wanted[:, None] * total
    parts = [0] * len(table)
    order = sorted(rng.permutation(len(table)), key=lambda p: -int(table[p].sum()))
    for patient in order:
        need = (lacking * table[patient] / total).sum(1)
        # Relative to its size: else the largest part takes the first patients, and
        # small classes never reach the others.
        part = int(np.argmax(need / wanted + rng.random(3) * 1e-6))
        parts[patient] = part
        lacking[part] -= table[patient]
    return parts


def _unevenness(
    table: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    wanted: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    deal: Sequence[int],
) -> float:
    """Return how far the shares are from those wanted; missing classes count most."""
    got = np.stack([table[np.array(deal) == part].sum(0) for part in range(3)])
    total = np.maximum(table.sum(0), 1)
    off = np.abs(got / total - wanted[:, None]).sum()
    return float(off + 100 * np.count_nonzero(got == 0))


def _refuse_missing(
    name: str, column: np.ndarray[tuple[int, ...], np.dtype[np.int64]], deal: list[int]
) -> None:
    has = {part for part, count in zip(deal, column, strict=True) if count}
    if len(has) == len(PARTS):
        return
    patients = int(np.count_nonzero(column))
    found = (
        f"The class '{name}' has pictures of {patients} patients, and cannot be dealt "
        "to training, validation and test so that each has some."
    )
    raise CaseError(found, "Add pictures of other patients; three a class are least.")


def _digest(data: LabelledPictures) -> str:
    """Return a hash of the pictures' names, classes and patients, in their order.

    Of patients only which pictures are of the same one: without their names, and
    wherever the folder lies.
    """
    numbers: dict[str, int] = {}
    said = [
        (p.path.name, p.label, numbers.setdefault(p.patient, len(numbers)))
        for p in data.pictures
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _read(path: Path, labels: list[str], digest: str) -> PictureSplit:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        # Earlier files do not know the pictures.
        same = content.get("pictures", digest) == digest
        is_same = same and content["labels"] == labels
        parts = [tuple(int(i) for i in content[part]) for part in PARTS]
    except (OSError, ValueError, KeyError, TypeError) as error:
        found = f"'{path.name}' cannot be read."
        raise CaseError(found, "Restore it, or train into another folder.") from error
    if not is_same or Counter(sum(parts, ())) != Counter(range(len(labels))):
        found = f"'{path.name}' is a split of other pictures, or of other patients."
        step = "Give the same pictures and patients, or train into another folder."
        raise CaseError(found, step)
    return PictureSplit(*parts)

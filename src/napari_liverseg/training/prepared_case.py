"""A labelled CT as training sees it: checked, on the network's grid, on the disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_liverseg.core.box import bounding_box
from napari_liverseg.core.errors import CaseError
from napari_liverseg.core.segmentation import LIVER, TUMOUR
from napari_liverseg.inference.body import body_box
from napari_liverseg.inference.look import at_least, widen
from napari_liverseg.inference.preprocessing import to_model_grid
from napari_liverseg.io.formats import is_image_file
from napari_liverseg.io.keys import installation, voxel_key
from napari_liverseg.io.label_map import read_label_map
from napari_liverseg.io.open import open_ct
from napari_liverseg.training.whole_file import write_text, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.core.segmentation import Segmentation
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.io.labelled_set import LabelledCase
    from napari_liverseg.models.contract import Shape

MOST_PLACES = 20_000
"""Voxels of organ and of lesion that are kept as centres of patches."""

SERIES_FILE, CT_FILE = "series.txt", "ct.txt"
LABEL_FILE, PATIENT_FILE = "label.txt", "patient.txt"
"""The keys of a prepared case, each in a file beside its arrays."""

FORMAT = 3
"""Counted up when prepared cases of older versions are no longer right."""


@dataclass(frozen=True)
class Reading:
    """How label maps are read and onto which grid cases are brought.

    Parameters
    ----------
    values : mapping of int to int
        See `label_values`.
    known : tuple of int
        Every value that the data set names.
    spacing_mm : tuple of float
        Of the network, ``(z, y, x)``.
    around : tuple of int or None
        For a second stage, which is run on the liver's box alone: a case is that
        box, and no fewer voxels ``(z, y, x)`` than these. None takes the body.
    """

    values: Mapping[int, int]
    known: tuple[int, ...]
    spacing_mm: Triple
    around: Shape | None = None

    @property
    def knows_lesion(self) -> bool:
        """Whether lesions are labelled; else they are neither invented nor missed."""
        return TUMOUR in self.values.values()


@dataclass(frozen=True, eq=False)
class PreparedCase:
    """A case that was checked; its arrays are read when they are asked for.

    Parameters
    ----------
    case : LabelledCase
        Of the patient that the data set names, else of the one that the CT does.
    folder : Path
        Holds the arrays.
    series_key : str
        The same for the same CT.
    label_key : str
        The same for the same labels.
    ct_key : str
        The same for the same voxels, be they of another series or in another format.
    """

    case: LabelledCase
    folder: Path
    series_key: str
    label_key: str = ""
    ct_key: str = ""

    @property
    def content_key(self) -> str:
        """See `content_key`."""
        return content_key(self.ct_key, self.label_key)

    @cached_property
    def hu(self) -> NDArray[np.int16]:
        """Hounsfield units in the box that the network sees, shape (z, y, x)."""
        hu: NDArray[np.int16] = np.load(self.folder / "hu.npy", mmap_mode="r")
        return hu

    @cached_property
    def labels(self) -> NDArray[np.uint8]:
        """0 background, 1 organ, 2 lesion, shape (z, y, x)."""
        labels: NDArray[np.uint8] = np.load(self.folder / "labels.npy", mmap_mode="r")
        return labels

    @cached_property
    def organ(self) -> NDArray[np.int64]:
        """Flat positions of voxels of organ or lesion, at most `MOST_PLACES`."""
        return np.asarray(np.load(self.folder / "organ.npy"))

    @cached_property
    def lesion(self) -> NDArray[np.int64]:
        """Flat positions of voxels of lesions, at most `MOST_PLACES`."""
        return np.asarray(np.load(self.folder / "lesion.npy"))

    @cached_property
    def clear(self) -> NDArray[np.int64]:
        """Those of `organ` in slices without a lesion; all where each has one."""
        _, rows, columns = self.labels.shape
        bears = (self.labels == TUMOUR).any(axis=(1, 2))
        found = self.organ[~bears[self.organ // (rows * columns)]]
        return found if found.size else self.organ


def content_key(ct_key: str, label_key: str) -> str:
    """Return what is the same for the same voxels of CT and labels.

    Not of the series: keys of DICOM are other ones on another computer.

    Parameters
    ----------
    ct_key, label_key : str
        See `io.keys.voxel_key`.
    """
    both = f"{ct_key} {label_key}"
    return hashlib.sha256(both.encode()).hexdigest()[:24]


def open_labelled(
    case: LabelledCase, reading: Reading
) -> tuple[CTVolume, Segmentation]:
    """Open a CT and its label map, and refuse what nothing can be learnt from.

    Raises
    ------
    CaseError
        When either cannot be read, is no CT in HU, or no organ is labelled.
    GeometryMismatchError
        When they lie on different grids.
    """
    volume = open_ct(case.image)
    for problem in volume.problems:
        if problem.code == "not-hounsfield":
            raise CaseError(problem.message)
    truth = read_label_map(
        case.label, volume, values=reading.values, known=reading.known
    )
    if not truth.labels.any():
        found = f"'{case.label.name}' labels no voxel of the organ."
        raise CaseError(found, "Label it, or leave the case out.")
    return volume, truth


def prepare_case(case: LabelledCase, reading: Reading, cache: Path) -> PreparedCase:
    """Return a case on the network's grid; what was prepared before is taken as is.

    CT and label map go through the functions that inference uses, so that the
    network sees in training what it sees later.

    Raises
    ------
    CaseError, GeometryMismatchError
        See `open_labelled`.
    ExportError
        When the disk is full.
    """
    folder = cache / _key(case, reading)
    mark = folder / SERIES_FILE
    if not mark.is_file():
        volume, truth = open_labelled(case, reading)
        spacing = volume.geometry.spacing_mm
        hu = to_model_grid(volume.hu, spacing, reading.spacing_mm)
        box = body_box(hu.numpy())
        labels = labels_on_grid(truth.labels, spacing, reading.spacing_mm)[box]
        if not labels.any():
            found = f"'{case.label.name}' labels nothing that the network could see."
            raise CaseError(found, "Look whether it belongs to this CT.")
        seen = hu[box].round().to(torch.int16).numpy()
        if reading.around is not None:
            part = _liver_box(labels, reading.spacing_mm, reading.around)
            seen, labels = seen[part], labels[part]
        _write(folder, "hu", seen)
        _write(folder, "labels", labels)
        _write(folder, "organ", _places(labels >= LIVER))
        _write(folder, "lesion", _places(labels == TUMOUR))
        write_text(folder / LABEL_FILE, voxel_key(truth.labels))
        write_text(folder / CT_FILE, voxel_key(volume.hu))
        write_text(folder / PATIENT_FILE, volume.patient_key or "")
        write_text(mark, volume.series_key)
    series, label, ct, patient = (
        (folder / name).read_text(encoding="utf-8")
        for name in (SERIES_FILE, LABEL_FILE, CT_FILE, PATIENT_FILE)
    )
    whose = replace(
        case, patient=case.patient or patient or None, header=patient or None
    )
    return PreparedCase(whose, folder, series, label, ct)


def _liver_box(labels: NDArray[np.uint8], spacing_mm: Triple, least: Shape) -> Box:
    """Return the box of the organ that a second stage sees, see `inference.look`."""
    organ = bounding_box(labels)
    assert organ is not None  # a case without any was refused
    z, y, x = labels.shape
    return at_least(widen(organ, spacing_mm, (z, y, x)), least, labels.shape)


def labels_on_grid(
    labels: NDArray[np.uint8], spacing_mm: Triple, target_mm: Triple
) -> NDArray[np.uint8]:
    """Return a label map on a network's grid: what fills half of a voxel has it.

    Parameters
    ----------
    labels : ndarray of uint8, shape (z, y, x)
    spacing_mm, target_mm : tuple of float
        Of the label map and of the network, ``(z, y, x)``.
    """
    organ, lesion = (
        to_model_grid(mask, spacing_mm, target_mm).numpy() >= 0.5
        for mask in (labels >= LIVER, labels == TUMOUR)
    )
    return np.asarray(np.where(lesion, TUMOUR, organ * LIVER), np.uint8)


def _places(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    found = np.flatnonzero(mask)
    step = max(1, -(-found.size // MOST_PLACES))
    return np.asarray(found[::step], np.int64)


def _write(folder: Path, name: str, array: NDArray[np.generic]) -> None:
    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.save(file, array)

    write_whole(folder / f"{name}.npy", write)


def _key(case: LabelledCase, reading: Reading) -> str:
    """Return a name that changes with the files and with how they are read."""
    said: list[object] = [FORMAT, reading.spacing_mm, sorted(reading.values.items())]
    said += [sorted(reading.known), reading.around]
    if not is_image_file(case.image):
        # The header's patient is known by a key that is another one elsewhere, and a
        # patient of two keys would be on both sides of a fold.
        said.append(installation())
    for path in (case.image, case.label):
        said.append(str(path.resolve()))
        said += [(str(file), _state(file)) for file in _files(path)]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:24]


def _files(path: Path) -> list[Path]:
    """Return a file, or those of a folder: a CT in DICOM has one for each slice."""
    return sorted(path.rglob("*")) if path.is_dir() else [path]


def _state(file: Path) -> tuple[int, int] | None:
    if not file.is_file():
        return None
    state = file.stat()
    return state.st_size, state.st_mtime_ns

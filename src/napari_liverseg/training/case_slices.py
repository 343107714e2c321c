"""Slices of labelled CTs as pictures of two classes: with tumour, and liver without."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import SimpleITK as sitk

from napari_liverseg.core.errors import CaseError, ExportError
from napari_liverseg.core.progress import never_cancelled
from napari_liverseg.core.segmentation import TUMOUR
from napari_liverseg.io.itk_name import itk_name
from napari_liverseg.io.keys import voxel_key
from napari_liverseg.io.labelled_pictures import find_pictures, tell_patients
from napari_liverseg.io.labelled_set import DATASET, find_labelled, unite_owners
from napari_liverseg.training.caseload import check_each
from napari_liverseg.training.label_values import label_values
from napari_liverseg.training.prepared_case import Reading, open_labelled
from napari_liverseg.training.segmentation_recipe import Names
from napari_liverseg.training.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.io.labelled_pictures import LabelledPicture, LabelledPictures
    from napari_liverseg.io.labelled_set import LabelledCase

WITH, WITHOUT = "tumour", "none"
"""The classes, and the names of their folders."""

LEAST_MM2 = 20.0
"""Slices with less tumour are neither: their label is a matter of voxels."""


@dataclass(frozen=True)
class Cut:
    """A case whose slices were written.

    Parameters
    ----------
    series_key, ct_key : str
        See `PreparedCase`.
    owner : str
        The patient by the data set, else by the CT's header, else the case's name.
    header : str or None
        The patient by the header.
    names_patient : bool
        Whether the data set or the header does.
    """

    series_key: str
    ct_key: str
    owner: str
    header: str | None
    names_patient: bool


def has_label_maps(path: Path) -> bool:
    """Whether a path is of CTs with label maps, not of pictures with a class each."""
    return path.suffix == ".json" or (path / DATASET).is_file()


def cut_slices(
    path: Path,
    folder: Path,
    window: tuple[float, float],
    on_progress: OnProgress,
    is_cancelled: IsCancelled = never_cancelled,
    names: Names | None = None,
) -> LabelledPictures:
    """Write slices of labelled CTs that show liver as ``CLASS/PATIENT/CASE_z.png``.

    Parameters
    ----------
    path : Path
        See `find_labelled`.
    folder : Path
        Where they go; what an earlier call left there is removed.
    window : tuple of float
        HU that become black and white.
    on_progress, is_cancelled : callable
    names : Names or None
        What organ and lesion are called there; None recognises liver and tumour.

    Raises
    ------
    CaseError
        In one report, when cases are no good; or when no slice is of a class.
    ExportError
        When the disk is full.
    CancelledError
        Once `is_cancelled` returns True.
    """
    shutil.rmtree(folder, ignore_errors=True)
    labelled = find_labelled(path)
    known = tuple(sorted({*labelled.labels.values(), 0}))
    values = label_values(labelled.labels, names or Names())
    reading = Reading(values, known, (1.0, 1.0, 1.0))  # slices keep their own grid
    cut = partial(_cut, reading=reading, folder=folder, window=window)
    done = check_each(labelled, cut, on_progress, is_cancelled)
    _refuse_one_class(folder)
    found = find_pictures(folder)
    pictures = _united(found.pictures, done)
    alone = sum(not case.names_patient for case in done.values())
    note = tell_patients(pictures, alone, "CTs")
    return replace(found, pictures=pictures, note=note)


def _united(
    pictures: Sequence[LabelledPicture], done: Mapping[str, Cut]
) -> tuple[LabelledPicture, ...]:
    """Return slices with the patients that data set and headers know together."""
    owners = [cut.owner for cut in done.values()]
    same = unite_owners(owners, [cut.header for cut in done.values()])
    united = dict(zip(owners, same, strict=True))
    whose = [done[picture.path.name.rpartition("_")[0]].owner for picture in pictures]
    called = {
        owner: picture.patient for owner, picture in zip(whose, pictures, strict=True)
    }
    return tuple(
        replace(picture, patient=called.get(united[owner], united[owner]))
        for owner, picture in zip(whose, pictures, strict=True)
    )


def _refuse_one_class(folder: Path) -> None:
    for name, which in ((WITH, f"{LEAST_MM2:g} mm² of"), (WITHOUT, "no")):
        if not (folder / name).is_dir():
            found = f"No slice of these cases shows the organ and {which} tumour."
            step = "Add cases that have such slices: two classes are told apart."
            raise CaseError(found, step)


def _cut(
    case: LabelledCase, reading: Reading, folder: Path, window: tuple[float, float]
) -> Cut:
    volume, truth = open_labelled(case, reading)
    _, rows_mm, columns_mm = volume.geometry.spacing_mm
    low, high = window
    owner = case.patient or volume.patient_key
    for z in np.flatnonzero(truth.labels.any(axis=(1, 2))):
        area = np.count_nonzero(truth.labels[z] == TUMOUR) * rows_mm * columns_mm
        if 0 < area < LEAST_MM2:
            continue
        # Quoted, and with a word before it: a list may call a patient '../x'.
        patient = f"patient-{quote(owner or case.name, safe='')}"
        place = folder / (WITH if area else WITHOUT) / patient
        grey = (np.clip(volume.hu[z], low, high) - low) / (high - low) * 255
        write_whole(
            place / f"{case.name}_{z:04d}.png",
            partial(_write, grey.round().astype(np.uint8)),
        )
    key = voxel_key(volume.hu)
    return Cut(
        volume.series_key,
        key,
        owner=owner or case.name,
        header=volume.patient_key,
        names_patient=owner is not None,
    )


def _write(grey: NDArray[np.uint8], part: Path) -> None:
    name = itk_name(part, ExportError)
    sitk.WriteImage(sitk.GetImageFromArray(grey), name)

"""Slices of labelled CTs as pictures of two classes: with tumour, and liver without."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np
import SimpleITK as sitk

from napari_liverseg.core.progress import never_cancelled
from napari_liverseg.core.segmentation import TUMOUR
from napari_liverseg.io.labelled_set import DATASET, find_labelled
from napari_liverseg.training.caseload import check_each
from napari_liverseg.training.label_values import label_values
from napari_liverseg.training.prepared_case import Reading, open_labelled
from napari_liverseg.training.segmentation_recipe import Names
from napari_liverseg.training.whole_file import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_liverseg.core.progress import IsCancelled, OnProgress
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
    series_key : str
    """

    series_key: str


def has_label_maps(path: Path) -> bool:
    """Whether a path is of CTs with label maps, not of pictures with a class each."""
    return path.suffix == ".json" or (path / DATASET).is_file()


def cut_slices(
    path: Path,
    folder: Path,
    window: tuple[float, float],
    on_progress: OnProgress,
    is_cancelled: IsCancelled = never_cancelled,
) -> Path:
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

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    CaseError
        In one report, when cases are no good.
    ExportError
        When the disk is full.
    CancelledError
        Once `is_cancelled` returns True.
    """
    shutil.rmtree(folder, ignore_errors=True)
    labelled = find_labelled(path)
    known = tuple(sorted({*labelled.labels.values(), 0}))
    values = label_values(labelled.labels, Names())
    reading = Reading(values, known, (1.0, 1.0, 1.0))  # slices keep their own grid
    cut = partial(_cut, reading=reading, folder=folder, window=window)
    check_each(labelled, cut, on_progress, is_cancelled)
    return folder


def _cut(
    case: LabelledCase, reading: Reading, folder: Path, window: tuple[float, float]
) -> Cut:
    volume, truth = open_labelled(case, reading)
    _, rows_mm, columns_mm = volume.geometry.spacing_mm
    low, high = window
    owner = case.patient or volume.patient_key or case.name
    for z in np.flatnonzero(truth.labels.any(axis=(1, 2))):
        area = np.count_nonzero(truth.labels[z] == TUMOUR) * rows_mm * columns_mm
        if 0 < area < LEAST_MM2:
            continue
        # Quoted, and with a word before it: a list may call a patient '../x'.
        patient = f"patient-{quote(owner, safe='')}"
        place = folder / (WITH if area else WITHOUT) / patient
        grey = (np.clip(volume.hu[z], low, high) - low) / (high - low) * 255
        write_whole(
            place / f"{case.name}_{z:04d}.png",
            partial(_write, grey.round().astype(np.uint8)),
        )
    return Cut(volume.series_key)


def _write(grey: NDArray[np.uint8], part: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(grey), str(part))

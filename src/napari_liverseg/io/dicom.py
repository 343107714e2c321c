"""A DICOM series as a CT volume, with the user's decisions carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pydicom

from napari_liverseg.core.geometry import reorient_to_lps
from napari_liverseg.core.volume import CTVolume
from napari_liverseg.io.headers import has_stand_in
from napari_liverseg.io.hounsfield import as_hu, hounsfield_problems
from napari_liverseg.io.keys import patient_key, series_key, volume_key
from napari_liverseg.io.pixels import load_hu
from napari_liverseg.io.quiet import quiet
from napari_liverseg.io.stack import stack
from napari_liverseg.io.straighten import straightened

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from napari_liverseg.core.problem import Decision
    from napari_liverseg.core.progress import OnProgress
    from napari_liverseg.io.headers import SliceHeader
    from napari_liverseg.io.series import SeriesInfo

NAMELESS = "CT series"


def load_series(
    info: SeriesInfo,
    headers: tuple[SliceHeader, ...],
    decisions: Collection[Decision],
    on_progress: OnProgress,
) -> CTVolume:
    """Load a series whose errors have all been decided about.

    The source grid is the one of the slices sorted along their normal; after
    the decision 'resample' it is the straight grid that they were put on.

    Raises
    ------
    CaseError
        When the pixels of a file cannot be decoded.
    """
    slices = stack(headers).kept_first()
    stored = load_hu(slices.headers, on_progress)
    voxels, source = straightened(stored, slices, info.errors)
    geometry, reorientation = reorient_to_lps(source)
    hu = as_hu(np.ascontiguousarray(reorientation.to_lps(voxels)))
    made = sorted({p.decision for p in info.errors if p.decision})
    name = info.description or NAMELESS
    problems = info.problems
    if all(p.code != "not-hounsfield" for p in problems):
        problems = (*problems, *hounsfield_problems(hu, name))
    return CTVolume(
        hu=hu,
        geometry=geometry,
        source=source,
        reorientation=reorientation,
        name=name,
        series_key=(
            volume_key(voxels, source)
            if has_stand_in(info.uid)
            else series_key(info.uid, made)
        ),
        patient_key=patient_of(headers[0].path),
        description=info.description,
        modality=info.modality,
        problems=problems,
        decisions=tuple(made),
    )


def patient_of(path: Path) -> str | None:
    """Return the key of a DICOM file's patient, see `keys.patient_key`."""
    with quiet():
        dataset = pydicom.dcmread(
            path, force=True, stop_before_pixels=True, specific_tags=["PatientID"]
        )
    return patient_key(str(dataset.get("PatientID") or ""))

"""One call that opens a CT from whatever a radiologist has of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.errors import CaseError
from napari_liverseg.core.geometry import reorient_to_lps
from napari_liverseg.core.progress import OnProgress, ignore_progress
from napari_liverseg.core.volume import CTVolume
from napari_liverseg.io.archive import extracted, is_zip
from napari_liverseg.io.dicom import load_series
from napari_liverseg.io.formats import stem
from napari_liverseg.io.hounsfield import as_hu, hounsfield_problems, refuse_label_map
from napari_liverseg.io.images import read_image
from napari_liverseg.io.keys import volume_key
from napari_liverseg.io.scan import find_series
from napari_liverseg.io.series import SeveralSeriesError, UndecidedError

if TYPE_CHECKING:
    from collections.abc import Collection

    from napari_liverseg.core.problem import Decision
    from napari_liverseg.io.scan import FoundSeries

__all__ = ["SeveralSeriesError", "UndecidedError", "open_ct"]


def open_ct(
    path: str | Path,
    series: str | None = None,
    decisions: Collection[Decision] = (),
    on_progress: OnProgress = ignore_progress,
) -> CTVolume:
    """Open a CT in Hounsfield units, LPS-oriented, with the grid it came from.

    Parameters
    ----------
    path : path
        A NIfTI, NRRD/NHDR or MHA/MHD file, one DICOM file of a series, a folder
        of DICOM files (also nested), or a zip of one.
    series : str or None
        ``uid`` of one of `list_series`; needed where several could be meant, be it
        that only one of them opens. What is no CT volume, such as a planning view,
        is passed over.
    decisions : collection of {'resample', 'keep-first'}
        What to do about errors that name a decision. One that is not needed
        changes nothing and is not recorded.
    on_progress : callable
        Told of each slice of a DICOM series.

    Returns
    -------
    CTVolume

    Raises
    ------
    CaseError
        When there is no CT that can be opened: what was found and what to do.
    SeveralSeriesError
        When several series could be meant and `series` names none.
    UndecidedError
        When it opens by decisions that `decisions` lacks.
    """
    path = Path(path)
    if is_zip(path):
        with extracted(path) as folder:
            found = find_series(folder)
            return _load(
                _chosen(found, series, decisions, path), decisions, on_progress
            )
    chosen = _chosen(find_series(path), series, decisions, path)
    return _load(chosen, decisions, on_progress)


def _chosen(
    found: tuple[FoundSeries, ...],
    uid: str | None,
    decisions: Collection[Decision],
    path: Path,
) -> FoundSeries:
    """Return the one series that is meant, refused where it cannot be opened."""
    if not found:
        text = f"'{path.name}' holds no CT."
        raise CaseError(text, "Open the folder that holds the DICOM files of the CT.")
    if uid is not None:
        return _openable(_named(found, uid, path), decisions)
    # A CT that was refused may be the one that is meant: opening the series beside
    # it instead would be a choice that the user never sees.
    meant = [s for s in found if s.info.may_be_meant]
    if len(meant) > 1:
        raise SeveralSeriesError(path.name, tuple(s.info for s in found))
    if meant:
        return _openable(meant[0], decisions)
    return _openable(found[0], decisions, len(found))


def _named(found: tuple[FoundSeries, ...], uid: str, path: Path) -> FoundSeries:
    named = [candidate for candidate in found if candidate.info.uid == uid]
    if len(named) == 1:
        return named[0]
    if named:
        text = f"'{path.name}' holds {len(named)} series called '{uid}'."
        raise CaseError(text, "Open the file or the folder of the one that you mean.")
    text = f"'{path.name}' holds no series '{uid}'."
    listed = ", ".join(s.info.uid for s in found)
    raise CaseError(text, f"It holds: {listed}.")


def _openable(
    found: FoundSeries, decisions: Collection[Decision], count: int = 1
) -> FoundSeries:
    open_errors = [
        p for p in found.info.errors if not p.decision or p.decision not in decisions
    ]
    if not open_errors:
        return found
    among = (
        f"None of {count} series can be opened. The first one: " if count > 1 else ""
    )
    # What cannot be decided about comes first: deciding the rest would not help.
    open_errors.sort(key=lambda p: p.decision is not None)
    text = among + open_errors[0].message
    if all(p.decision for p in open_errors):
        needed = dict.fromkeys(p.decision for p in open_errors if p.decision)
        raise UndecidedError(text, tuple(needed))
    raise CaseError(text)


def _load(
    found: FoundSeries, decisions: Collection[Decision], on_progress: OnProgress
) -> CTVolume:
    if found.headers:
        return load_series(found.info, found.headers, decisions, on_progress)
    return _load_file(found.info.files[0])


def _load_file(path: Path) -> CTVolume:
    image = read_image(path)
    geometry, reorientation = reorient_to_lps(image.geometry)
    refuse_label_map(image.voxels, path.name)
    stored = as_hu(image.voxels)
    hu = np.ascontiguousarray(reorientation.to_lps(stored))
    problems = image.problems
    if all(p.code != "not-hounsfield" for p in problems):
        problems = (*problems, *hounsfield_problems(hu, path.name))
    return CTVolume(
        hu=hu,
        geometry=geometry,
        source=image.geometry,
        reorientation=reorientation,
        name=stem(path),
        series_key=volume_key(stored, image.geometry),
        problems=problems,
    )

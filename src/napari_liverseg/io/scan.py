"""Which series a folder, a file or a zip holds, told without loading pixels."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import CaseError
from napari_liverseg.core.geometry import reorient_to_lps
from napari_liverseg.core.problem import Problem
from napari_liverseg.io.archive import extracted, is_zip
from napari_liverseg.io.checks import find_problems, plane_of
from napari_liverseg.io.formats import is_image_file
from napari_liverseg.io.headers import (
    claims_dicom,
    is_blank,
    looks_like_dicom,
    read_headers,
    unreadable,
)
from napari_liverseg.io.images import image_info
from napari_liverseg.io.quiet import quiet
from napari_liverseg.io.series import SeriesInfo
from napari_liverseg.io.spacing_checks import is_even, usual_gap
from napari_liverseg.io.stack import stack
from napari_liverseg.io.suggestion import suggest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_liverseg.core.geometry import Geometry
    from napari_liverseg.io.headers import SliceHeader
    from napari_liverseg.io.stack import Stack

NO_IMAGE = ("SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "SR", "PR", "KO", "REG", "DOC", "AU")
"""Modalities of objects that lie beside a CT and are no image series of their own."""

WITHOUT_GRID = {
    "localizer",
    "mixed-orientation",
    "mixed-shape",
    "not-a-volume",
    "not-ct",
    "unreadable-file",
}
"""With these problems there are no slices that could be put in order."""


@dataclass(frozen=True)
class FoundSeries:
    """A series with the headers that `open_ct` needs to load it.

    Parameters
    ----------
    info : SeriesInfo
    headers : tuple of SliceHeader
        Empty for an image file such as NIfTI.
    """

    info: SeriesInfo
    headers: tuple[SliceHeader, ...] = ()


def scan_folder(path: str | Path) -> tuple[SeriesInfo, ...]:
    """List every image series in a folder and the folders inside it.

    Parameters
    ----------
    path : path
        A folder. DICOM files need no ending; other files are passed over.

    Returns
    -------
    tuple of SeriesInfo
        The suggested one first, problems included; empty when there is no
        image at all. Folders without DICOM images list their image files.
    """
    return tuple(found.info for found in find_in_folder(Path(path)))


def list_series(path: str | Path) -> tuple[SeriesInfo, ...]:
    """List what `open_ct` could open from any path: file, folder or zip.

    Raises
    ------
    CaseError
        When the path is missing or of no known format.
    """
    path = Path(path)
    if is_zip(path):
        with extracted(path) as folder:
            return tuple(_in_zip(s, path, folder) for s in scan_folder(folder))
    return tuple(found.info for found in find_series(path))


def find_series(path: Path) -> tuple[FoundSeries, ...]:
    """Find what a folder, an image file or one DICOM file of a series holds."""
    if path.is_dir():
        return find_in_folder(path)
    if not path.exists():
        found = f"'{path.name}' does not exist."
        raise CaseError(found, "Check the path and open it again.")
    if is_image_file(path):
        return _suggested([FoundSeries(image_info(path))])
    if looks_like_dicom(path) or claims_dicom(path):
        return _siblings(path)
    found = f"'{path.name}' is no CT that can be read here."
    step = "Open a NIfTI, NRRD or MHA file, or a DICOM file, folder or zip."
    raise CaseError(found, step)


def find_in_folder(folder: Path) -> tuple[FoundSeries, ...]:
    """Find the series of a folder; see `scan_folder`."""
    files = list(_walk(folder))
    found = _dicom_series(files)
    if not found:
        images = [f for f in files if is_image_file(f)]
        found = [FoundSeries(image_info(f, folder)) for f in images]
    return _suggested(found)


def _walk(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(where, n) for n in sorted(names) if not _is_litter(n))


def _is_litter(name: str) -> bool:
    """Whether macOS or a viewer left a file behind, which then holds no slice."""
    return name.startswith(".")


def _siblings(path: Path) -> tuple[FoundSeries, ...]:
    """Find the series that one DICOM file belongs to, among the files beside it."""
    with quiet():
        headers = read_headers(path)
    if not headers:
        # A DICOMDIR stands for the folder that it lists.
        return find_in_folder(path.parent)
    files = (f for f in path.parent.iterdir() if f == path or not _is_litter(f.name))
    beside = sorted(f for f in files if not f.is_dir())
    found = [s for s in _dicom_series(beside) if path in s.info.files]
    # An object such as a structure set is no image beside the images.
    return _suggested(found or [_found(_stack_uid(headers[0]), headers)])


def _dicom_series(files: Iterable[Path]) -> list[FoundSeries]:
    groups: dict[str, list[SliceHeader]] = {}
    broken: dict[Path, CaseError] = {}
    blank: list[Path] = []
    with quiet():
        for path in files:
            if not looks_like_dicom(path) and not claims_dicom(path):
                blank += [path] if is_blank(path) else []
                continue
            try:
                headers = read_headers(path)
            except CaseError as error:
                broken[path] = error
                continue
            for header in headers:
                groups.setdefault(_stack_uid(header), []).append(header)
    named = {_bare_ending(h.path) for headers in groups.values() for h in headers}
    broken |= {p: unreadable(p) for p in blank if _bare_ending(p) in named}
    images = {u: g for u, g in groups.items() if _is_image(g[0])}
    found = [_found(uid, tuple(g)) for uid, g in (images or groups).items()]
    return _with_broken(found, broken)


def _bare_ending(path: Path) -> str:
    """Return a name's ending, empty where it is a number as in ``1.2.840.7``."""
    ending = path.suffix.lower()
    return "" if ending[1:].isdecimal() else ending


def _is_image(header: SliceHeader) -> bool:
    return header.modality not in NO_IMAGE and header.rows > 0


def _stack_uid(header: SliceHeader) -> str:
    """Return the series UID; planning views inside a series are apart from it."""
    if "LOCALIZER" in header.image_type:
        return f"{header.series_uid}#localizer"
    return header.series_uid


def _found(uid: str, headers: tuple[SliceHeader, ...]) -> FoundSeries:
    problems = find_problems(headers)
    first = headers[0]
    if {p.code for p in problems} & WITHOUT_GRID:
        grid, ordered = None, headers
    else:
        unique = stack(headers)
        grid, ordered = _nominal(unique.kept_first()), unique.headers
    shape, spacing = _shown(grid, headers)
    info = SeriesInfo(
        uid=uid,
        description=first.description,
        modality=first.modality,
        shape=shape,
        spacing_mm=spacing,
        orientation=plane_of(first),
        kernel=first.kernel,
        phase=first.phase,
        files=tuple(dict.fromkeys(h.path for h in ordered)),
        problems=problems,
    )
    return FoundSeries(info, headers)


def _nominal(slices: Stack) -> Geometry:
    """Return the grid with the distance that most neighbouring slices have."""
    geometry = slices.geometry()
    if len(slices.headers) == 1:
        return geometry
    spacing = (usual_gap(slices.gaps_mm), *geometry.spacing_mm[1:])
    even = is_even(slices.depths_mm)
    return geometry if even else replace(geometry, spacing_mm=spacing)


def _shown(
    grid: Geometry | None, headers: tuple[SliceHeader, ...]
) -> tuple[tuple[int, int, int], tuple[float, float, float]]:
    if grid is None:
        spacing = headers[0].pixel_spacing_mm or (0.0, 0.0)
        return (len(headers), headers[0].rows, headers[0].columns), (0.0, *spacing)
    turned, _ = reorient_to_lps(grid)
    return turned.shape, turned.spacing_mm


def _with_broken(
    found: list[FoundSeries], broken: dict[Path, CaseError]
) -> list[FoundSeries]:
    """Tell each series of the unreadable files that lie in its folders."""
    if broken and not found:
        return [FoundSeries(_unreadable(broken))]
    return [_told(series, found, broken) for series in found]


def _told(
    series: FoundSeries, found: list[FoundSeries], broken: dict[Path, CaseError]
) -> FoundSeries:
    folders = {f.parent for f in series.info.files}
    near = [f for f in broken if f.parent in folders]
    if not near:
        return series
    rivals = [s for s in found if any(f.parent in folders for f in s.info.files)]
    more = f" and {len(near) - 1} more" if len(near) > 1 else ""
    message = (
        f"{broken[near[0]].found.removesuffix('.')}{more}: a slice of this series may "
        "be missing. Copy the folder again, or take the file out of it."
    )
    # Among several series nobody can tell whose slice it was.
    severity = "error" if len(rivals) == 1 else "warning"
    problem = Problem("unreadable-file", severity, message)  # type: ignore[arg-type]
    info = replace(series.info, problems=(problem, *series.info.problems))
    return replace(series, info=info)


def _unreadable(broken: dict[Path, CaseError]) -> SeriesInfo:
    error = next(iter(broken.values()))
    return SeriesInfo(
        uid="unreadable",
        description="",
        modality="",
        shape=(0, 0, 0),
        spacing_mm=(0.0, 0.0, 0.0),
        orientation="",
        kernel="",
        phase="",
        files=tuple(broken),
        problems=(Problem("unreadable-file", "error", str(error)),),
    )


def _suggested(found: Iterable[FoundSeries]) -> tuple[FoundSeries, ...]:
    series = tuple(found)
    infos = suggest(tuple(s.info for s in series))
    marked = (replace(s, info=i) for s, i in zip(series, infos, strict=True))
    return tuple(sorted(marked, key=lambda s: not s.info.suggested))


def _in_zip(info: SeriesInfo, archive: Path, folder: Path) -> SeriesInfo:
    files = tuple(archive / f.relative_to(folder) for f in info.files)
    return replace(info, files=files)

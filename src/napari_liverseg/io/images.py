"""Volumes in one file: NIfTI, NRRD and MetaImage, as stored and on their grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from napari_liverseg.core.errors import CaseError
from napari_liverseg.core.geometry import reorient_to_lps
from napari_liverseg.core.problem import Problem
from napari_liverseg.io.checks import oblique_problem
from napari_liverseg.io.file_grid import (
    grid_problems,
    sheared,
    spacing_problem,
    straight,
    unclear_orientation,
)
from napari_liverseg.io.formats import READABLE, ending, stem
from napari_liverseg.io.grid import geometry_of
from napari_liverseg.io.itk_name import itk_name
from napari_liverseg.io.metaimage import compressed_voxels_are_whole
from napari_liverseg.io.nifti import (
    NiftiHeader,
    read_nifti_header,
    read_nifti_voxels,
)
from napari_liverseg.io.nifti_orientation import orientation_problems
from napari_liverseg.io.quiet import quiet
from napari_liverseg.io.series import SeriesInfo

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_liverseg.core.geometry import Geometry


@dataclass(frozen=True, eq=False)
class StoredImage:
    """A volume as its file holds it.

    Parameters
    ----------
    voxels : ndarray, shape (z, y, x)
        In the file's own order and number type.
    geometry : Geometry
        The file's own grid.
    problems : tuple of Problem
        Warnings about the file.
    """

    voxels: NDArray[Any]
    geometry: Geometry
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class ImageHeader:
    """What a file says before its voxels are read; no grid where it says nonsense."""

    geometry: Geometry | None
    problems: tuple[Problem, ...]


def read_image(path: Path) -> StoredImage:
    """Read a NIfTI, NRRD or MetaImage volume and prove it whole.

    Raises
    ------
    CaseError
        When the file is missing, cut short, not a 3-D volume of single finite
        values, or contradicts itself about orientation.
    """
    if not path.is_file():
        found = f"'{path.name}' does not exist."
        raise CaseError(found, "Check the path and open it again.")
    header = image_header(path)
    for problem in header.problems:
        if problem.severity == "error":
            raise CaseError(problem.message)
    with quiet():
        voxels = _voxels(path)
    _refuse_not_finite(voxels, path)
    assert header.geometry is not None
    if voxels.shape != header.geometry.shape:
        raise _unreadable(path)
    return StoredImage(voxels, header.geometry, header.problems)


def image_info(path: Path, within: Path | None = None) -> SeriesInfo:
    """Describe an image file by its header, as a series of its own.

    Parameters
    ----------
    path : Path
    within : Path or None
        The folder that was opened: files of one name in the folders inside it are
        told apart by their path from there. None: the file itself was opened.
    """
    header = image_header(path)
    shape, spacing = (0, 0, 0), (0.0, 0.0, 0.0)
    if header.geometry:
        turned, _ = reorient_to_lps(header.geometry)
        shape, spacing = turned.shape, turned.spacing_mm
    return SeriesInfo(
        uid=path.relative_to(within).as_posix() if within else path.name,
        description=path.relative_to(within).as_posix() if within else stem(path),
        modality="",
        shape=shape,
        spacing_mm=spacing,
        orientation=_plane(header.geometry),
        kernel="",
        phase="",
        files=(path,),
        problems=header.problems,
    )


def image_header(path: Path) -> ImageHeader:
    """Read and judge the header of an image file."""
    try:
        nifti = read_nifti_header(path) if _is_nifti(path) else None
        if nifti and (problem := _nifti_shape_problem(nifti, path.name)):
            return ImageHeader(None, (problem,))
        with quiet():
            reader = _reader(path)
            reader.ReadImageInformation()
    except CaseError as error:
        return ImageHeader(None, (Problem("unreadable-file", "error", str(error)),))
    except RuntimeError as error:
        return ImageHeader(None, (_refused_by_itk(path, str(error)),))
    shapeless = _shape_problem(reader, path)
    if shapeless:
        return ImageHeader(None, (shapeless,))
    geometry = geometry_of(reader)
    problems = grid_problems(geometry, path.name)
    if not problems:
        geometry = straight(geometry)
    if nifti:
        problems += orientation_problems(nifti, path.name)
    elif unclear := unclear_orientation(reader, path):
        problems.append(unclear)
    if not problems and geometry.is_oblique:
        problems.append(oblique_problem(geometry.tilt_degrees))
    if reader.GetPixelID() == sitk.sitkUInt8:
        problems.append(_eight_bits(path.name))
    return ImageHeader(geometry, tuple(problems))


def _is_nifti(path: Path) -> bool:
    return ending(path) in (".nii", ".nii.gz")


def _reader(path: Path) -> Any:
    reader = sitk.ImageFileReader()
    reader.SetImageIO(READABLE[ending(path)])
    reader.SetFileName(itk_name(path))
    return reader


def _voxels(path: Path) -> NDArray[Any]:
    if _is_nifti(path):
        return read_nifti_voxels(path, read_nifti_header(path))
    reader = _reader(path)
    try:
        if READABLE[ending(path)] == "MetaImageIO" and not compressed_voxels_are_whole(
            path
        ):
            raise _unreadable(path)
        reader.ReadImageInformation()
        size = list(reader.GetSize())
        if len(size) > 3:
            reader.SetExtractSize([*size[:3], *[0] * (len(size) - 3)])
        return np.asarray(sitk.GetArrayFromImage(reader.Execute()))
    except (RuntimeError, OSError, KeyError, ValueError) as broken:
        raise _unreadable(path) from broken


def _unreadable(path: Path) -> CaseError:
    found = f"'{path.name}' is cut short, corrupt or not what its ending says."
    return CaseError(found, "Copy or export it again.")


def _refused_by_itk(path: Path, reason: str) -> Problem:
    if "orthonormal" in reason:
        return sheared(path.name)
    return Problem("unreadable-file", "error", str(_unreadable(path)))


def _nifti_shape_problem(header: NiftiHeader, name: str) -> Problem | None:
    if not header.dim or min(header.dim) < 1:
        return _no_volume(name, "has no voxels")
    if not header.dtype:
        return _no_volume(name, "holds colours or complex numbers")
    if any(not abs(s) > 0 for s in header.pixdim[1 : 1 + min(len(header.dim), 3)]):
        return _no_volume(name, "gives 0 as the distance of its voxels")
    return None


def _shape_problem(reader: Any, path: Path) -> Problem | None:
    size, name = reader.GetSize(), path.name
    if reader.GetNumberOfComponents() > 1:
        return _no_volume(
            name, "holds colours, overlapping masks or several values a voxel"
        )
    if len(size) > 3 and max(size[3:]) > 1:
        shape = "x".join(str(n) for n in size)
        return _no_volume(name, f"has {len(size)} dimensions ({shape})")
    if min(size) < 1:
        return _no_volume(name, "has no voxels")
    if len(size) < 3:
        return _no_volume(name, "is a flat picture")
    if min(size[:3]) == 1:
        message = (
            f"'{name}' is one slice, and a volume needs two at least. "
            "Open the whole volume."
        )
        return Problem("single-slice", "error", message)
    if "complex" in reader.GetPixelIDValue().__str__():
        return _no_volume(name, "holds complex numbers")
    return None if _is_nifti(path) else spacing_problem(path)


def _no_volume(name: str, what: str) -> Problem:
    message = (
        f"'{name}' {what}, where one value at each place of a 3-D volume is due. "
        "Export it as such a volume."
    )
    return Problem("not-a-volume", "error", message)


def _eight_bits(name: str) -> Problem:
    message = (
        f"'{name}' holds 8-bit grey values, not Hounsfield units, and the model "
        "expects HU. Open the original CT, or do not trust the masks."
    )
    return Problem("not-hounsfield", "warning", message)


def _refuse_not_finite(voxels: NDArray[Any], path: Path) -> None:
    if voxels.dtype.kind != "f":
        return
    count = int(voxels.size - np.count_nonzero(np.isfinite(voxels)))
    if count:
        which = f"{count} voxels that are" if count > 1 else "a voxel that is"
        found = f"'{path.name}' holds {which} no number (NaN, infinite)."
        step = "Export it again, with air (-1024 HU) in their place, in a label map 0."
        raise CaseError(found, step)


def _plane(geometry: Geometry | None) -> str:
    """Return the plane of the file's slices, its slowest axis."""
    if geometry is None:
        return ""
    normal = np.abs(np.asarray(geometry.direction)[:, 0])
    return ("axial", "coronal", "sagittal")[int(normal.argmax())]

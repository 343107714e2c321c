"""Label maps: truth and earlier corrections come in, results go out proven."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from napari_liverseg.core.errors import (
    CaseError,
    ExportError,
    GeometryMismatchError,
)
from napari_liverseg.core.geometry import reorient_to_lps
from napari_liverseg.core.segmentation import LABELS, Segmentation
from napari_liverseg.io.formats import WRITABLE, ending, is_image_file
from napari_liverseg.io.grid import to_image
from napari_liverseg.io.hounsfield import looks_like_label_map
from napari_liverseg.io.images import StoredImage, read_image
from napari_liverseg.io.itk_name import itk_name
from napari_liverseg.io.proven_file import is_there, prove_same_labels
from napari_liverseg.io.segment_names import named_otherwise, segment_names
from napari_liverseg.io.source_file import write_on_source

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from napari_liverseg.core.geometry import Geometry
    from napari_liverseg.core.volume import CTVolume

TOLD_VALUES = 12
"""At most this many values of a label map are named in a message."""


def read_label_map(
    path: str | Path,
    volume: CTVolume | None,
    *,
    resample: bool = False,
    values: Mapping[int, int] | None = None,
    known: Collection[int] | None = None,
) -> Segmentation:
    """Read a label map as ground truth or as an earlier correction.

    Parameters
    ----------
    path : path
        NIfTI, NRRD or MetaImage, of integers or of floats that are whole.
    volume : CTVolume or None
        The CT that it belongs to, matched by position in the patient and not by
        axis order; None gives the label map on its own LPS grid.
    resample : bool
        Whether a map on another grid is put on the CT's by nearest neighbour.
    values : mapping of int to int or None
        Which values of the file become 1 (liver) and 2 (tumour); all others
        become background. None takes 0, 1 and 2 as they are and refuses others, and
        those that the file's header calls something else.
    known : collection of int or None
        Every value that the file may hold where `values` is given; None takes any.

    Raises
    ------
    CaseError
        When the file is no whole label map, or holds values that nobody named or
        that its header names otherwise.
    GeometryMismatchError
        When it lies on another grid than the CT, with both grids in the message.
    """
    path = Path(path)
    if path.exists() and not is_image_file(path):
        found = f"'{path.name}' is no label map that can be read here."
        raise CaseError(found, "Open a NIfTI, NRRD or MHA file.")
    image = read_image(path)
    if known is not None:
        _refuse_unnamed(image.voxels, known, path.name)
    if values is None:
        _refuse_other_names(image.voxels, segment_names(path), path.name)
    labels = _as_labels(image.voxels, values, path.name)
    if volume is None:
        geometry, reorientation = reorient_to_lps(image.geometry)
        turned = np.ascontiguousarray(reorientation.to_lps(labels))
        return Segmentation(turned, geometry)
    placed = _placed(labels, image, volume, path.name, resample)
    return Segmentation(np.ascontiguousarray(placed), volume.geometry)


def write_label_map(
    path: str | Path,
    segmentation: Segmentation,
    volume: CTVolume,
    *,
    overwrite: bool = False,
) -> Path:
    """Write a label map on the grid of the file that the CT came from.

    It is written beside its place, read back and compared in grid and voxels
    of each label, and only then given its name.

    Parameters
    ----------
    path : path
        Ends in ``.nii.gz``, ``.nii``, ``.nrrd`` or ``.mha``.
    segmentation : Segmentation
        On the CT's grid; 0 background, 1 liver, 2 tumour.
    volume : CTVolume
    overwrite : bool
        Whether a label map of that name may be replaced; a CT never is.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ExportError
        When the file exists, cannot be written, or does not read back the same.
    GeometryMismatchError
        When the segmentation does not lie on the CT's grid.
    """
    path = Path(path)
    if ending(path) not in WRITABLE:
        found = f"'{path.name}' has no ending of a label map format."
        raise ExportError(found, f"Use one of {', '.join(WRITABLE)}.")
    if not segmentation.geometry.matches(volume.geometry):
        what = "The segmentation"
        raise _mismatch(what, segmentation.geometry, volume.geometry)
    if overwrite and is_there(path):
        _refuse_to_replace_a_ct(path)
    return write_on_source(
        path, segmentation.labels, volume, prove_same_labels, overwrite=overwrite
    )


def _refuse_to_replace_a_ct(path: Path) -> None:
    """Refuse to write over a volume that is no label map, the CT itself at worst.

    The file dialog lists CTs beside label maps, and its question is soon answered.
    """
    itk_name(path, ExportError)  # what cannot be looked into may be the CT
    try:
        voxels = read_image(path).voxels
    except CaseError:
        return  # nothing that could be opened as a CT
    low, high = voxels.min(), voxels.max()
    ours = low >= 0 and high <= max(LABELS.values())
    if not ours and not looks_like_label_map(voxels):
        found = f"'{path.name}' is no label map and was left as it is."
        raise ExportError(found, "Choose another name: this one may be the CT's.")


def _as_labels(
    voxels: NDArray[Any], values: Mapping[int, int] | None, name: str
) -> NDArray[np.uint8]:
    """Return the voxels as 0, 1 and 2."""
    if voxels.dtype.kind == "f" and not np.array_equal(voxels, np.rint(voxels)):
        found = f"'{name}' holds fractions, and a label map holds whole numbers."
        raise CaseError(found, "Open the label map, not a CT or a probability map.")
    if values is not None:
        return _mapped(voxels, values)
    low, high = voxels.min(), voxels.max()
    if low < 0 or high > max(LABELS.values()):
        found = f"'{name}' holds the values {told_values(voxels)}; expected 0, 1 and 2."
        step = "Name the values of liver and tumour, or open another label map."
        raise CaseError(found, step)
    return voxels.astype(np.uint8)


def _refuse_unnamed(voxels: NDArray[Any], known: Collection[int], name: str) -> None:
    if not np.isin(np.unique(voxels), list(known)).all():
        wanted = ", ".join(str(value) for value in sorted(known))
        found = f"'{name}' holds the values {told_values(voxels)}; expected {wanted}."
        raise CaseError(found, "Name every value in the data set, or mend the map.")


def _refuse_other_names(
    voxels: NDArray[Any], names: Mapping[int, str], name: str
) -> None:
    """Refuse a map whose 1 is no liver or whose 2 is no tumour by its own header."""
    held = [value for value in LABELS.values() if value and (voxels == value).any()]
    others = [f"{v} '{names[v]}'" for v in named_otherwise(held, names)]
    if others:
        found = f"'{name}' calls {' and '.join(others)}; expected 1 liver, 2 tumour."
        step = "Name the values of liver and tumour, or open another label map."
        raise CaseError(found, step)


def _mapped(voxels: NDArray[Any], values: Mapping[int, int]) -> NDArray[np.uint8]:
    labels = np.zeros(voxels.shape, np.uint8)
    for value, label in values.items():
        if label not in LABELS.values():
            msg = f"label {label} is none of {sorted(LABELS.values())}"
            raise ValueError(msg)
        labels[voxels == value] = label
    return labels


def told_values(voxels: NDArray[Any]) -> str:
    """Return the values that voxels hold, the first ones and how many more."""
    found = np.unique(voxels)
    more = f" and {len(found) - TOLD_VALUES} more" if len(found) > TOLD_VALUES else ""
    return ", ".join(f"{v:g}" for v in found[:TOLD_VALUES]) + more


def _placed(
    labels: NDArray[np.uint8],
    image: StoredImage,
    volume: CTVolume,
    name: str,
    resample: bool,
) -> NDArray[np.uint8]:
    """Return the labels on the CT's grid."""
    if image.geometry.matches(volume.source):
        return volume.reorientation.to_lps(labels)  # type: ignore[return-value]
    geometry, reorientation = reorient_to_lps(image.geometry)
    if geometry.matches(volume.geometry):
        return reorientation.to_lps(labels)  # type: ignore[return-value]
    if not resample:
        what = f"The label map '{name}'"
        raise _mismatch(what, geometry, volume.geometry)
    return _resampled(labels, image.geometry, volume.geometry)


def _resampled(
    labels: NDArray[np.uint8], stored: Geometry, wanted: Geometry
) -> NDArray[np.uint8]:
    reference = sitk.ResampleImageFilter()
    reference.SetSize(wanted.shape[::-1])
    reference.SetOutputSpacing(wanted.spacing_mm[::-1])
    reference.SetOutputOrigin(wanted.origin_mm[::-1])
    reference.SetOutputDirection(
        np.asarray(wanted.direction)[::-1, ::-1].ravel().tolist()
    )
    reference.SetInterpolator(sitk.sitkNearestNeighbor)
    image = reference.Execute(to_image(labels, stored))
    return np.asarray(sitk.GetArrayFromImage(image), np.uint8)


def _mismatch(what: str, found: Geometry, wanted: Geometry) -> GeometryMismatchError:
    return GeometryMismatchError(
        f"{what} lies on another grid than the CT: {found}; the CT: {wanted}.",
        "Open the label map of this CT, or resample it to the CT's grid.",
    )

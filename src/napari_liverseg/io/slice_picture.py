"""One picture, such as a PNG or a DICOM slice, as grey values from 0 to 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from napari_liverseg.core.errors import CaseError
from napari_liverseg.io.checks import find_problems, plane_of
from napari_liverseg.io.headers import claims_dicom, looks_like_dicom, read_headers
from napari_liverseg.io.itk_name import itk_name
from napari_liverseg.io.pixels import load_hu
from napari_liverseg.io.quiet import quiet

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_liverseg.io.headers import SliceHeader

PICTURE_ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")

LUMINANCE = (0.299, 0.587, 0.114)
"""How bright red, green and blue look, by ITU-R BT.601."""

NEARLY_BLACK = 8192
"""Pictures of 16 bits that stay below it hold 12 or 13 bits, which nobody scaled."""

MOST_PIXELS = 64_000_000
"""More than any slice has; refused before it fills the memory."""


def is_picture(path: Path) -> bool:
    """Whether a file is one of those that `read_picture` is for."""
    if path.name.startswith(".") or not path.is_file():
        return False
    return path.suffix.lower() in PICTURE_ENDINGS or is_dicom(path)


def is_dicom(path: Path) -> bool:
    """Whether a file says that it is DICOM, by its name or its first bytes."""
    return claims_dicom(path) or looks_like_dicom(path)


def read_picture(path: Path, hu_window: tuple[float, float]) -> NDArray[np.float32]:
    """Return the grey values of one picture.

    Parameters
    ----------
    path : Path
        A PNG, JPEG, TIFF or BMP, whose darkest and brightest possible values are 0
        and 1, or a CT slice in DICOM. An axial one is turned as all CTs are here:
        rows run to the patient's left, columns to the back.
    hu_window : tuple of float
        HU that become 0 and 1 in a CT slice; a picture is taken to show such a
        window already.

    Returns
    -------
    ndarray of float32, shape (rows, columns)
        From 0 to 1.

    Raises
    ------
    CaseError
        When the file is missing, unreadable, no single slice, or no CT in HU.
    """
    if not path.is_file():
        found = f"There is no file '{path.name}'."
        raise CaseError(found, "Check the path; a picture or a DICOM slice is due.")
    if is_dicom(path):
        return _windowed(_slice_hu(path), hu_window)
    return _grey(path)


def _slice_hu(path: Path) -> NDArray[Any]:
    headers = read_headers(path)
    if len(headers) != 1 or headers[0].damage or headers[0].colour:
        found = f"'{path.name}' is no single grey slice: {_said(headers)}."
        raise CaseError(found, "Give one slice of a CT.")
    hu = np.asarray(load_hu(headers)[0])
    reason = _why_no_slice(headers[0], hu)
    if reason:
        found = f"'{path.name}' is no CT slice in HU: {reason}."
        raise CaseError(found, "Give a slice of the CT itself, not a screenshot.")
    return _turned(hu, headers[0])


def _said(headers: Any) -> str:
    if len(headers) != 1:
        return f"it holds {len(headers)} slices"
    return headers[0].damage or "it is in colour"


def _why_no_slice(header: SliceHeader, hu: NDArray[Any]) -> str:
    """Return why a grey DICOM file is no slice in HU, empty where it is one."""
    if header.modality != "CT":
        return f"its modality is '{header.modality or 'unknown'}'"
    codes = {problem.code for problem in find_problems((header,))}
    if "localizer" in codes:
        return "it is a planning view of the scanner (localizer)"
    if "not-hounsfield" in codes:
        return "it names no rescale to HU, or one to something else"
    if hu.min() >= 0:
        return f"its values run from {hu.min():g} to {hu.max():g}, without fat and air"
    return ""


def _turned(hu: NDArray[Any], header: SliceHeader) -> NDArray[Any]:
    """Return an axial slice along the patient's axes, any other as it is stored."""
    if plane_of(header) != "axial":
        return hu
    along_row, down_columns = np.reshape(np.asarray(header.orientation), (2, 3))
    if abs(along_row[0]) < abs(along_row[1]):
        hu, along_row, down_columns = hu.T, down_columns, along_row
    rows, columns = (1 if step > 0 else -1 for step in (down_columns[1], along_row[0]))
    return np.ascontiguousarray(hu[::rows, ::columns])


def _windowed(hu: NDArray[Any], window: tuple[float, float]) -> NDArray[np.float32]:
    low, high = window
    scaled = (hu.astype(np.float32) - low) / (high - low)
    return np.asarray(np.clip(scaled, 0, 1), np.float32)


def _grey(path: Path) -> NDArray[np.float32]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(itk_name(path))
    try:
        with quiet():
            reader.ReadImageInformation()
            size = reader.GetSize()
            if size[0] * size[1] > MOST_PIXELS or np.prod(size[2:]) != 1:
                found = f"'{path.name}' is no single slice: it has {size} pixels."
                raise CaseError(found, "Give one slice a file.")
            values = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        found = f"'{path.name}' cannot be read as a picture."
        step = "Save it again as a PNG in 8-bit grey, without transparency."
        raise CaseError(found, step) from error
    return _as_fraction(values.reshape(size[1], size[0], -1), path)


def _as_fraction(values: NDArray[Any], path: Path) -> NDArray[np.float32]:
    """Return values, shape (rows, columns, colours), as shares of their type's most."""
    if values.dtype.kind != "u":
        found = f"'{path.name}' holds {values.dtype}, and not grey values from 0 up."
        raise CaseError(found, "Save it as an 8-bit or 16-bit PNG.")
    if values.dtype == np.uint16 and 0 < values.max() < NEARLY_BLACK:
        found = f"'{path.name}' is nearly black: of 65535 it reaches {values.max()}."
        raise CaseError(found, "Scale its values, so that white is 65535 or near.")
    fraction = values.astype(np.float32) / np.iinfo(values.dtype).max
    if fraction.shape[2] >= 3:
        return np.asarray(fraction[..., :3] @ np.array(LUMINANCE, np.float32))
    return np.asarray(fraction[..., 0], np.float32)

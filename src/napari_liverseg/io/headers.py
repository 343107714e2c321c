"""What one DICOM file says about its slices, read without its pixels."""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import MediaStorageDirectoryStorage

from napari_liverseg.core.errors import CaseError
from napari_liverseg.io.attributes import (
    contrast_phase,
    decimal,
    floats,
    image_type,
    number,
    text,
)
from napari_liverseg.io.completeness import pixel_damage
from napari_liverseg.io.frames import frame_headers

if TYPE_CHECKING:
    from pathlib import Path

Vector = tuple[float, float, float]
Six = tuple[float, float, float, float, float, float]

PREAMBLE = 128
NO_UID = "no-uid-"

MAX_FRAMES = 100_000
"""More frames than any file holds; a scrambled header announces more."""

DICOM_ENDINGS = (".dcm", ".dicom", ".ima")
"""Files with these endings claim to be DICOM: unreadable ones are told of."""

BROKEN_FILE = (
    InvalidDicomError,
    AttributeError,
    BytesLengthException,
    EOFError,
    KeyError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom raises on files that are cut short or scrambled."""

_TAGS = [
    "AcquisitionNumber",
    "BitsAllocated",
    "Columns",
    "ContrastBolusAgent",
    "ContrastBolusAgentPhase",
    "ConvolutionKernel",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImageType",
    "InstanceNumber",
    "Modality",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "PhotometricInterpretation",
    "PixelPaddingValue",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "Rows",
    "SamplesPerPixel",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SharedFunctionalGroupsSequence",
    "SliceThickness",
    "SOPClassUID",
]


@dataclass(frozen=True)
class SliceHeader:
    """One slice as its DICOM header describes it; vectors in DICOM's (x, y, z).

    Parameters
    ----------
    path : Path
    frame : int
        Number of the frame in the file, from 0.
    series_uid, sop_class, modality, description, kernel, phase : str
    image_type : tuple of str
    rows, columns : int
        0 where the object is no image.
    colour : bool
        Whether pixels are more than one grey value.
    position : tuple of float or None
        ImagePositionPatient, the centre of the first pixel in mm.
    orientation : tuple of 6 floats or None
        ImageOrientationPatient: along a row, then down the columns.
    pixel_spacing_mm : tuple of float or None
        Between rows, between columns.
    thickness_mm : float or None
        SliceThickness, which is no distance between slices.
    slope, intercept : float or None
        Rescale to Hounsfield units, None where the header has none.
    rescale_type : str
    padding : int or None
        Stored value that scanners write outside their field of view.
    instance, acquisition : int
        0 where missing.
    damage : str
        What is wrong with the file's pixels, empty when it is whole.
    """

    path: Path
    frame: int
    series_uid: str
    sop_class: str
    modality: str
    description: str
    kernel: str
    phase: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    colour: bool
    position: Vector | None
    orientation: Six | None
    pixel_spacing_mm: tuple[float, float] | None
    thickness_mm: float | None
    slope: float | None
    intercept: float | None
    rescale_type: str
    padding: int | None
    instance: int
    acquisition: int
    damage: str


def looks_like_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM does, told from its first bytes alone."""
    try:
        with path.open("rb") as file:
            start = file.read(PREAMBLE + 4)
    except OSError:
        return False
    if start[PREAMBLE:] == b"DICM":
        return True
    # Files from before DICOM part 10 start with group 0008 (or 0002) at once.
    return start[:2] in (b"\x08\x00", b"\x02\x00") and start[3:4] == b"\x00"


def claims_dicom(path: Path) -> bool:
    """Whether a file's name says that it should be DICOM."""
    return path.suffix.lower() in DICOM_ENDINGS


def is_blank(path: Path) -> bool:
    """Whether nothing tells what a file is: it is empty, of zeros, or not to be read.

    Copying that stopped half-way leaves slices so.
    """
    try:
        with path.open("rb") as file:
            return not any(file.read(PREAMBLE + 4))
    except OSError:
        return True


def read_headers(path: Path) -> tuple[SliceHeader, ...]:
    """Return one header per slice of a DICOM file, in file order.

    A DICOMDIR, which only lists other files, gives none.

    Raises
    ------
    CaseError
        When the file ends inside its header or is no DICOM file.
    """
    try:
        with path.open("rb") as file:
            dataset = pydicom.dcmread(
                file, force=True, stop_before_pixels=True, specific_tags=_TAGS
            )
            damage = pixel_damage(file, dataset) if dataset.get("Rows") else ""
        if _is_directory(dataset):
            return ()
        header = _header(path, dataset, damage)
        if "PerFrameFunctionalGroupsSequence" in dataset:
            headers = frame_headers(header, dataset)
        else:
            count = min(number(dataset, "NumberOfFrames"), MAX_FRAMES)
            headers = (header,) * max(count, 1)
    except BROKEN_FILE as broken:
        raise unreadable(path) from broken
    if not headers or (header.modality in ("", "CT") and not header.rows):
        raise unreadable(path)
    return headers


def _is_directory(dataset: Any) -> bool:
    meta = getattr(dataset, "file_meta", None) or {}
    return bool(meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage)


def unreadable(path: Path) -> CaseError:
    """Return the refusal of a file that should be DICOM and cannot be read."""
    found = f"'{path.name}' is cut short or no readable DICOM file."
    return CaseError(found, "Copy it again from where it came from.")


def _header(path: Path, dataset: Any, damage: str) -> SliceHeader:
    photometric = text(dataset, "PhotometricInterpretation")
    spacing = floats(dataset, "PixelSpacing", 2)
    position = floats(dataset, "ImagePositionPatient", 3)
    orientation = floats(dataset, "ImageOrientationPatient", 6)
    padding = dataset.get("PixelPaddingValue")
    return SliceHeader(
        path=path,
        frame=0,
        series_uid=text(dataset, "SeriesInstanceUID") or _stand_in(path, dataset),
        sop_class=text(dataset, "SOPClassUID"),
        modality=text(dataset, "Modality"),
        description=" ".join(text(dataset, "SeriesDescription").split()),
        kernel=text(dataset, "ConvolutionKernel"),
        phase=contrast_phase(dataset),
        image_type=image_type(dataset, "ImageType"),
        rows=number(dataset, "Rows"),
        columns=number(dataset, "Columns"),
        colour=bool(photometric) and not photometric.startswith("MONOCHROME"),
        position=position,  # type: ignore[arg-type]
        orientation=orientation,  # type: ignore[arg-type]
        pixel_spacing_mm=spacing,  # type: ignore[arg-type]
        thickness_mm=decimal(dataset, "SliceThickness"),
        slope=decimal(dataset, "RescaleSlope"),
        intercept=decimal(dataset, "RescaleIntercept"),
        rescale_type=text(dataset, "RescaleType"),
        padding=padding if isinstance(padding, int) else None,
        instance=number(dataset, "InstanceNumber"),
        acquisition=number(dataset, "AcquisitionNumber"),
        damage=damage,
    )


def _stand_in(path: Path, dataset: Any) -> str:
    """Return a name for a series that an anonymiser left without its UID."""
    same = ("SeriesDescription", "SeriesNumber", "ConvolutionKernel")
    told = "|".join([path.parent.name, *(text(dataset, name) for name in same)])
    # A folder's name need not be UTF-8.
    name = told.encode(errors="surrogateescape")
    return NO_UID + hashlib.blake2b(name, digest_size=4).hexdigest()


def has_stand_in(series_uid: str) -> bool:
    """Whether a series got its name here, which is unique in its folder only."""
    return series_uid.startswith(NO_UID)

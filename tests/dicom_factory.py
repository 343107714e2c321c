"""Synthetic DICOM CT series, written from an array and its grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.core.geometry import Geometry

SYNTAXES = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "big-endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "rle": RLELossless,
}


@dataclass(frozen=True)
class Style:
    """How a series is written; the defaults are a plain soft-tissue CT.

    ``drop`` leaves slices out, ``repeat`` writes slices twice, ``shift_mm`` moves
    slice k along the normal, ``lean_mm`` is the sideways step (down the columns)
    from slice to slice as behind a tilted gantry, ``backwards`` writes the files
    from the last slice to the first.
    """

    syntax: str = "explicit"
    slope: float | tuple[float, ...] = 1.0
    intercept: float | tuple[float, ...] = -1024.0
    signed: bool = True
    series_uid: str = "1.2.826.0.1.3680043.8.498.1"
    description: str = "Abdomen 3.0 Br40"
    kernel: str = "Br40"
    modality: str = "CT"
    image_type: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "AXIAL")
    patient_id: str = "phantom-7"
    thickness_mm: float | None = None
    padding: int | None = None
    drop: tuple[int, ...] = ()
    repeat: tuple[int, ...] = ()
    shift_mm: dict[int, float] | None = None
    lean_mm: float = 0.0
    backwards: bool = False
    ending: str = ".dcm"
    prefix: str = "IM"


PLAIN = Style()


def write_series(
    folder: Path, hu: np.ndarray, geometry: Geometry, style: Style = PLAIN
) -> list[Path]:
    """Write one file per slice of `hu` (z, y, x) on `geometry`; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    order = [k for k in range(len(hu)) if k not in style.drop]
    order += list(style.repeat)
    if style.backwards:
        order.reverse()
    files = []
    for number, k in enumerate(order, start=1):
        dataset = _slice(hu[k], geometry, style, k, number)
        path = folder / f"{style.prefix}{number:04d}{style.ending}"
        _save(dataset, path, style.syntax)
        files.append(path)
    return files


def write_enhanced(
    path: Path, hu: np.ndarray, geometry: Geometry, style: Style = PLAIN
) -> Path:
    """Write `hu` as one Enhanced (multi-frame) CT file."""
    dataset = _base(style, 1)
    dataset.SOPClassUID = EnhancedCTImageStorage
    _describe_pixels(dataset, hu.shape[1:], style)
    dataset.NumberOfFrames = len(hu)
    shared = Dataset()
    shared.PlaneOrientationSequence = _item(
        ImageOrientationPatient=_orientation(geometry)
    )
    shared.PixelMeasuresSequence = _item(
        PixelSpacing=list(geometry.spacing_mm[1:]), SliceThickness=3.0
    )
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    frames = []
    for k in range(len(hu)):
        frame = Dataset()
        frame.PlanePositionSequence = _item(
            ImagePositionPatient=_position(geometry, style, k)
        )
        slope, intercept = _rescale(style, k)
        frame.PixelValueTransformationSequence = _item(
            RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU"
        )
        frames.append(frame)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(frames)
    stored = [_stored(picture, style, k) for k, picture in enumerate(hu)]
    _set_pixels(dataset, np.stack(stored), style)
    path.parent.mkdir(parents=True, exist_ok=True)
    _save(dataset, path, style.syntax)
    return path


def _slice(
    picture: np.ndarray, geometry: Geometry, style: Style, k: int, number: int
) -> Dataset:
    dataset = _base(style, number)
    dataset.SOPClassUID = CTImageStorage
    dataset.ImagePositionPatient = _position(geometry, style, k)
    dataset.ImageOrientationPatient = _orientation(geometry)
    dataset.PixelSpacing = list(geometry.spacing_mm[1:])
    dataset.SliceThickness = style.thickness_mm or geometry.spacing_mm[0]
    dataset.RescaleSlope, dataset.RescaleIntercept = _rescale(style, k)
    dataset.ConvolutionKernel = style.kernel
    _describe_pixels(dataset, picture.shape, style)
    _set_pixels(dataset, _stored(picture, style, k), style)
    return dataset


def _base(style: Style, number: int) -> Dataset:
    dataset = Dataset()
    dataset.SOPInstanceUID = generate_uid()
    dataset.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.9"
    dataset.SeriesInstanceUID = style.series_uid
    dataset.SeriesDescription = style.description
    dataset.Modality = style.modality
    dataset.ImageType = list(style.image_type)
    dataset.PatientID = style.patient_id
    dataset.PatientName = "Nobody^Phantom"
    dataset.InstanceNumber = number
    return dataset


def _describe_pixels(dataset: Dataset, shape: tuple[int, ...], style: Style) -> None:
    dataset.Rows, dataset.Columns = shape
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = int(style.signed)
    if style.padding is not None:
        dataset.add_new(0x00280120, "SS" if style.signed else "US", style.padding)


def _stored(picture: np.ndarray, style: Style, k: int) -> np.ndarray:
    slope, intercept = _rescale(style, k)
    stored = np.rint((picture.astype(float) - intercept) / slope)
    return stored.astype(np.int16 if style.signed else np.uint16)


def _set_pixels(dataset: Dataset, stored: np.ndarray, style: Style) -> None:
    if style.syntax == "big-endian":
        stored = stored.astype(stored.dtype.newbyteorder(">"))
    dataset.PixelData = stored.tobytes()


def _rescale(style: Style, k: int) -> tuple[float, float]:
    slope, intercept = style.slope, style.intercept
    return (
        slope[k] if isinstance(slope, tuple) else slope,
        intercept[k] if isinstance(intercept, tuple) else intercept,
    )


def _orientation(geometry: Geometry) -> list[float]:
    direction = np.asarray(geometry.direction)
    rows, columns = direction[::-1, 2], direction[::-1, 1]
    return [float(f"{v:.9f}") for v in (*rows, *columns)]


def _position(geometry: Geometry, style: Style, k: int) -> list[float]:
    direction = np.asarray(geometry.direction)
    along = k * geometry.spacing_mm[0] + (style.shift_mm or {}).get(k, 0.0)
    place = np.asarray(geometry.origin_mm) + direction[:, 0] * along
    place = place + direction[:, 1] * style.lean_mm * k
    return [float(f"{v:.6f}") for v in place[::-1]]


def _item(**values: object) -> Sequence:
    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return Sequence([item])


def _save(dataset: Dataset, path: Path, syntax: str) -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    uid = SYNTAXES[syntax]
    if syntax == "rle":
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset["PixelData"].VR = "OW"
        dataset.compress(RLELossless, generate_instance_uid=False)
    else:
        dataset.file_meta.TransferSyntaxUID = uid
        dataset["PixelData"].VR = "OW"
    dataset.save_as(path, enforce_file_format=True)

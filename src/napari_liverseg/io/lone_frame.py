"""One compressed frame, decoded on its own by the decoders inside SimpleITK.

GDCM, which SimpleITK brings, decodes every JPEG family that DICOM allows, but
only from files, and applies the first frame's rescale to all frames. A file of
one frame without a rescale gives the stored values of any frame.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import CTImageStorage, generate_uid

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIXEL_FIELDS = (
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "HighBit",
    "PhotometricInterpretation",
    "PixelRepresentation",
    "Rows",
    "SamplesPerPixel",
)
"""What a decoder must know of a frame."""


def decoded_alone(dataset: Any, frame: bytes) -> NDArray[Any]:
    """Return the stored values of one compressed frame, shape (rows, columns).

    Parameters
    ----------
    dataset : pydicom Dataset
        The file that the frame comes from; only its pixel description is used.
    frame : bytes
        The compressed frame.

    Raises
    ------
    RuntimeError
        When the frame cannot be decoded.
    """
    with tempfile.TemporaryDirectory(prefix="napari-liverseg-") as folder:
        path = Path(folder, "frame.dcm")
        _lone(dataset, frame).save_as(path, enforce_file_format=True)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(path))
        stored: NDArray[Any] = sitk.GetArrayFromImage(reader.Execute())[0]
        return stored


def _lone(dataset: Any, frame: bytes) -> Dataset:
    alone = Dataset()
    alone.file_meta = FileMetaDataset()
    alone.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    alone.SOPClassUID = CTImageStorage
    alone.SOPInstanceUID = generate_uid()
    for name in PIXEL_FIELDS:
        setattr(alone, name, dataset[name].value)
    alone.PixelData = encapsulate([frame])
    alone["PixelData"].is_undefined_length = True
    return alone

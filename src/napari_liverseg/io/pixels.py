"""DICOM pixels as Hounsfield units, from any transfer syntax."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.encaps import generate_frames
from pydicom.pixels import pixel_array
from pydicom.uid import RLELossless

from napari_liverseg.core.errors import CaseError
from napari_liverseg.core.progress import OnProgress, ignore_progress
from napari_liverseg.io.headers import BROKEN_FILE
from napari_liverseg.io.hounsfield import INT16
from napari_liverseg.io.lone_frame import PIXEL_FIELDS, decoded_alone
from napari_liverseg.io.quiet import quiet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from napari_liverseg.io.headers import SliceHeader

MAX_THREADS = 8
"""Decoders release Python's lock; more threads than this only fill memory."""


_PIXEL_TAGS = ["NumberOfFrames", "PixelData", *PIXEL_FIELDS]


def load_hu(
    headers: tuple[SliceHeader, ...], on_progress: OnProgress = ignore_progress
) -> NDArray[np.int16] | NDArray[np.float32]:
    """Decode slices and rescale each by its own slope and intercept.

    Parameters
    ----------
    headers : tuple of SliceHeader
        The slices in the order wanted, all of one shape.
    on_progress : callable

    Returns
    -------
    ndarray, shape (n, rows, columns)
        int16 where the Hounsfield units fit exactly, else float32.

    Raises
    ------
    CaseError
        When the pixels of a file cannot be decoded.
    """
    shape = (len(headers), headers[0].rows, headers[0].columns)
    hu: NDArray[Any] = np.empty(shape, np.int16)
    with quiet():
        for i, values in enumerate(_decoded(headers)):
            if hu.dtype == np.int16 and not _fits_int16(values):
                hu = hu.astype(np.float32)
            hu[i] = values
            on_progress(i + 1, len(headers), "Reading slices")
    return hu


def _decoded(headers: tuple[SliceHeader, ...]) -> Iterator[NDArray[Any]]:
    """Decode file by file, some files ahead, and yield slice by slice in order."""
    files = [list(group) for _, group in groupby(headers, key=lambda h: h.path)]
    threads = min(MAX_THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        ahead = threads * 2
        pending = [pool.submit(_read_file, f) for f in files[:ahead]]
        for i in range(len(files)):
            yield from pending[i].result()
            pending[i] = None  # type: ignore[call-overload]
            if i + ahead < len(files):
                pending.append(pool.submit(_read_file, files[i + ahead]))


def _read_file(headers: list[SliceHeader]) -> list[NDArray[Any]]:
    """Return the Hounsfield units of some frames of one file."""
    path = headers[0].path
    try:
        dataset = pydicom.dcmread(path, force=True, specific_tags=_PIXEL_TAGS)
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        if not syntax or not syntax.is_encapsulated or syntax == RLELossless:
            stored = [_stored_frame(dataset, h.frame) for h in headers]
        else:
            stored = _decompressed(dataset, headers)
        return [_rescaled(s, h) for s, h in zip(stored, headers, strict=True)]
    except (*BROKEN_FILE, RuntimeError) as broken:
        found = f"The pixels of '{path.name}' cannot be decoded."
        step = "Export the series again, uncompressed if you can."
        raise CaseError(found, step) from broken


def _stored_frame(dataset: Any, frame: int) -> NDArray[Any]:
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = _assumed_syntax(dataset)
    return np.asarray(pixel_array(dataset, index=frame, raw=True))


def _assumed_syntax(dataset: Any) -> str:
    implicit, little = dataset.original_encoding
    if not little:
        return str(pydicom.uid.ExplicitVRBigEndian)
    uid = pydicom.uid
    return str(uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian)


def _decompressed(dataset: Any, headers: list[SliceHeader]) -> list[NDArray[Any]]:
    """Return stored values of compressed frames, by the decoders inside SimpleITK."""
    count = int(dataset.get("NumberOfFrames") or 1)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=count))
    return [decoded_alone(dataset, frames[h.frame]) for h in headers]


def _rescaled(stored: NDArray[Any], header: SliceHeader) -> NDArray[Any]:
    """Return HU as integers where slope and intercept are whole, else as float64."""
    slope = 1.0 if not header.slope else header.slope
    intercept = header.intercept or 0.0
    if stored.shape != (header.rows, header.columns):
        msg = f"decoded {stored.shape}, expected {(header.rows, header.columns)}"
        raise ValueError(msg)
    if not (slope.is_integer() and intercept.is_integer()):
        return np.asarray(stored * slope + intercept)
    ends = [
        int(stored.min()) * slope + intercept,
        int(stored.max()) * slope + intercept,
    ]
    if (
        INT16.min <= min(*ends, slope, intercept)
        and max(*ends, slope, intercept) <= INT16.max
    ):
        # int16 wraps around, so a result that fits is right whatever came before.
        small = stored.astype(np.int16, copy=False)
        scaled = small if slope == 1 else small * np.int16(slope)
        return np.asarray(scaled + np.int16(intercept))
    hu = stored.astype(np.int32) * int(slope) + int(intercept)
    return hu if header.padding is None else _padding_clipped(hu, stored, header)


def _padding_clipped(
    hu: NDArray[Any], stored: NDArray[Any], header: SliceHeader
) -> NDArray[Any]:
    """Keep padding, which is no measurement, from forcing a volume out of int16."""
    assert header.padding is not None
    marker = np.array(header.padding).astype(stored.dtype)
    return np.where(stored == marker, np.clip(hu, INT16.min, INT16.max), hu)


def _fits_int16(values: NDArray[Any]) -> bool:
    if values.dtype == np.int16 or values.dtype.kind == "f":
        return values.dtype == np.int16
    return bool(values.min() >= INT16.min and values.max() <= INT16.max)

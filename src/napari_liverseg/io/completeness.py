"""Whether a DICOM file holds all the pixels that its header announces."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import BinaryIO

PIXEL_DATA = (0x7FE0, 0x0010)
ITEM = (0xFFFE, 0xE000)
END_OF_ITEMS = (0xFFFE, 0xE0DD)
UNDEFINED = 0xFFFFFFFF
DEFLATED = "1.2.840.10008.1.2.1.99"


def pixel_damage(file: BinaryIO, dataset: Any) -> str:
    """Return what is wrong with the pixels that follow, or an empty string.

    Parameters
    ----------
    file : binary file
        Left by pydicom where the pixel data element should start.
    dataset : pydicom Dataset
        The header read from it.
    """
    syntax = (
        dataset.file_meta.get("TransferSyntaxUID", "") if _has_meta(dataset) else ""
    )
    if syntax == DEFLATED:
        # pydicom has inflated the whole file, checksum included, in memory.
        return ""
    implicit, little = dataset.original_encoding
    order = "<" if little else ">"
    size = os.fstat(file.fileno()).st_size
    start = file.read(8 if implicit else 12)
    if len(start) < (8 if implicit else 12):
        return "ends before its pixels"
    if struct.unpack(order + "HH", start[:4]) != PIXEL_DATA:
        return "has no pixel data"
    (length,) = struct.unpack(order + "I", start[-4:])
    if length == UNDEFINED:
        return "" if _items_are_whole(file, size) else "ends inside its pixels"
    held = min(length, size - file.tell())
    return "" if held >= _announced_bytes(dataset) else "ends inside its pixels"


def _has_meta(dataset: Any) -> bool:
    return getattr(dataset, "file_meta", None) is not None


def _announced_bytes(dataset: Any) -> int:
    pixels = int(dataset.Rows) * int(dataset.Columns)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    frames = int(dataset.get("NumberOfFrames") or 1)
    bits = int(dataset.get("BitsAllocated") or 16)
    return pixels * samples * frames * bits // 8


def _items_are_whole(file: BinaryIO, size: int) -> bool:
    """Walk the fragments of compressed pixels up to their end mark (PS3.5 A.4)."""
    while True:
        start = file.read(8)
        if len(start) < 8:
            return False
        group, element, length = struct.unpack("<HHI", start)
        if (group, element) == END_OF_ITEMS:
            return True
        if (group, element) != ITEM or file.tell() + length > size:
            return False
        file.seek(length, os.SEEK_CUR)

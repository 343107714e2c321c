"""Whether a compressed MHA or MHD file is whole, which MetaIO does not tell."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

HEADER_LINES = 1000
"""More lines than any header has; stops at files that are none."""

CHUNK = 4 * 1024**2

_BYTES = {
    "MET_CHAR": 1,
    "MET_UCHAR": 1,
    "MET_SHORT": 2,
    "MET_USHORT": 2,
    "MET_INT": 4,
    "MET_UINT": 4,
    "MET_LONG": 4,
    "MET_ULONG": 4,
    "MET_LONG_LONG": 8,
    "MET_ULONG_LONG": 8,
    "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}


def compressed_voxels_are_whole(path: Path) -> bool:
    """Whether compressed voxels unpack to as many bytes as the header announces.

    ITK prints 'Uncompress failed' and hands out unset memory where they do
    not. Files that are not compressed are ITK's own to check.
    """
    with path.open("rb") as file:
        header = _header(file)
        if header.get("CompressedData", "").lower() != "true":
            return True
        voxels = header.get("ElementDataFile", "")
        if voxels == "LOCAL":
            return _unpacked_bytes(file) == _announced_bytes(header)
    beside = path.parent / voxels
    if not beside.is_file():
        return False
    with beside.open("rb") as file:
        return _unpacked_bytes(file) == _announced_bytes(header)


def _header(file: BinaryIO) -> dict[str, str]:
    """Read the ``key = value`` lines; the voxels follow after ElementDataFile."""
    fields: dict[str, str] = {}
    for _ in range(HEADER_LINES):
        key, _, value = file.readline(CHUNK).decode("latin-1").partition("=")
        fields[key.strip()] = value.strip()
        if key.strip() in ("ElementDataFile", ""):
            break
    return fields


def _announced_bytes(header: dict[str, str]) -> int:
    shape = [int(n) for n in header["DimSize"].split()]
    channels = int(header.get("ElementNumberOfChannels", "1"))
    return int(np.prod(shape)) * channels * _BYTES.get(header["ElementType"], 0)


def _unpacked_bytes(file: BinaryIO) -> int:
    """Return how many bytes unpack without error, -1 where the stream is broken."""
    # 47 takes zlib and gzip streams alike, as MetaIO does.
    unpack = zlib.decompressobj(wbits=47)
    count = 0
    try:
        while not unpack.eof and (chunk := file.read(CHUNK)):
            count += len(unpack.decompress(chunk))
    except zlib.error:
        return -1
    return count if unpack.eof else -1

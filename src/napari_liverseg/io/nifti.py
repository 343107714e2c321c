"""NIfTI headers and voxels, proven whole.

ITK's NIfTI reader gives us the grid, but not the voxels: it loads truncated and
corrupt files without an error, and turns NaN into 0.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_liverseg.core.errors import CaseError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

HEADER_BYTES = 348
FIRST_VOXEL = 352
"""Voxels start here or later in a single file: after the header and its mark."""

NIFTI2_HEADER_BYTES = 540
GZIP_MAGIC = b"\x1f\x8b"

EXPORT_AGAIN = "Export the CT again, or open the original DICOM folder."

_DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
"""Single-valued datatype codes of nifti1.h; colour and complex ones are no CT."""


@dataclass(frozen=True, eq=False)
class NiftiHeader:
    """The fields of a NIfTI-1 header that decide about voxels and orientation.

    Parameters
    ----------
    dim : tuple of int
        Voxels along x, y, z and further axes.
    dtype : str
        NumPy type with byte order, empty for colour and complex voxels.
    pixdim : tuple of float
        ``qfac`` and the spacings along x, y, z, in the file's unit.
    offset : int
        Where the voxels start.
    slope, intercept : float
        Scaling, 1 and 0 where the file has none.
    qform_code, sform_code : int
        0 where the file does not state that transform.
    qform, sform : ndarray, shape (3, 4)
        Index ``(x, y, z)`` to world in the file's RAS and unit.
    """

    dim: tuple[int, ...]
    dtype: str
    pixdim: tuple[float, float, float, float]
    offset: int
    slope: float
    intercept: float
    qform_code: int
    sform_code: int
    qform: NDArray[np.float64]
    sform: NDArray[np.float64]


def read_nifti_header(path: Path) -> NiftiHeader:
    """Return the header of a ``.nii`` or ``.nii.gz`` file.

    Raises
    ------
    CaseError
        When the file is no NIfTI-1 file, ends inside its header, or has its voxels
        start inside of that.
    """
    try:
        with _open(path) as file:
            raw = file.read(HEADER_BYTES)
    except (OSError, EOFError, zlib.error) as broken:
        raise _no_nifti(path) from broken
    sizes = [struct.unpack(o + "i", raw[:4])[0] for o in "<>"] if raw[4:] else []
    if NIFTI2_HEADER_BYTES in sizes:
        found = f"'{path.name}' is a NIfTI-2 file, and only NIfTI-1 can be read."
        raise CaseError(found, "Save it as NIfTI-1, NRRD or MHA.")
    if HEADER_BYTES not in sizes or len(raw) < HEADER_BYTES or raw[344:346] != b"n+":
        raise _no_nifti(path)
    order = "<" if sizes[0] == HEADER_BYTES else ">"
    (offset,) = struct.unpack_from(f"{order}f", raw, 108)
    if not FIRST_VOXEL <= offset < np.inf:
        found = f"'{path.name}' does not say where in the file its voxels start."
        raise CaseError(found, EXPORT_AGAIN)
    return _parse(raw, order)


def read_nifti_voxels(path: Path, header: NiftiHeader) -> NDArray[Any]:
    """Return the voxels ``(z, y, x)``, scaled as the header says.

    Raises
    ------
    CaseError
        When the file holds fewer voxels than its header announces, or its
        checksum tells that it is corrupt.
    """
    try:
        raw: bytes = path.read_bytes()
        if raw[:2] == GZIP_MAGIC:
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as broken:
        raise _cut(path) from broken
    shape = header.dim[2::-1]
    dtype = np.dtype(header.dtype)
    count = int(np.prod(shape))
    if len(raw) < header.offset + count * dtype.itemsize:
        raise _cut(path)
    voxels = np.frombuffer(raw, dtype, count, header.offset).reshape(shape)
    if (header.slope, header.intercept) == (1.0, 0.0):
        return voxels.astype(dtype.newbyteorder("="), copy=False)
    scaled = voxels * np.float64(header.slope) + header.intercept
    # ITK and nibabel agree on float32 precision for scaled integers.
    return scaled if dtype.itemsize > 4 else scaled.astype(np.float32)


def _open(path: Path) -> Any:
    with path.open("rb") as file:
        zipped = file.read(2) == GZIP_MAGIC
    return gzip.open(path) if zipped else path.open("rb")


def _parse(raw: bytes, order: str) -> NiftiHeader:
    def field(kind: str, start: int) -> tuple[Any, ...]:
        return struct.unpack_from(order + kind, raw, start)

    dim = field("8h", 40)
    used = dim[1 : 1 + dim[0]] if 1 <= dim[0] <= 7 else ()
    (datatype,) = field("h", 70)
    pixdim = field("4f", 76)
    offset, slope, intercept = field("3f", 108)
    qform_code, sform_code = field("2h", 252)
    scaled = slope != 0 and np.isfinite([slope, intercept]).all()
    kind = _DTYPES.get(datatype, "")
    return NiftiHeader(
        dim=tuple(used),
        dtype=order + kind if kind else "",
        pixdim=pixdim,
        offset=int(offset),
        slope=slope if scaled else 1.0,
        intercept=intercept if scaled else 0.0,
        qform_code=qform_code,
        sform_code=sform_code,
        qform=_qform(field("6f", 256), pixdim),
        sform=np.reshape(field("12f", 280), (3, 4)).astype(float),
    )


def _qform(
    quaternion: tuple[float, ...], pixdim: tuple[float, ...]
) -> NDArray[np.float64]:
    """Return the 3x4 matrix of a quaternion with its offset (nifti1.h, method 2)."""
    b, c, d, x, y, z = quaternion
    a = float(np.sqrt(max(1.0 - b * b - c * c - d * d, 0.0)))
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    spacing = np.array(pixdim[1:4]) * (1.0, 1.0, -1.0 if pixdim[0] < 0 else 1.0)
    return np.column_stack([turn * spacing, (x, y, z)])


def _no_nifti(path: Path) -> CaseError:
    found = f"'{path.name}' is no NIfTI file, although its name says so."
    return CaseError(found, EXPORT_AGAIN)


def _cut(path: Path) -> CaseError:
    found = f"'{path.name}' is cut short or corrupt: its voxels are not all there."
    return CaseError(found, "Copy or export it again.")

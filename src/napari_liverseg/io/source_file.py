"""Arrays of a case written on the grid of the file that its CT came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import SimpleITK as sitk

from napari_liverseg.core.errors import ExportError
from napari_liverseg.io.grid import to_image
from napari_liverseg.io.images import read_image
from napari_liverseg.io.itk_name import itk_name
from napari_liverseg.io.proven_file import prove_same_grid, write_proven

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_liverseg.core.volume import CTVolume


def write_on_source(
    path: Path,
    voxels: NDArray[Any],
    volume: CTVolume,
    prove_voxels: Callable[[NDArray[Any], NDArray[Any]], None],
    *,
    overwrite: bool = False,
) -> Path:
    """Write an array of the CT's grid as its file would store it, and prove it.

    It is written beside its place, read back and compared, and only then given its
    name.

    Parameters
    ----------
    path : Path
        Its ending tells the format.
    voxels : ndarray, shape of the CT
    volume : CTVolume
    prove_voxels : callable
        Takes what was read back and what was meant, and raises `ExportError` where
        they differ.
    overwrite : bool
        Whether a file of that name may be replaced.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ExportError
        When the file exists, cannot be written, or does not read back the same.
    """
    stored = volume.reorientation.to_stored(voxels)
    image = to_image(stored, volume.source)

    def write(file: Path) -> None:
        name = itk_name(file, ExportError)
        sitk.WriteImage(image, name, useCompression=True)

    def prove(file: Path) -> None:
        back = read_image(file)
        prove_same_grid(back.geometry, volume.source)
        prove_voxels(back.voxels, stored)

    return write_proven(path, write, prove, overwrite=overwrite)

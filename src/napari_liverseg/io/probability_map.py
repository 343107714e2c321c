"""A model's probabilities as an image on the voxels of the CT."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.probabilities import FULL
from napari_liverseg.io.proven_file import prove_same_voxels
from napari_liverseg.io.source_file import write_on_source

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.core.volume import CTVolume


def write_probability_map(
    path: Path, values: NDArray[np.uint8], box: Box, volume: CTVolume
) -> Path:
    """Write probabilities from 0 to 1 on the grid of the file that the CT came from.

    Parameters
    ----------
    path : Path
        Ends in ``.nii.gz``, ``.nii``, ``.nrrd`` or ``.mha``.
    values : ndarray of uint8, shape of the box
        One of `Probabilities`, 0..255 for 0..1.
    box : tuple of slice
        Where they lie in the volume; the rest is 0.
    volume : CTVolume

    Returns
    -------
    Path
        The file written, float32.

    Raises
    ------
    ExportError
        When the file exists, cannot be written, or does not read back the same.
    """
    whole = np.zeros(volume.geometry.shape, np.float32)
    whole[box] = values / np.float32(FULL)
    return write_on_source(path, whole, volume, prove_same_voxels)

"""Draw the sample case again: ``python sample_data/make_sample_case.py``."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from napari_liverseg.core.geometry import Geometry
from napari_liverseg.synthesis.phantom import make_phantom

SEED = 2029
SHAPE, SPACING_MM, ORIGIN_MM = (48, 328, 400), (5.0, 0.9, 0.9), (-810.0, -147.0, -180.0)


def _write(array: np.ndarray, geometry: Geometry, path: Path) -> None:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(geometry.spacing_mm[::-1])
    image.SetOrigin(geometry.origin_mm[::-1])
    sitk.WriteImage(image, str(path), True)


def main() -> None:
    """Write the CT and its label map beside this script."""
    phantom = make_phantom(SEED, SHAPE, SPACING_MM, ORIGIN_MM)
    folder, geometry = Path(__file__).parent, phantom.volume.geometry
    _write(phantom.volume.hu, geometry, folder / "phantom_ct.nii.gz")
    _write(phantom.truth.labels, geometry, folder / "phantom_labels.nii.gz")


if __name__ == "__main__":
    main()

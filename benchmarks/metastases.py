"""The starter on a real CT with metastases: ``python -m benchmarks.metastases WHEEL``.

``pip download --no-deps liver-ct-segmentation-package==1.6.0`` brings the wheel; it
carries a portal venous CT of the LiTS challenge and the label map of its readers, 128
voxels along each side, cut close to the liver, with some seventy tumours. The files do
not say how large their voxels are: vertebrae say about 1.4 mm, so it is measured at
three sizes. Nothing was trained on it: the package does not say under which licence the
data are. What training draws was changed after a look at it, so it is no blind check.
"""

from __future__ import annotations

import argparse
import hashlib
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.starter import as_phantom, measure_row
from napari_liverseg.inference.decision import decide
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.models.store import find_model

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

SHA256 = "67ffa526d8500ce5e3d9f2c96c1690543d811d352d93d531301d35791b9d6bba"
FOLDER = "liver_ct_segmentation_package/data"
SIDE, HEADER_BYTES = 128, 1024
VOXELS_MM = (1.25, 1.4, 1.6)


def main() -> None:
    """Print how well a model finds liver and tumours at each size of voxels."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--model", default="starter")
    arguments = parser.parse_args()
    content = arguments.wheel.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        parser.error(f"{arguments.wheel.name} is another file than was measured here.")
    predictor = Predictor(find_model(arguments.model), "cpu")
    with zipfile.ZipFile(arguments.wheel) as wheel:
        hu = _read(wheel, "img_117.mrc", np.float32)
        labels = _read(wheel, "lab_117.mrc", np.uint16).astype(np.uint8)
    for mm in VOXELS_MM:
        case = as_phantom(
            np.rint(hu).astype(np.int16), labels, (mm,) * 3, f"metastases, {mm} mm"
        )
        measure_row(
            case.volume.name, decide(predictor.predict(case.volume)), case.truth
        )


def _read(wheel: zipfile.ZipFile, name: str, kind: DTypeLike) -> NDArray[np.generic]:
    """Return an image of the wheel, ``(z, y, x)``; its files run along x first."""
    data = wheel.read(f"{FOLDER}/{name}")
    xyz = np.frombuffer(data, kind, offset=HEADER_BYTES).reshape((SIDE,) * 3)
    return np.ascontiguousarray(xyz.transpose())


if __name__ == "__main__":
    main()

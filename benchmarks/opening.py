"""Opening 500 DICOM slices with every check, against a plain series reader.

``python -m benchmarks.opening``: both sides in one process, interleaved; the
ratio counts only when both give the same Hounsfield units.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk

from napari_liverseg.core.geometry import Geometry
from napari_liverseg.io.open import open_ct
from napari_liverseg.io.scan import scan_folder

if TYPE_CHECKING:
    from collections.abc import Callable

# The factory of test series writes any DICOM that a benchmark needs.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from dicom_factory import write_series

SLICES, REPEATS = 500, 5
GRID = Geometry((SLICES, 512, 512), (1.0, 0.75, 0.75), (-400.0, -190.0, -190.0))


def main() -> None:
    """Write a series, time both sides and print the ratio."""
    rng = np.random.default_rng(0)
    plane = rng.integers(-1000, 1200, GRID.shape[1:]).astype(np.int16)
    hu = np.stack([np.roll(plane, k, axis=0) for k in range(SLICES)])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_series(folder, hu, GRID)
        same = np.array_equal(open_ct(folder).hu, _plain(folder))
        if not same:
            sys.exit("FAILED: the two readers give different voxels")
        pairs = [
            (_seconds(lambda: open_ct(folder)), _seconds(lambda: _plain(folder)))
            for _ in range(REPEATS)
        ]
        scans = [_seconds(lambda: scan_folder(folder)) for _ in range(REPEATS)]
    ratios = [ours / theirs for ours, theirs in pairs]
    print(
        f"open {SLICES} slices with checks / SimpleITK without: "
        f"{statistics.median(ratios):.2f}x ({min(ratios):.2f}-{max(ratios):.2f}), "
        f"equal voxels; scan of the headers {statistics.median(scans):.2f} s"
    )


def _plain(folder: Path) -> np.ndarray:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return sitk.GetArrayFromImage(reader.Execute())


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()

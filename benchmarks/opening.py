"""B10: opening 500 DICOM slices with every check, against a plain series reader."""

from __future__ import annotations

import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from benchmarks.ratio import REPEATS, Row, interleave, seconds
from napari_liverseg.core.geometry import Geometry
from napari_liverseg.io.open import open_ct
from napari_liverseg.io.scan import scan_folder

# The factory of test series writes any DICOM that a benchmark needs.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from dicom_factory import write_series

SLICES = 500
GRID = Geometry((SLICES, 512, 512), (1.0, 0.75, 0.75), (-400.0, -190.0, -190.0))


def main() -> list[Row]:
    """Return B10, both sides in one process and in turn."""
    rng = np.random.default_rng(0)
    plane = rng.integers(-1000, 1200, GRID.shape[1:]).astype(np.int16)
    hu = np.stack([np.roll(plane, k, axis=0) for k in range(SLICES)])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_series(folder, hu, GRID)
        same = np.array_equal(open_ct(folder).hu, _plain(folder))
        pairs = interleave(lambda: open_ct(folder), lambda: _plain(folder), REPEATS)
        scan = statistics.median(
            seconds(lambda: scan_folder(folder)) for _ in range(REPEATS)
        )
    gate = f"equal voxels; its header scan alone takes {scan:.2f} s"
    return [
        Row(
            "B10", f"opening {SLICES} DICOM slices with all checks",
            "SimpleITK's series reader without any", "<= 1.5x", *pairs.share(), gate,
            same, REPEATS, pairs.peaks(),
        )
    ]  # fmt: skip


def _plain(folder: Path) -> np.ndarray:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return sitk.GetArrayFromImage(reader.Execute())

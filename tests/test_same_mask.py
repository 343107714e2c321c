"""One CT, written in every format and turned every way, gives one mask in space."""

import functools
import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from dicom_factory import write_series
from io_cases import codes, oblique, turned
from napari_liverseg.cli import main
from napari_liverseg.core.geometry import reorient_to_lps
from napari_liverseg.io.grid import geometry_of, to_image
from napari_liverseg.io.open import open_ct
from napari_liverseg.measure.agreement import count_voxels
from napari_liverseg.synthesis.phantom import make_phantom

MOST_DISAGREEMENT = 0.005

ORIENTATIONS = {
    "as scanned": ((0, 1, 2), (False, False, False)),
    "mirrored storage": ((0, 1, 2), (False, True, True)),
    "feet first": ((0, 1, 2), (True, False, False)),
    "coronal": ((1, 0, 2), (False, True, False)),
    "sagittal": ((2, 0, 1), (True, False, True)),
    "oblique": ((0, 1, 2), (False, False, False)),
}
FORMATS = ("nii.gz", "nrrd", "mha", "dicom")
# The quick run has each orientation and each format, most by the starter's first stage.
QUICK = [
    ("starter-3mm", "dicom", "as scanned"),
    ("starter-3mm", "nii.gz", "mirrored storage"),
    ("starter-3mm", "dicom", "feet first"),
    ("starter-3mm", "nrrd", "coronal"),
    ("starter-3mm", "mha", "sagittal"),
    ("starter", "nii.gz", "oblique"),
]
EVERY = [
    pytest.param("starter", form, orientation, marks=pytest.mark.slow)
    for orientation in ORIENTATIONS
    for form in FORMATS
    if ("starter", form, orientation) not in QUICK
]


@pytest.fixture(scope="module")
def phantom():
    shape, spacing = (52, 84, 104), (4.5, 4.0, 3.6)
    return make_phantom(501, shape, spacing, (-120.5, 33.25, -71.0))


@pytest.fixture(scope="module")
def reference(phantom, tmp_path_factory):
    """Return a model's mask of the phantom as it was made, on its own voxels."""
    path = tmp_path_factory.mktemp("reference") / "ct.nii.gz"
    hu, geometry = phantom.volume.hu, phantom.volume.geometry
    sitk.WriteImage(to_image(hu, geometry), str(path))
    return functools.cache(lambda model: _segment(path, path.parent / model, model))


@pytest.mark.parametrize("model", ["starter", "starter-3mm"])
def test_the_phantom_is_found(model, reference, phantom):
    counts = count_voxels(reference(model) > 0, phantom.truth.labels > 0)
    dice = 2 * counts.both / (counts.prediction + counts.truth)
    assert dice > 0.9


@pytest.mark.parametrize(("model", "form", "orientation"), [*QUICK, *EVERY])
def test_the_mask_is_the_same_in_space(
    model, form, orientation, phantom, reference, tmp_path
):
    axes, flips = ORIENTATIONS[orientation]
    straight = phantom.volume.geometry
    base = oblique(straight) if orientation == "oblique" else straight
    hu, grid = turned(phantom.volume.hu, base, axes, flips)
    path = _write(form, tmp_path, hu, grid)
    labels = _segment(path, tmp_path / "out", model)
    source = open_ct(path).source
    written = geometry_of(sitk.ReadImage(str(tmp_path / "out" / "labels.nii.gz")))
    assert written.matches(source, tolerance_mm=1e-3)
    assert source.matches(grid, tolerance_mm=1e-2) or form == "dicom"
    _, way = reorient_to_lps(source)
    wanted = reference(model)
    disagree = np.count_nonzero(way.to_lps(labels) != wanted)
    assert disagree < MOST_DISAGREEMENT * np.count_nonzero(wanted)
    assert ("oblique" in codes(open_ct(path).problems)) == (orientation == "oblique")


def _write(form, folder, hu, grid):
    if form == "dicom":
        write_series(folder / "series", hu, grid)
        return folder / "series"
    path = folder / f"ct.{form}"
    sitk.WriteImage(to_image(hu, grid), str(path))
    return path


def _segment(path, out, model):
    """Segment from the command line; return the labels as stored, (z, y, x)."""
    words = ["-o", str(out), "--device", "cpu", "--model", model]
    assert main(["segment", str(path), *words]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["model"] == model
    return np.asarray(nibabel.load(out / "labels.nii.gz").dataobj).T

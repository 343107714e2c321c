"""Names that are no UTF-8, as of a disk that another system wrote: SimpleITK aborts."""

import os

import numpy as np
import pytest
import SimpleITK as sitk

from dicom_factory import Style, write_series
from io_cases import GRID, SHAPE
from napari_liverseg.cli import main
from napari_liverseg.core.errors import CaseError, ExportError
from napari_liverseg.core.segmentation import Segmentation
from napari_liverseg.io.label_map import read_label_map, write_label_map
from napari_liverseg.io.open import open_ct
from napari_liverseg.io.scan import scan_folder
from napari_liverseg.io.slice_picture import read_picture
from napari_liverseg.training.bodies import scan_body
from napari_liverseg.training.case_slices import cut_slices
from training_case import make_set

LATIN = os.fsdecode(b"M\xfcller")


@pytest.fixture
def folder(tmp_path):
    """A folder with such a name."""
    folder = tmp_path / LATIN
    try:
        folder.mkdir()
    except (OSError, UnicodeEncodeError):
        pytest.skip("this disk takes text alone as a name")
    return folder


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_a_name_that_is_no_text_is_refused_in_words(folder, tmp_path, ending):
    clean = tmp_path / f"clean{ending}"
    sitk.WriteImage(sitk.Image(4, 4, 4, sitk.sitkInt16), str(clean))
    path = clean.rename(folder / f"{LATIN}{ending}")
    for read in (open_ct, lambda file: read_label_map(file, None)):
        with pytest.raises(CaseError, match="M\N{REPLACEMENT CHARACTER}ller"):
            read(path)
    (series,) = scan_folder(folder)
    assert "unknown encoding" in series.problems[0].message
    assert not series.loadable


def test_dicom_in_such_a_folder_opens_and_masks_are_saved_elsewhere(folder, tmp_path):
    hu = np.zeros(SHAPE, np.int16)
    write_series(folder, hu, GRID, Style(series_uid=""))
    volume = open_ct(folder)
    masks = Segmentation(np.ones(SHAPE, np.uint8), volume.geometry)
    with pytest.raises(ExportError, match="unknown encoding"):
        write_label_map(folder / "masks.nii.gz", masks, volume)
    write_label_map(tmp_path / "masks.nii.gz", masks, volume)


def test_a_picture_of_such_a_name_is_refused(folder):
    path = folder / "slice.png"
    path.write_bytes(b"")
    with pytest.raises(CaseError, match="unknown encoding"):
        read_picture(path, (0, 1))


def test_inspect_tells_such_names(folder, capsys):
    (folder / f"{LATIN}.nii.gz").write_bytes(b"no image")
    main(["inspect", str(folder)])
    assert "'M ller.nii.gz' is no NIfTI file" in capsys.readouterr().out


def test_slices_cannot_be_cut_into_such_a_folder(folder, tmp_path):
    data = make_set(tmp_path / "set")
    with pytest.raises(ExportError, match="unknown encoding"):
        cut_slices(data, folder / "slices", (-160, 240), lambda *_: None)
    assert not list(folder.rglob("*.png"))


def test_public_anatomies_in_such_a_folder_are_refused(folder):
    paths = (folder / name for name in ("ct.nii.gz", "labels.nii.gz", "names.json"))
    with pytest.raises(CaseError, match="unknown encoding"):
        scan_body(*paths, np.random.default_rng(0))

"""A DICOM slice as a picture: in HU, along the patient's axes, or refused in words."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from dicom_factory import Style, write_series
from napari_liverseg.core.errors import CaseError
from napari_liverseg.core.geometry import Geometry
from napari_liverseg.io.slice_picture import read_picture

WINDOW = (-160.0, 240.0)
SHAPE = (1, 20, 30)


def slice_hu():
    """Return fat with a bright spot far from both middles."""
    hu = np.full(SHAPE, -160.0)
    hu[0, 2:6, 3:9] = 240
    return hu


@pytest.fixture
def slice_file(tmp_path):
    """Write one axial slice; fields that are given replace those of its header."""
    grid = Geometry(SHAPE, (3.0, 0.8, 0.8), (0.0, 0.0, 0.0))

    def write(hu=None, style=None, **fields):
        given = (slice_hu() if hu is None else hu, grid, style or Style())
        (path,) = write_series(tmp_path, *given)
        dataset = pydicom.dcmread(path)
        for name, value in fields.items():
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)
        dataset.save_as(path)
        return path

    return write


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"Modality": "MR"}, "its modality is 'MR'"),
        ({"Modality": None}, "its modality is 'unknown'"),
        ({"RescaleSlope": None}, "it names no rescale to HU"),
        ({"RescaleIntercept": None}, "it names no rescale to HU"),
        ({"RescaleSlope": 0}, "it names no rescale to HU"),
        ({"RescaleType": "OD"}, "it names no rescale to HU"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "planning view"),
    ],
)
def test_what_is_no_slice_in_hu_is_refused_for_what_it_is(slice_file, fields, said):
    with pytest.raises(CaseError, match=said):
        read_picture(slice_file(**fields), WINDOW)


def test_grey_values_that_pass_for_a_ct_are_refused(slice_file):
    grey = np.linspace(0, 255, 600).reshape(SHAPE)
    with pytest.raises(CaseError, match="from 0 to 255, without fat and air"):
        read_picture(slice_file(grey, Style(intercept=0.0)), WINDOW)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        ([1, 0, 0, 0, 1, 0], lambda hu: hu),
        ([-1, 0, 0, 0, -1, 0], lambda hu: hu[:, ::-1, ::-1]),
        ([-1, 0, 0, 0, 1, 0], lambda hu: hu[:, :, ::-1]),
        ([1, 0, 0, 0, -1, 0], lambda hu: hu[:, ::-1]),
    ],
)
def test_an_axial_slice_is_seen_along_the_patients_axes(
    slice_file, orientation, stored
):
    path = slice_file(stored(slice_hu()), ImageOrientationPatient=orientation)
    wanted = (slice_hu()[0] > 0).astype(np.float32)
    np.testing.assert_array_equal(read_picture(path, WINDOW), wanted)


def test_a_slice_whose_rows_run_to_the_back_is_turned(tmp_path):
    hu = slice_hu().transpose(0, 2, 1)
    grid = Geometry(hu.shape, (3.0, 0.8, 0.8), (0.0, 0.0, 0.0))
    (path,) = write_series(tmp_path, hu, grid)
    dataset = pydicom.dcmread(path)
    dataset.ImageOrientationPatient = [0, 1, 0, 1, 0, 0]
    dataset.save_as(path)
    wanted = (slice_hu()[0] > 0).astype(np.float32)
    np.testing.assert_array_equal(read_picture(path, WINDOW), wanted)


def test_a_coronal_slice_is_left_as_it_is_stored(slice_file):
    path = slice_file(ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    wanted = (slice_hu()[0] > 0).astype(np.float32)
    np.testing.assert_array_equal(read_picture(path, WINDOW), wanted)


def test_twelve_bits_in_a_picture_of_sixteen_do_not_pass_for_black(tmp_path):
    path = tmp_path / "slice.png"
    values = np.linspace(0, 4095, 600).reshape(20, 30).astype(np.uint16)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path))
    with pytest.raises(CaseError, match="nearly black: of 65535 it reaches 4095"):
        read_picture(path, WINDOW)
    sitk.WriteImage(sitk.GetImageFromArray(values * 16), str(path))
    assert read_picture(path, WINDOW).max() > 0.99

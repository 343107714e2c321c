"""DICOM opens in Hounsfield units, in its place, and never interpolated in silence."""

import errno
import zipfile
from dataclasses import replace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from dicom_factory import Style, write_enhanced, write_series
from io_cases import GRID, codes, ct, oblique, ramp, real, turned, world
from napari_liverseg.core.errors import CaseError
from napari_liverseg.core.geometry import Geometry
from napari_liverseg.io.headers import read_headers
from napari_liverseg.io.keys import patient_key
from napari_liverseg.io.open import SeveralSeriesError, open_ct
from napari_liverseg.io.pixels import load_hu
from napari_liverseg.io.series import UndecidedError

TURNS = [
    ((0, 1, 2), (False, False, False)),
    ((0, 1, 2), (True, False, False)),
    ((0, 1, 2), (False, True, True)),
    ((1, 0, 2), (False, True, False)),
    ((2, 0, 1), (True, True, False)),
    ((0, 2, 1), (False, False, True)),
]


@pytest.mark.parametrize(("axes", "flips"), TURNS)
@pytest.mark.parametrize("grid", [GRID, oblique()], ids=["straight", "oblique"])
def test_the_same_voxels_in_the_same_place_from_any_orientation(
    tmp_path, axes, flips, grid
):
    hu = ct()
    stored, stored_grid = turned(hu, grid, axes, flips)
    write_series(tmp_path, stored, stored_grid)
    volume = open_ct(tmp_path)
    assert volume.hu.dtype == np.int16
    np.testing.assert_array_equal(volume.hu, hu)
    assert volume.geometry.matches(grid)
    back = volume.reorientation.to_stored(volume.hu)
    assert back.shape == volume.source.shape


@pytest.mark.parametrize(
    "syntax", ["explicit", "implicit", "big-endian", "deflated", "rle"]
)
@pytest.mark.parametrize("signed", [True, False])
def test_every_native_encoding_gives_the_same_voxels(tmp_path, syntax, signed):
    write_series(tmp_path, ct(), GRID, Style(syntax=syntax, signed=signed))
    np.testing.assert_array_equal(open_ct(tmp_path).hu, ct())


def test_feet_first_order_of_files_changes_nothing(tmp_path):
    write_series(tmp_path, ct(), GRID, Style(backwards=True, ending=""))
    np.testing.assert_array_equal(open_ct(tmp_path).hu, ct())


def test_each_slice_has_its_own_rescale(tmp_path):
    style = Style(
        slope=(1.0, 2.0) + (1.0,) * 5, intercept=(-1000.0,) * 2 + (-24.0,) * 5
    )
    hu = ct() // 2 * 2
    write_series(tmp_path, hu, GRID, style)
    volume = open_ct(tmp_path)
    assert volume.hu.dtype == np.int16
    np.testing.assert_array_equal(volume.hu, hu)


def test_fractional_slopes_give_floats(tmp_path):
    write_series(tmp_path, ct(), GRID, Style(slope=0.5, intercept=-1024.25))
    volume = open_ct(tmp_path)
    assert volume.hu.dtype == np.float32
    np.testing.assert_allclose(volume.hu, ct(), atol=0.26)


def test_padding_does_not_force_floats(tmp_path):
    files = write_series(tmp_path, ct(), GRID, Style(padding=-32768))
    dataset = pydicom.dcmread(files[2])
    pixels = dataset.pixel_array.copy()
    pixels[0, 0] = -32768
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(files[2])
    volume = open_ct(tmp_path)
    assert volume.hu.dtype == np.int16
    assert volume.hu[2, 0, 0] == -32768
    np.testing.assert_array_equal(volume.hu[2, 1:], ct()[2, 1:])


def test_enhanced_ct_uses_each_frames_rescale(tmp_path):
    style = Style(slope=(1.0, 2.0) + (1.0,) * 5)
    hu = ct() // 2 * 2
    write_enhanced(tmp_path / "e.dcm", hu, GRID, style)
    volume = open_ct(tmp_path / "e.dcm")
    np.testing.assert_array_equal(volume.hu, hu)
    assert volume.geometry.matches(GRID)


def test_source_is_the_grid_that_simpleitk_gives(tmp_path):
    files = write_series(tmp_path, ct(), oblique())
    image = sitk.ReadImage([str(f) for f in files])
    source = open_ct(tmp_path).source
    assert source.spacing_mm[::-1] == pytest.approx(image.GetSpacing(), rel=1e-5)
    assert source.origin_mm[::-1] == pytest.approx(image.GetOrigin(), abs=1e-5)
    ours = np.asarray(source.direction)[::-1, ::-1].ravel()
    assert ours == pytest.approx(image.GetDirection(), abs=1e-5)


def test_resample_takes_the_tilt_out_and_keeps_every_voxel_in_place(tmp_path):
    style = Style(lean_mm=0.37)
    leaning = world(GRID) + np.arange(7).reshape(7, 1, 1, 1) * [0, 0.37, 0]
    write_series(tmp_path, np.rint(ramp(leaning)), GRID, style)
    with pytest.raises(CaseError, match="'resample'"):
        open_ct(tmp_path)
    volume = open_ct(tmp_path, decisions=["resample", "keep-first"])
    assert volume.decisions == ("resample",)
    assert "gantry-tilt" in codes(volume.problems)
    assert volume.source.shape == (7, 24 + 3, 20)
    inside = volume.hu > -900
    expected = ramp(world(volume.geometry))
    # At the leaning borders voxels mix with air; inside them only rounding is left.
    inner = np.zeros_like(inside)
    inner[:, 4:23] = True
    assert np.abs(volume.hu - expected)[inner].max() <= 1.5


def test_resample_makes_uneven_slices_even(tmp_path):
    shifts = {2: 0.7, 4: -0.6}
    moved = world(GRID)
    for k, shift in shifts.items():
        moved[k, ..., 0] += shift
    write_series(tmp_path, np.rint(ramp(moved)), GRID, Style(shift_mm=shifts))
    volume = open_ct(tmp_path, decisions={"resample"})
    assert volume.geometry.shape == GRID.shape
    np.testing.assert_allclose(volume.hu, ramp(world(volume.geometry)), atol=1.5)


def test_keep_first_keeps_the_first_acquired(tmp_path):
    files = write_series(tmp_path, ct(), GRID, Style(repeat=(4,)))
    dataset = pydicom.dcmread(files[-1])
    dataset.PixelData = bytes(len(dataset.PixelData))
    dataset.save_as(files[-1])
    volume = open_ct(tmp_path, decisions=["keep-first"])
    np.testing.assert_array_equal(volume.hu, ct())
    assert volume.decisions == ("keep-first",)
    assert "duplicate-positions" in codes(volume.problems)


def test_keep_first_never_mixes_acquisitions_that_lie_a_hair_apart(tmp_path):
    grid = replace(GRID, spacing_mm=(0.625, 0.8, 0.7))
    z, y, x = grid.origin_mm
    a_hair_up = replace(grid, origin_mm=(z + 4e-4, y, x))
    earlier = write_series(tmp_path, ct() + 5, a_hair_up, Style(prefix="B"))
    later = write_series(tmp_path, ct(), grid, Style(prefix="A"))
    for number, files in enumerate((earlier, later), start=1):
        for file in files:
            dataset = pydicom.dcmread(file)
            dataset.AcquisitionNumber = number
            dataset.save_as(file)
    volume = open_ct(tmp_path, decisions=["keep-first"])
    np.testing.assert_array_equal(volume.hu, ct() + 5)


def test_a_decision_for_one_error_does_not_cover_another(tmp_path):
    write_series(tmp_path, ct(), GRID, Style(repeat=(6,), drop=(3,)))
    with pytest.raises(CaseError, match="missing"):
        open_ct(tmp_path, decisions=["keep-first"])


def test_the_user_chooses_among_several_series(tmp_path):
    write_series(tmp_path / "a", ct(), GRID)
    other = Style(series_uid="1.2.99", description="arterial")
    write_series(tmp_path / "b", ct() + 1, GRID, other)
    with pytest.raises(SeveralSeriesError, match=r"1\.2\.99") as error:
        open_ct(tmp_path)
    assert len(error.value.series) == 2
    assert sum(s.suggested for s in error.value.series) == 1
    assert open_ct(tmp_path, "1.2.99").description == "arterial"
    with pytest.raises(CaseError, match="holds no series '7'"):
        open_ct(tmp_path, "7")


PREMONITORING = Style(series_uid="1.2.4", description="Premonitoring", prefix="P")
VENOUS = "Portal venous 3mm"


@pytest.mark.parametrize(
    ("style", "told"),
    [
        (Style(drop=(3,), description=VENOUS), "cannot be opened: Slices are missing"),
        (Style(lean_mm=0.5, description=VENOUS), "needs a decision: The gantry"),
        (Style(repeat=(4,), description=VENOUS), "needs a decision: 1 of 8"),
    ],
)
def test_a_refused_ct_is_not_passed_over_for_a_small_one(tmp_path, style, told):
    write_series(tmp_path, ct(), GRID, style)
    write_series(tmp_path, ct()[:4], GRID, PREMONITORING)
    with pytest.raises(SeveralSeriesError) as error:
        open_ct(tmp_path)
    text = str(error.value)
    assert "2 series" in text
    assert text.index("Premonitoring") < text.index(VENOUS) < text.index(told)
    assert open_ct(tmp_path, "1.2.4").hu.shape[0] == 4


def test_a_ct_that_jumps_sideways_is_not_passed_over(tmp_path):
    files = write_series(tmp_path, ct(), GRID, Style(description=VENOUS))
    for path in files[4:]:
        dataset = pydicom.dcmread(path)
        dataset.ImagePositionPatient[0] += 12
        dataset.save_as(path)
    write_series(tmp_path, ct()[:4], GRID, PREMONITORING)
    with pytest.raises(SeveralSeriesError, match="aside of its neighbours"):
        open_ct(tmp_path)


@pytest.mark.parametrize(
    "other",
    [
        Style(series_uid="1.2.5", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")),
        Style(series_uid="1.2.5", modality="MR"),
        Style(series_uid="1.2.5", drop=(0, 1, 2, 3, 4, 5)),
        # Bolus tracking: one place, time after time.
        Style(series_uid="1.2.5", drop=(0, 1, 2, 3, 4, 5), repeat=(6, 6)),
    ],
)
def test_what_is_no_ct_volume_is_passed_over(tmp_path, other):
    write_series(tmp_path / "a", ct(), GRID, other)
    write_series(tmp_path / "b", ct(), GRID)
    assert open_ct(tmp_path).hu.shape == GRID.shape


def test_the_only_ct_is_refused_for_its_own_reason(tmp_path):
    view = Style(series_uid="1.0", image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    write_series(tmp_path / "a", ct(), GRID, view)
    write_series(tmp_path / "b", ct(), GRID, Style(lean_mm=0.5))
    with pytest.raises(UndecidedError, match=r"^The gantry was tilted") as error:
        open_ct(tmp_path)
    assert error.value.decisions == ("resample",)
    assert open_ct(tmp_path, decisions=["resample"]).decisions == ("resample",)


def test_keys_group_patients_and_hide_them(tmp_path):
    write_series(tmp_path / "a", ct(), GRID)
    write_series(tmp_path / "b", ct(), GRID, Style(series_uid="1.2.7"))
    write_series(tmp_path / "c", ct(), GRID, Style(patient_id=""))
    a, b, c = (open_ct(tmp_path / n) for n in "abc")
    assert a.patient_key == b.patient_key is not None
    assert c.patient_key is None
    assert a.series_key != b.series_key
    assert a.series_key == open_ct(tmp_path / "a").series_key
    assert "phantom-7" not in repr([a.patient_key, a.name, a.problems, a.series_key])


def test_a_disk_without_links_keeps_a_secret_too(tmp_path, monkeypatch):
    def no_links(source, target):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setenv("NAPARI_LIVERSEG_DATA", str(tmp_path))
    monkeypatch.setattr("os.link", no_links)
    key = patient_key("anna-1")
    assert key == patient_key("anna-1") is not None
    assert [p.name for p in tmp_path.iterdir()] == ["identity.key"]


def test_series_without_a_uid_are_told_apart_by_their_voxels(tmp_path):
    write_series(tmp_path / "a" / "s", ct(), GRID, Style(series_uid=""))
    write_series(tmp_path / "b" / "s", ct() + 1, GRID, Style(series_uid=""))
    a, b = open_ct(tmp_path / "a"), open_ct(tmp_path / "b")
    assert a.series_key != b.series_key


def test_a_slope_of_nothing_is_no_slope(tmp_path):
    for file in write_series(tmp_path, ct(), GRID):
        dataset = pydicom.dcmread(file)
        dataset.RescaleSlope = 0
        dataset.save_as(file)
    (warning,) = open_ct(tmp_path).problems
    assert warning.code == "not-hounsfield"
    assert "no rescale" in warning.message


def test_values_that_cannot_be_hu_are_noticed(tmp_path):
    write_series(tmp_path, np.abs(ct()) // 8, GRID)
    assert "not-hounsfield" in codes(open_ct(tmp_path).problems)


def test_a_zip_opens_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    (tmp_path / "temp").mkdir()
    files = write_series(tmp_path / "s", ct(), GRID)
    with zipfile.ZipFile(tmp_path / "s.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in files:
            archive.write(file, f"study/{file.name}")
    volume = open_ct(tmp_path / "s.zip")
    np.testing.assert_array_equal(volume.hu, ct())
    assert list((tmp_path / "temp").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../evil.dcm", "/evil.dcm", "a/../../evil.dcm", "C:\\x"]
)
def test_a_zip_that_writes_outside_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(CaseError, match="outside its folder"):
        open_ct(tmp_path / "s.zip")
    assert not (tmp_path.parent / "evil.dcm").exists()


def test_a_zip_with_links_or_bombs_or_damage_is_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(CaseError, match="links"):
        open_ct(tmp_path / "link.zip")
    (tmp_path / "no.zip").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(CaseError, match="no whole zip"):
        open_ct(tmp_path / "no.zip")


def test_messages_hold_base_names_only(tmp_path):
    write_series(tmp_path / "secret-name", ct(), GRID, Style(drop=(3,)))
    with pytest.raises(CaseError) as error:
        open_ct(tmp_path / "secret-name")
    assert "secret-name" not in str(error.value)


LOSSLESS = ("1.2.840.10008.1.2", "1.2.1", "1.2.1.99", "1.2.2", "1.2.5")
LOSSLESS_JPEG = ("4.57", "4.70", "4.80", "4.90")


def test_real_lossless_syntaxes_are_bit_equal():
    folder = real("dicom-edge/transfer-syntaxes")
    reference = load_hu(read_headers(folder / "CTImage.dcm"))
    assert reference.dtype == np.int16
    equal = []
    for path in sorted(folder.iterdir()):
        hu = load_hu(read_headers(path)).astype(float)
        if path.stem.endswith((*LOSSLESS, *LOSSLESS_JPEG)):
            np.testing.assert_array_equal(hu, reference, err_msg=path.name)
            equal.append(path)
        # Lossy ones are the same picture.
        assert np.abs(hu - reference).max() < 70, path.name
    assert len(equal) == 9


def test_compressed_frames_of_one_file_each_get_their_rescale(tmp_path):
    source = pydicom.dcmread(next(iter(sorted(real("abdomen-dicom-j2k").iterdir()))))
    grid = Geometry((2, 512, 512), (2.0, 1.0, 1.0))
    path = write_enhanced(tmp_path / "e.dcm", np.zeros(grid.shape), grid)
    dataset = pydicom.dcmread(path)
    frame = next(pydicom.encaps.generate_frames(source.PixelData, number_of_frames=1))
    for name in ("BitsStored", "HighBit", "PixelRepresentation"):
        setattr(dataset, name, source[name].value)
    groups = dataset.PerFrameFunctionalGroupsSequence
    groups[1].PixelValueTransformationSequence[0].RescaleIntercept = -24
    dataset.file_meta.TransferSyntaxUID = source.file_meta.TransferSyntaxUID
    dataset.PixelData = pydicom.encaps.encapsulate([frame, frame])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    volume = open_ct(path)
    np.testing.assert_array_equal(volume.hu[0] + 1000, volume.hu[1])
    assert volume.hu[0].min() == -1024


def test_real_jpeg2000_series_equals_simpleitk():
    volume = open_ct(real("abdomen-dicom-j2k"))
    files = [str(f) for f in sorted(real("abdomen-dicom-j2k").iterdir())]
    image = sitk.ReadImage(files[::-1])
    stored = volume.reorientation.to_stored(volume.hu)
    np.testing.assert_array_equal(stored, sitk.GetArrayFromImage(image))
    assert volume.source.origin_mm[::-1] == pytest.approx(image.GetOrigin())


def test_real_tilted_series_opens_by_decision_only():
    with pytest.raises(CaseError, match="tilted"):
        open_ct(real("dicom-edge/gantry-tilt"))
    volume = open_ct(real("dicom-edge/gantry-tilt"), decisions=["resample"])
    assert volume.decisions == ("resample",)
    assert volume.hu.shape[0] == 4

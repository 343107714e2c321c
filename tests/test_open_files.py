"""Volumes in one file open in their place, or are refused in one clear sentence."""

import shutil
import struct
import zlib
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from io_cases import GRID, codes, ct, oblique, real, turned
from napari_liverseg.core.errors import CaseError
from napari_liverseg.io.grid import geometry_of, to_image
from napari_liverseg.io.open import SeveralSeriesError, open_ct
from napari_liverseg.io.scan import find_in_folder, list_series

ENDINGS = [".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd"]
AFFINE = np.array(
    [[-0.7, 0, 0, 10.0], [0, 0.8, 0, -20.0], [0, 0, 2.5, 30.0], [0, 0, 0, 1]]
)


def write(path, hu=None, grid=GRID, compressed=True):
    image = to_image(ct() if hu is None else hu, grid)
    sitk.WriteImage(image, str(path), useCompression=compressed)
    return path


def nifti(path, array=None, affine=AFFINE):
    image = nib.Nifti1Image(ct().T if array is None else array, affine)
    nib.save(image, path)
    return path


def refused(path, words):
    with pytest.raises(CaseError, match=words) as error:
        open_ct(path)
    text = str(error.value)
    assert path.parent.name not in text
    assert "\n" not in text
    return text


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("grid", [GRID, oblique()], ids=["straight", "oblique"])
@pytest.mark.parametrize(
    ("axes", "flips"),
    [
        ((0, 1, 2), (False, False, False)),
        ((0, 1, 2), (False, True, True)),
        ((2, 0, 1), (True, False, True)),
    ],
)
def test_every_format_and_orientation_opens_in_place(
    tmp_path, ending, grid, axes, flips
):
    stored, stored_grid = turned(ct(), grid, axes, flips)
    path = write(tmp_path / f"case{ending}", stored, stored_grid)
    volume = open_ct(path)
    assert volume.hu.dtype == np.int16
    np.testing.assert_array_equal(volume.hu, ct())
    assert volume.geometry.matches(grid)
    assert volume.source.matches(stored_grid)
    assert volume.name == "case"
    assert ("oblique" in codes(volume.problems)) is (grid is not GRID)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_the_same_volume_has_one_key_in_every_format(tmp_path, ending):
    key = open_ct(write(tmp_path / "a.nii")).series_key
    assert open_ct(write(tmp_path / f"b{ending}")).series_key == key
    assert open_ct(write(tmp_path / f"c{ending}", ct() + 1)).series_key != key


def test_nibabel_and_we_agree_on_places(tmp_path):
    path = nifti(tmp_path / "n.nii.gz")
    volume = open_ct(path)
    x, y, z = (nib.load(path).affine @ [3, 5, 2, 1])[:3]
    index = np.linalg.inv(volume.geometry.affine()) @ [z, -y, -x, 1]
    k, j, i = np.rint(index[:3]).astype(int)
    assert volume.hu[k, j, i] == ct().T[3, 5, 2]


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.float32, np.float64, ">i2"])
def test_whole_hu_become_int16(tmp_path, dtype):
    hu = np.maximum(ct(), 0) if np.dtype(dtype).kind == "u" else ct()
    volume = open_ct(nifti(tmp_path / "n.nii", hu.T.astype(dtype)))
    assert volume.hu.dtype == np.int16
    assert volume.hu.sum() == hu.sum(dtype=float)


def test_fractions_and_large_values_become_float32(tmp_path):
    half = ct() + np.float32(0.5)
    assert open_ct(write(tmp_path / "a.nrrd", half)).hu.dtype == np.float32
    big = ct().astype(np.int32) * 1000
    assert open_ct(write(tmp_path / "b.nrrd", big)).hu.dtype == np.float32


def test_scaled_nifti_is_scaled(tmp_path):
    image = nib.Nifti1Image(ct().T, AFFINE)
    image.header.set_slope_inter(0.5, -3)
    nib.save(image, tmp_path / "s.nii")
    data = nib.load(tmp_path / "s.nii").get_fdata()
    assert open_ct(tmp_path / "s.nii").hu.min() == pytest.approx(data.min())


def test_a_fourth_axis_of_one_is_no_axis(tmp_path):
    path = nifti(tmp_path / "n.nii", ct().T[..., None])
    assert open_ct(path).hu.shape == GRID.shape
    image = to_image(ct(), GRID)
    sitk.WriteImage(sitk.JoinSeries([image]), str(tmp_path / "m.mha"))
    assert open_ct(tmp_path / "m.mha").geometry.matches(GRID)


def test_metres_are_converted(tmp_path):
    affine = AFFINE.copy()
    affine[:3] /= 1000
    image = nib.Nifti1Image(ct().T, affine)
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "m.nii")
    assert open_ct(tmp_path / "m.nii").geometry.spacing_mm == pytest.approx(
        (2.5, 0.8, 0.7)
    )
    image.header.set_xyzt_units("unknown")
    nib.save(image, tmp_path / "u.nii")
    refused(tmp_path / "u.nii", "which no CT has")


def test_no_orientation_is_told(tmp_path):
    image = nib.Nifti1Image(ct().T, None)
    image.header.set_zooms((0.7, 0.8, 2.5))
    image.set_qform(None, 0)
    image.set_sform(None, 0)
    nib.save(image, tmp_path / "n.nii")
    (warning,) = open_ct(tmp_path / "n.nii").problems
    assert (warning.code, warning.severity) == ("unclear-orientation", "warning")


def test_two_orientations_are_refused(tmp_path):
    image = nib.Nifti1Image(ct().T, AFFINE)
    mirrored = AFFINE.copy()
    mirrored[0] *= -1
    image.set_qform(mirrored, 1)
    image.set_sform(AFFINE, 2)
    nib.save(image, tmp_path / "n.nii")
    refused(tmp_path / "n.nii", "its qform runs RAS, its sform LAS")


def test_two_positions_are_told(tmp_path):
    image = nib.Nifti1Image(ct().T, AFFINE)
    moved = AFFINE.copy()
    moved[:3, 3] += 40
    image.set_qform(moved, 1)
    image.set_sform(AFFINE, 2)
    nib.save(image, tmp_path / "n.nii")
    assert codes(open_ct(tmp_path / "n.nii").problems) == {"unclear-orientation"}


def test_a_matching_qform_and_sform_are_no_problem(tmp_path):
    image = nib.Nifti1Image(ct().T, AFFINE)
    image.set_qform(AFFINE, 1)
    image.set_sform(AFFINE, 1)
    nib.save(image, tmp_path / "n.nii")
    assert open_ct(tmp_path / "n.nii").problems == ()


def test_sheared_axes_are_refused(tmp_path):
    affine = AFFINE.copy()
    affine[0, 1] = 0.3
    refused(nifti(tmp_path / "n.nii", affine=affine), "not at right angles")


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("part", [0.0, 0.02, 0.5, 0.98])
def test_truncated_files_are_refused(tmp_path, ending, compressed, part):
    path = write(tmp_path / f"case{ending}", compressed=compressed)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    refused(path, "case")


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_corrupt_compressed_files_are_refused(tmp_path, ending):
    path = write(tmp_path / f"case{ending}")
    raw = bytearray(path.read_bytes())
    raw[len(raw) * 2 // 3] ^= 255
    path.write_bytes(raw)
    refused(path, "corrupt")


@pytest.mark.parametrize("ending", ENDINGS)
def test_text_with_the_wrong_name_is_refused(tmp_path, capfd, ending):
    path = tmp_path / f"case{ending}"
    path.write_text("this is no image\n" * 50)
    refused(path, "case")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("ending", [".nhdr", ".mhd"])
def test_a_header_without_its_voxels_is_refused(tmp_path, ending):
    path = write(tmp_path / f"case{ending}")
    for file in tmp_path.iterdir():
        if file != path:
            file.unlink()
    refused(path, "case")


@pytest.mark.parametrize("ending", [".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_no_numbers_are_counted(tmp_path, ending, value):
    hu = ct().astype(np.float32)
    hu[2, 3, 4:6] = value
    path = write(tmp_path / f"case{ending}", hu)
    said = refused(path, "2 voxels that are no number")
    assert "air (-1024 HU) in their place, in a label map 0" in said


def test_distances_that_are_not_there_are_never_a_millimetre(tmp_path):
    voxels = ct().astype("<i2").tobytes()
    head = "NRRD0004\ntype: short\ndimension: 3\nsizes: 20 24 7\nspace: LPS\n"
    plain = tmp_path / "plain.nrrd"
    plain.write_bytes(f"{head}encoding: raw\nendian: little\n\n".encode() + voxels)
    refused(plain, "how far apart")
    head = "ObjectType = Image\nNDims = 3\nDimSize = 20 24 7\nElementType = MET_SHORT\n"
    plain = tmp_path / "plain.mha"
    plain.write_bytes(f"{head}ElementDataFile = LOCAL\n".encode() + voxels)
    refused(plain, "how far apart")


@pytest.mark.parametrize("unit", ["mm", "cm"])
def test_distances_in_another_unit_are_never_millimetres(tmp_path, unit):
    for ending, behind, field in (
        (".nrrd", b"space: ", f'space units: "{unit}" "{unit}" "{unit}"\n'),
        (".mha", b"ObjectType", f"DistanceUnits = {unit}\n"),
    ):
        raw = write(tmp_path / f"case{ending}", compressed=False).read_bytes()
        at = raw.index(b"\n", raw.index(behind)) + 1
        path = tmp_path / f"{unit}{ending}"
        path.write_bytes(raw[:at] + field.encode() + raw[at:])
        if unit == "mm":
            assert open_ct(path).hu.shape == ct().shape
        else:
            refused(path, "distances in 'cm', and only mm")


@pytest.mark.parametrize("start", [0.0, 100.0, -8.0, np.nan, np.inf])
def test_voxels_that_start_inside_the_header_are_refused(tmp_path, start):
    path = write(tmp_path / "n.nii", compressed=False)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<f", raw, 108, start)
    path.write_bytes(raw)
    refused(path, "where in the file its voxels start")


def test_shapes_that_are_no_volume_are_refused(tmp_path):
    refused(nifti(tmp_path / "4d.nii", np.stack([ct().T] * 2, -1)), "4 dimensions")
    refused(nifti(tmp_path / "2d.nii", ct().T[..., 0]), "flat picture")
    refused(nifti(tmp_path / "1.nii", ct().T[..., :1]), "one slice|flat picture")
    rgb = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    refused(nifti(tmp_path / "rgb.nii", rgb), "colours")
    complex_values = ct().T.astype(np.complex64)
    refused(nifti(tmp_path / "c.nii", complex_values), "complex")
    image = sitk.JoinSeries([to_image(ct(), GRID)] * 2)
    sitk.WriteImage(image, str(tmp_path / "4d.mha"))
    refused(tmp_path / "4d.mha", "4 dimensions")
    vector = sitk.Compose([to_image(ct(), GRID)] * 3)
    sitk.WriteImage(vector, str(tmp_path / "v.nrrd"))
    refused(tmp_path / "v.nrrd", "several values")
    raw = bytearray(nifti(tmp_path / "0.nii").read_bytes())
    raw[42:44] = struct.pack("<h", 0)
    (tmp_path / "0.nii").write_bytes(raw)
    refused(tmp_path / "0.nii", "no voxels")
    raw = bytearray(nifti(tmp_path / "p.nii").read_bytes())
    raw[80:84] = bytes(4)
    (tmp_path / "p.nii").write_bytes(raw)
    refused(tmp_path / "p.nii", "gives 0")


def test_nifti_2_is_named(tmp_path):
    nib.save(nib.Nifti2Image(ct().T, AFFINE), tmp_path / "n.nii")
    refused(tmp_path / "n.nii", "NIfTI-2")


def test_a_missing_empty_or_foreign_path_is_refused(tmp_path):
    refused(tmp_path / "nothing.nii", "does not exist")
    refused(tmp_path / "nothing", "does not exist")
    (tmp_path / "notes.txt").write_text("hello")
    refused(tmp_path / "notes.txt", "no CT")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CaseError, match="holds no CT"):
        open_ct(tmp_path / "empty")


def test_a_folder_of_volumes_lets_the_user_choose(tmp_path):
    write(tmp_path / "a.nii.gz")
    write(tmp_path / "labels.nii.gz", (ct() > 0).astype(np.uint8))
    with pytest.raises(SeveralSeriesError) as error:
        open_ct(tmp_path)
    suggested = [s.uid for s in error.value.series if s.suggested]
    assert suggested == ["a.nii.gz"]
    assert open_ct(tmp_path, "a.nii.gz").name == "a"


def two_patients(folder):
    for name, hu in (("p1", ct()), ("p2", ct() + 1)):
        (folder / name).mkdir(parents=True)
        write(folder / name / "ct.nii.gz", hu)
    return folder


def test_files_of_one_name_are_told_apart_and_the_chosen_one_opens(tmp_path):
    folder = two_patients(tmp_path / "study")
    series = list_series(folder)
    assert sorted(s.uid for s in series) == ["p1/ct.nii.gz", "p2/ct.nii.gz"]
    for info in series:
        assert info.uid in info.description
        np.testing.assert_array_equal(
            open_ct(folder, info.uid).hu, open_ct(info.files[0]).hu
        )
    with pytest.raises(SeveralSeriesError, match=r"p1/ct\.nii[^$]*p2/ct\.nii"):
        open_ct(folder)
    with pytest.raises(CaseError, match=r"holds no series 'ct\.nii\.gz'"):
        open_ct(folder, "ct.nii.gz")


def test_files_of_one_name_in_a_zip_are_told_apart(tmp_path):
    folder = two_patients(tmp_path / "study")
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    assert len({s.uid for s in list_series(archive)}) == 2
    second = open_ct(archive, "p2/ct.nii.gz")
    np.testing.assert_array_equal(second.hu, ct() + 1)


def test_endings_tell_files_of_one_folder_apart(tmp_path):
    write(tmp_path / "ct.nii")
    write(tmp_path / "ct.nrrd")
    assert {s.description for s in list_series(tmp_path)} == {"ct.nii", "ct.nrrd"}
    (alone,) = list_series(tmp_path / "ct.nrrd")
    assert (alone.uid, alone.description) == ("ct.nrrd", "ct")


def test_a_uid_of_two_series_is_refused_rather_than_guessed(tmp_path, monkeypatch):
    folder = two_patients(tmp_path / "study")
    # No listing of ours is like this; the next reader of a format may make one.
    twins = [
        replace(s, info=replace(s.info, uid="twin")) for s in find_in_folder(folder)
    ]
    monkeypatch.setattr("napari_liverseg.io.open.find_series", lambda _: tuple(twins))
    with pytest.raises(CaseError, match="2 series called 'twin'"):
        open_ct(folder, "twin")


def test_a_broken_volume_is_not_passed_over_for_the_file_beside_it(tmp_path):
    write(tmp_path / "labels.nii.gz")
    (tmp_path / "venous.nii.gz").write_bytes(b"cut short")
    with pytest.raises(SeveralSeriesError, match="cannot be opened: 'venous"):
        open_ct(tmp_path)


def test_a_picture_beside_the_only_volume_is_passed_over(tmp_path):
    write(tmp_path / "ct.nii.gz")
    nifti(tmp_path / "picture.nii", ct().T[..., 0])
    assert open_ct(tmp_path).name == "ct"


def test_listing_a_broken_file_tells_of_it_without_raising(tmp_path):
    (tmp_path / "a.nii").write_text("no")
    (info,) = list_series(tmp_path / "a.nii")
    assert codes(info.errors) == {"unreadable-file"}
    assert not info.suggested


def test_values_that_are_not_hu_are_noticed(tmp_path):
    grey = (ct() % 256).astype(np.uint8)
    assert codes(list_series(write(tmp_path / "g.mha", grey))[0].problems) == {
        "not-hounsfield"
    }
    assert "not-hounsfield" in codes(open_ct(tmp_path / "g.mha").problems)
    path = write(tmp_path / "i.mha", grey.astype(np.int16))
    assert "8-bit" in open_ct(path).problems[0].message
    assert open_ct(write(tmp_path / "hu.mha")).problems == ()


@pytest.mark.parametrize(
    "grid",
    [
        "spacings: 0.7 0.8 2.5\n",
        "space: scanner-xyz\nspace directions: (0.7,0,0) (0,0.8,0) (0,0,2.5)\n",
        "space: 3D-right-handed\nspace directions: (0.7,0,0) (0,0.8,0) (0,0,2.5)\n",
    ],
)
def test_nrrd_without_a_patients_space_is_told(tmp_path, grid):
    header = (
        f"NRRD0004\ntype: short\ndimension: 3\n{grid}sizes: 20 24 7\n"
        "encoding: raw\nendian: little\n\n"
    )
    path = tmp_path / "plain.nrrd"
    path.write_bytes(header.encode() + ct().astype("<i2").tobytes())
    volume = open_ct(path)
    assert codes(volume.problems) == {"unclear-orientation"}
    np.testing.assert_array_equal(volume.hu, ct())


@pytest.mark.parametrize(("letters", "told"), [("LPI", True), ("RAI", False)])
def test_mha_whose_letters_stand_without_a_matrix_is_told(tmp_path, letters, told):
    path = write(tmp_path / "case.mha")
    head, mark, voxels = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    lines = head.replace(b"= RAI", f"= {letters}".encode()).splitlines(keepends=True)
    assert codes(open_ct(path).problems) == set()
    path.write_bytes(
        b"".join(x for x in lines if b"TransformMatrix" not in x) + mark + voxels
    )
    volume = open_ct(path)
    assert codes(volume.problems) == ({"unclear-orientation"} if told else set())
    if told:
        assert "LPI" in volume.problems[0].message


def test_a_compressed_mha_of_the_wrong_length_is_refused(tmp_path):
    path = write(tmp_path / "case.mha")
    head, _, _ = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    short = zlib.compress(ct().tobytes()[:-10])
    path.write_bytes(head + b"ElementDataFile = LOCAL\n" + short)
    refused(path, "case")


def test_real_files_open():
    volume = open_ct(real("abdomen-3mm/ct.nii.gz"))
    assert volume.hu.dtype == np.int16
    assert volume.geometry.shape == (112, 101, 122)
    assert volume.reorientation.flips == (False, True, True)
    assert volume.problems == ()
    assert open_ct(real("slicer/CTChest4.nrrd")).problems == ()


def test_real_grey_values_are_noticed():
    volume = open_ct(real("odd/uint8-not-hu.mha"))
    assert codes(volume.problems) == {"not-hounsfield"}
    assert volume.reorientation.flips == (True, True, False)


def test_geometry_survives_simpleitk():
    grid = oblique()
    assert geometry_of(to_image(ct(), grid)).matches(grid, 1e-9)

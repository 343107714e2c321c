"""Series are listed with what is wrong with them, by code and without pixels."""

import time
from dataclasses import replace

import numpy as np
import pydicom
import pytest

from dicom_factory import Style, write_enhanced, write_series
from io_cases import GRID, codes, ct, oblique, real, turned
from napari_liverseg.core.errors import CaseError
from napari_liverseg.io.kernel import SHARP, SOFT, UNKNOWN, sharpness
from napari_liverseg.io.scan import list_series, scan_folder


def only(folder):
    (info,) = scan_folder(folder)
    return info


def test_a_plain_series_has_no_problem(tmp_path):
    write_series(tmp_path / "deep" / "er", ct(), GRID, Style(ending=""))
    (tmp_path / "readme.txt").write_text("not DICOM " * 100)
    info = only(tmp_path)
    assert info.problems == ()
    assert info.loadable
    assert info.suggested
    assert info.shape == GRID.shape
    assert info.spacing_mm == pytest.approx(GRID.spacing_mm)
    assert (info.orientation, info.kernel, info.modality) == ("axial", "Br40", "CT")
    assert len(info.files) == 7


@pytest.mark.parametrize(
    ("style", "code", "decision"),
    [
        (Style(drop=(3,)), "missing-slices", None),
        (Style(drop=(2, 3)), "missing-slices", None),
        (Style(repeat=(4,)), "duplicate-positions", "keep-first"),
        (Style(shift_mm={3: 0.6}), "uneven-spacing", "resample"),
        (Style(lean_mm=0.5), "gantry-tilt", "resample"),
        (Style(drop=(0, 1, 2, 3, 4, 5)), "single-slice", None),
        (Style(image_type=("ORIGINAL", "PRIMARY", "LOCALIZER")), "localizer", None),
        (Style(modality="MR"), "not-ct", None),
    ],
)
def test_errors_refuse_and_name_the_decision(tmp_path, style, code, decision):
    write_series(tmp_path, ct(), GRID, style)
    (error,) = only(tmp_path).errors
    assert (error.code, error.decision) == (code, decision)
    assert not only(tmp_path).loadable
    assert only(tmp_path).loadable_with([decision]) is (decision is not None)


def test_missing_slices_are_named_by_their_neighbours(tmp_path):
    write_series(tmp_path, ct(), GRID, Style(drop=(3,)))
    message = only(tmp_path).errors[0].message
    assert "1 between 'IM0003.dcm' (-26.5 mm) and 'IM0004.dcm' (-21.5 mm)" in message
    assert "2.5 mm apart" in message


def test_a_change_of_spacing_is_not_missing_slices(tmp_path):
    write_series(tmp_path, ct((11, 6, 5)), GRID, Style(drop=(5, 7, 9), prefix="A"))
    assert codes(only(tmp_path).errors) == {"uneven-spacing"}


@pytest.mark.parametrize("apart_mm", [0.03, 1.1])
def test_two_scans_that_lie_between_each_other_are_never_mixed(tmp_path, apart_mm):
    z, y, x = GRID.origin_mm
    grids = (GRID, replace(GRID, origin_mm=(z + apart_mm, y, x)))
    for number, grid in enumerate(grids, start=1):
        for file in write_series(tmp_path, ct(), grid, Style(prefix=f"S{number}")):
            dataset = pydicom.dcmread(file)
            dataset.AcquisitionNumber = number
            dataset.save_as(file)
    (error,) = only(tmp_path).errors
    assert (error.code, error.decision) == ("not-a-volume", None)
    assert "two phases" in error.message
    assert "S10001.dcm" in error.message
    assert only(tmp_path).may_be_meant


def test_rounded_positions_are_even(tmp_path):
    shifts = {k: 0.05 * (-1) ** k for k in range(7)}
    write_series(tmp_path, ct(), GRID, Style(shift_mm=shifts))
    assert only(tmp_path).problems == ()


def test_slice_thickness_is_told_but_not_believed(tmp_path):
    write_series(tmp_path, ct(), GRID, Style(thickness_mm=5.0))
    (note,) = only(tmp_path).problems
    assert (note.code, note.severity) == ("thickness-differs", "note")
    assert only(tmp_path).spacing_mm[0] == pytest.approx(2.5)


def test_mixed_orientation_and_mixed_shape(tmp_path):
    write_series(tmp_path / "a", ct(), GRID)
    coronal, grid = turned(ct(), GRID, (1, 0, 2))
    write_series(tmp_path / "a", coronal, grid, Style(prefix="COR"))
    problems = codes(only(tmp_path / "a").errors)
    assert "mixed-orientation" in problems
    assert "mixed-shape" in problems
    write_series(tmp_path / "b", ct(), GRID)
    write_series(tmp_path / "b", ct()[:, :20], GRID, Style(prefix="CUT"))
    assert codes(only(tmp_path / "b").errors) == {"mixed-shape"}


def test_a_localizer_inside_a_series_is_a_series_of_its_own(tmp_path):
    write_series(tmp_path, ct(), GRID)
    view, grid = turned(ct(), GRID, (2, 0, 1))
    kind = ("ORIGINAL", "PRIMARY", "LOCALIZER")
    write_series(tmp_path, view[:2], grid, Style(prefix="LOC", image_type=kind))
    axial, localizer = scan_folder(tmp_path)
    assert axial.suggested
    assert axial.problems == ()
    assert codes(localizer.errors) == {"localizer"}


def test_oblique_is_a_warning(tmp_path):
    write_series(tmp_path, ct(), oblique())
    (warning,) = only(tmp_path).problems
    assert (warning.code, warning.severity) == ("oblique", "warning")


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_truncated_slices_are_told_of(tmp_path, keep):
    files = write_series(tmp_path, ct(), GRID)
    whole = files[3].read_bytes()
    files[3].write_bytes(whole[: int(len(whole) * keep)])
    assert "unreadable-file" in codes(only(tmp_path).errors)
    message = next(p.message for p in only(tmp_path).errors)
    assert "IM0004.dcm" in message
    assert str(tmp_path) not in message


def test_every_truncation_is_refused_in_words(tmp_path):
    files = write_series(tmp_path / "all", ct((3, 6, 5)), GRID)
    whole = files[1].read_bytes()
    for length in range(0, len(whole) - 1, 7):
        files[1].write_bytes(whole[:length])
        assert "unreadable-file" in codes(only(tmp_path / "all").errors), length


@pytest.mark.parametrize("left", [b"", bytes(132), bytes(4000), None])
@pytest.mark.parametrize("names", ["IM", "1.2.840."])
def test_a_slice_that_copying_left_blank_is_told_of(tmp_path, left, names):
    files = write_series(tmp_path, ct(), GRID, Style(ending="", prefix=names))
    files[-1].unlink()
    if left is None:  # what a link or a cloud's stand-in points to is not there
        files[-1].symlink_to(tmp_path / "gone")
    else:
        files[-1].write_bytes(left)
    (tmp_path / "empty.txt").touch()
    assert codes(only(tmp_path).errors) == {"unreadable-file"}
    assert files[-1].name in only(tmp_path).errors[0].message
    (one,) = list_series(files[0])
    assert codes(one.errors) == {"unreadable-file"}


def test_files_of_other_names_may_be_blank(tmp_path):
    write_series(tmp_path, ct(), GRID)
    for name in ("empty.txt", "VERSION", ".hidden"):
        (tmp_path / name).touch()
    assert not only(tmp_path).errors


def test_a_truncated_rle_slice_is_told_of(tmp_path):
    files = write_series(tmp_path, ct(), GRID, Style(syntax="rle"))
    files[2].write_bytes(files[2].read_bytes()[:-30])
    assert codes(only(tmp_path).errors) == {"unreadable-file"}


def test_the_biggest_axial_soft_series_is_suggested(tmp_path):
    hu = ct((20, 6, 5))
    sharp = Style(series_uid="1.2.3", kernel="Br70", description="sharp")
    soft = Style(series_uid="1.2.4", kernel="Br40", description="soft")
    small = Style(series_uid="1.2.5", kernel="Br36", description="small")
    coronal, grid = turned(hu, GRID, (1, 0, 2))
    write_series(tmp_path / "1", hu, GRID, sharp)
    write_series(tmp_path / "2", hu, GRID, soft)
    write_series(tmp_path / "3", hu[:5], GRID, small)
    write_series(tmp_path / "4", coronal, grid, Style(series_uid="1.2.6"))
    series = scan_folder(tmp_path)
    assert [s.description for s in series if s.suggested] == ["soft"]
    assert len(series) == 4


def test_series_without_a_uid_stay_apart_by_description(tmp_path):
    write_series(tmp_path, ct(), GRID, Style(series_uid="", description="one"))
    other = Style(series_uid="", description="two", prefix="B")
    write_series(tmp_path, ct(), GRID, other)
    assert {s.description for s in scan_folder(tmp_path)} == {"one", "two"}


def test_one_file_stands_for_its_series(tmp_path):
    files = write_series(tmp_path, ct(), GRID)
    write_series(tmp_path, ct(), GRID, Style(series_uid="1.2.9", prefix="X"))
    (info,) = list_series(files[4])
    assert sorted(info.files) == files


def test_one_file_stands_for_its_series_among_what_macos_leaves(tmp_path):
    files = write_series(tmp_path, ct(), GRID)
    for file in files:
        (tmp_path / f"._{file.name}").write_bytes(b"\0\5\x16\7" + bytes(200))
    for path in (files[4], tmp_path):
        (info,) = list_series(path)
        assert not info.errors


def test_enhanced_ct_is_one_series(tmp_path):
    write_enhanced(tmp_path / "e.dcm", ct(), GRID)
    info = only(tmp_path)
    assert info.shape == GRID.shape
    assert info.spacing_mm == pytest.approx(GRID.spacing_mm)
    assert not info.errors


def test_frames_that_nothing_describes_are_not_left_out(tmp_path):
    path = write_enhanced(tmp_path / "e.dcm", ct(), GRID)
    dataset = pydicom.dcmread(path)
    del dataset.PerFrameFunctionalGroupsSequence[-1]
    dataset.save_as(path)
    assert codes(only(tmp_path).errors) == {"unreadable-file"}


def test_nothing_there_is_said_in_words(tmp_path):
    assert scan_folder(tmp_path) == ()
    with pytest.raises(CaseError, match="does not exist"):
        list_series(tmp_path / "missing")


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        ("B40f", SOFT),
        ("B70f", SHARP),
        ("Br38f/3", SOFT),
        ("STANDARD", SOFT),
        ("BONEPLUS", SHARP),
        ("FC08", SOFT),
        ("FC51", SHARP),
        ("B", SOFT),
        ("", UNKNOWN),
        ("000000", UNKNOWN),
    ],
)
def test_sharpness(kernel, expected):
    assert sharpness(kernel) == expected


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("dicom-edge/gantry-tilt", {"gantry-tilt", "oblique"}),
        ("dicom-edge/missing-slice", {"missing-slices"}),
        ("dicom-edge/enhanced-ct", {"not-hounsfield"}),
        ("dicom-edge/oblique", {"oblique"}),
        ("dicom-edge/transfer-syntaxes", {"duplicate-positions", "single-slice"}),
        ("dicom-seg/ct", {"thickness-differs"}),
        ("dicom-seg", {"thickness-differs"}),
        ("rtstruct", {"single-slice"}),
        ("abdomen-dicom-j2k", {"thickness-differs"}),
    ],
)
def test_real_folders_have_their_problems(folder, expected):
    assert codes(only(real(folder)).problems) == expected


def test_real_spacing_comes_from_positions():
    assert only(real("abdomen-dicom-j2k")).spacing_mm[0] == pytest.approx(2.0)


def test_of_two_kernels_the_soft_one_is_suggested():
    series = scan_folder(real("chest-two-series"))
    assert len(series) == 2
    assert [s.kernel for s in series if s.suggested] == ["B40f"]


def test_objects_beside_images_are_no_series():
    info = list_series(real("rtstruct/rtss.dcm"))[0]
    assert codes(info.errors) == {"not-ct"}
    assert info.modality == "RTSTRUCT"


def test_500_slices_are_scanned_in_seconds(tmp_path):
    hu = np.zeros((500, 4, 4), np.int16)
    write_series(tmp_path, hu, GRID)
    scan_folder(tmp_path)
    start = time.process_time()
    assert only(tmp_path).shape[0] == 500
    assert time.process_time() - start < 2.0

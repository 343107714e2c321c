"""Pictures with a class each: whose they are, and classes that lack pictures."""

import numpy as np
import pytest

from dicom_factory import Style, write_series
from napari_liverseg.core.errors import CaseError
from napari_liverseg.core.geometry import Geometry
from napari_liverseg.io.labelled_pictures import find_pictures
from picture_case import ROWS, make_pictures, write_list, write_png


def write_slices(folder, patient, count):
    grid = Geometry((count, 8, 9), (3.0, 0.8, 0.8), (0.0, 0.0, 0.0))
    style = Style(patient_id=patient, prefix=f"{patient}-")
    return write_series(folder, np.full(grid.shape, -100.0), grid, style)


def test_slices_in_dicom_belong_to_the_patient_of_their_header(tmp_path):
    for label in ("none", "tumour"):
        for patient in ("p1", "p2"):
            write_slices(tmp_path / "set" / label, patient, 3)
    found = find_pictures(tmp_path / "set")
    assert len({picture.patient for picture in found.pictures}) == 2
    assert found.note.endswith("by the patients that the data set names.")
    for picture in found.pictures:
        assert "p1" not in picture.patient, "the header's ID is kept nowhere"
    files = sorted((tmp_path / "set").rglob("*.dcm"))
    rows = [(f.relative_to(tmp_path), f.parent.name, "") for f in files]
    listed = find_pictures(write_list(tmp_path / "list.csv", rows))
    assert len({picture.patient for picture in listed.pictures}) == 2


def test_slices_of_nobody_in_particular_count_one_by_one(tmp_path):
    for label in ("none", "tumour"):
        write_slices(tmp_path / label, "ANONYMOUS", 3)
    found = find_pictures(tmp_path)
    assert len({picture.patient for picture in found.pictures}) == 6
    assert "Of 6 pictures no patient is named" in found.note


def test_a_folder_that_names_the_patient_wins_over_headers(tmp_path):
    for label, patient in (("none", "a"), ("tumour", "b")):
        write_slices(tmp_path / label / patient, "p1", 2)
    patients = {picture.patient for picture in find_pictures(tmp_path).pictures}
    assert patients == {"a", "b"}


def test_a_slice_that_its_header_alone_names_joins_those_of_the_list(tmp_path):
    for label in ("none", "tumour"):
        for patient in ("p1", "p2"):
            write_slices(tmp_path / "set" / label, patient, 2)
    files = sorted((tmp_path / "set").rglob("*.dcm"))
    rows = [
        (f.relative_to(tmp_path), f.parent.name, "anna" * f.name.startswith("p1-"))
        for f in files
    ]
    rows[0] = (*rows[0][:2], "")
    assert files[0].name.startswith("p1-")
    found = find_pictures(write_list(tmp_path / "list.csv", rows)).pictures
    assert [picture.path for picture in found] == files
    assert {p.patient for p in found if p.path.name.startswith("p1-")} == {
        found[0].patient
    }
    assert len({picture.patient for picture in found}) == 2


@pytest.mark.parametrize(
    "column",
    [
        *("patient", "subject", "patient_id", "subject_id"),
        *("PatientID", "Patient ID", "patientId", "Patient-ID", "subjectID"),
    ],
)
def test_a_list_may_call_its_patients_as_lists_of_cts_may(tmp_path, column):
    for number in range(4):
        write_png(tmp_path / f"{number}.png", np.full((ROWS, ROWS), number / 4))
    rows = [(f"{n}.png", "ab"[n % 2], f"p{n // 2}") for n in range(4)]
    listed = write_list(tmp_path / "list.csv", rows, ("path", "label", column))
    patients = [picture.patient for picture in find_pictures(listed).pictures]
    assert patients == ["p0", "p0", "p1", "p1"]


def test_a_class_without_pictures_is_not_left_out_in_silence(tmp_path):
    folder = make_pictures(tmp_path / "set", patients=2)
    (folder / "cyst").mkdir()
    (folder / "cyst" / "notes.txt").write_text("to come")
    with pytest.raises(CaseError, match="'cyst' holds no picture"):
        find_pictures(folder)


def test_capitals_and_spaces_in_a_heading_do_not_count(tmp_path):
    data = make_pictures(tmp_path / "data", patients=2)
    files = sorted(data.rglob("*.png"))
    rows = [(f.relative_to(tmp_path), f.parts[-3], f.parts[-2]) for f in files]
    heading = ("Path", " label", " Patient")
    found = find_pictures(write_list(tmp_path / "list.csv", rows, heading))
    assert len({picture.patient for picture in found.pictures}) == 4
    assert found.note.endswith("by the patients that the data set names.")


def test_a_missing_picture_is_named_by_its_line(tmp_path):
    (tmp_path / "list.csv").write_text("path,label\n\n\ngone.png,none\n")
    with pytest.raises(CaseError, match="names files that are not there: line 4"):
        find_pictures(tmp_path / "list.csv")


def test_every_bad_line_of_a_list_is_named_at_once(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("path,label\na.png,\ngone.png,none\n,tumour\nlost.png,none\n")
    with pytest.raises(CaseError) as refusal:
        find_pictures(path)
    said = str(refusal.value)
    assert "lacks a path or a label in line 2, line 4" in said
    assert "names files that are not there: line 3, line 5." in said
    path.write_text("path,label\n" + "a.png,\n" * 13)
    with pytest.raises(CaseError, match="line 10, line 11 and 3 more"):
        find_pictures(path)


def test_one_class_that_is_written_in_two_ways_is_refused(tmp_path):
    write_png(tmp_path / "a.png", np.zeros((ROWS, ROWS)))
    write_png(tmp_path / "b.png", np.ones((ROWS, ROWS)))
    rows = [("a.png", "Tumour", "p1"), ("b.png", "tumour", "p2")]
    with pytest.raises(CaseError, match="differ in capitals alone"):
        find_pictures(write_list(tmp_path / "list.csv", rows))

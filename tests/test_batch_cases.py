"""Each CT of a folder or a list is one case with a name of its own."""

from __future__ import annotations

import pytest

import io_cases
from dicom_factory import write_series
from io_cases import GRID
from napari_liverseg.batch.cases import find_cases
from napari_liverseg.core.errors import CaseError


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(source, output):
    return {case.name: case.path for case in find_cases(source, output)}


def test_files_zips_and_dicom_folders_are_cases_at_any_depth(tmp_path):
    out = tmp_path / "out"
    touch(
        tmp_path / "a.nii.gz",
        tmp_path / "p1" / "ct.nrrd",
        tmp_path / "p2" / "ct.MHA",
        tmp_path / "study.ZIP",
        tmp_path / "notes.txt",
        tmp_path / ".hidden" / "b.nii",
        tmp_path / "p1" / "._ct.nrrd",
        out / "a" / "labels.nii.gz",
    )
    write_series(tmp_path / "p3" / "axial", io_cases.ct(), GRID)
    assert names(tmp_path, out) == {
        "a": tmp_path / "a.nii.gz",
        "p1_ct": tmp_path / "p1" / "ct.nrrd",
        "p2_ct": tmp_path / "p2" / "ct.MHA",
        "p3_axial": tmp_path / "p3" / "axial",
        "study": tmp_path / "study.ZIP",
    }


def test_results_of_earlier_batches_are_no_cases(tmp_path):
    """They may lie among the CTs, or in the folder of another run."""
    for folder in (tmp_path / "a", tmp_path / "other" / "a"):
        made = ("labels.nii.gz", "report.json", "liver_probability.nii.gz")
        touch(*(folder / name for name in made))
    touch(tmp_path / "a.nii", tmp_path / "mine" / "labels.nii.gz")
    for out in (tmp_path, tmp_path / "out"):
        assert set(names(tmp_path, out)) == {"a", "mine_labels"}


def test_a_dicom_folder_is_one_case_with_the_folders_inside_it(tmp_path):
    write_series(tmp_path / "study", io_cases.ct(), GRID)
    write_series(tmp_path / "study" / "more", io_cases.ct(), GRID)
    touch(tmp_path / "study" / "beside.nii")
    found = names(tmp_path, tmp_path / "out")
    assert set(found) == {"study", "study_beside"}
    assert set(names(tmp_path / "study", tmp_path / "out")) == {"study", "beside"}


def test_a_dicomdir_stands_for_no_case(tmp_path):
    write_series(tmp_path / "disc" / "axial", io_cases.ct(), GRID)
    (tmp_path / "disc" / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    assert set(names(tmp_path, tmp_path / "out")) == {"disc_axial"}


@pytest.mark.parametrize("other", ["a.nrrd", "A.nii"])
def test_names_that_clash_are_refused(tmp_path, other):
    touch(tmp_path / "a.nii", tmp_path / other)
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this disk holds both names to be one")
    with pytest.raises(CaseError, match=r"(?i)two cases.*'a'.*list.csv"):
        find_cases(tmp_path, tmp_path / "out")


def test_a_folder_without_cases_is_refused(tmp_path):
    touch(tmp_path / "notes.txt")
    for source in (tmp_path, tmp_path / "notes.txt", tmp_path / "none"):
        with pytest.raises(CaseError):
            find_cases(source, tmp_path / "out")


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_list_names_cases_and_series(tmp_path, separator):
    rows = [
        "path,name,series,remark",
        "scans/one.nii.gz,,,first",
        "study,liver-2,1.2.3,",
    ]
    listed = tmp_path / "list.csv"
    text = "\n".join(rows).replace(",", separator)
    listed.write_text(f"\ufeff{text}\n", encoding="utf-8")
    (tmp_path / "study").mkdir()
    second, first = find_cases(listed, tmp_path / "out")
    assert (first.name, first.path, first.series) == (
        "one",
        tmp_path / "scans" / "one.nii.gz",
        None,
    )
    assert (second.name, second.series) == ("liver-2", "1.2.3")
    assert "liver" not in repr(second)


@pytest.mark.parametrize("head", ["path, name, series", " Path,Name ,SERIES"])
def test_columns_are_known_however_they_are_typed(tmp_path, head):
    """A name that is not seen would leave that of the file, and so of a patient."""
    (tmp_path / "list.csv").write_text(f"{head}\nDoe.nii, P1, 1.2\n")
    (case,) = find_cases(tmp_path / "list.csv", tmp_path / "out")
    assert (case.name, case.series) == ("P1", "1.2")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file\na.nii\n", "no column 'path'"),
        ("path,name\na.nii,x\n\n\n,y\n", "Line 5"),
        ("path,name\na.nii,x\n,y\n", "Line 3"),
        ("path,name\na.nii,../x\n", "Line 2"),
        ("path,name\na.nii,.x\n", "Line 2"),
        ("path,name\na.nii,Summary.csv\n", "Line 2"),
        ("path,name\na.nii,x\nb.nii,X\n", "Two cases"),
        ("path\n", "holds no CT"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(tmp_path, text, said):
    listed = tmp_path / "list.csv"
    listed.write_text(text)
    with pytest.raises(CaseError, match=said):
        find_cases(listed, tmp_path / "out")


LONG = "x" * 200_000


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,name\na.nii,x\n~nobodyatall/x.nii,y\n", "Line 3 of.*whole path"),
        ("path,name\na\0.nii,x\n", "Line 2 of.*no file here"),
        (f"path\na.nii\n{LONG[:5000]}\n", "Line 3 of.*no file here"),
        (f"path,name\na.nii,x\nb.nii,{LONG}\n", "Line 3 of.*quotation mark"),
        (f'path,name\na.nii,x\nb.nii,"\n{LONG}\n', "begins in line 3 of"),
        (f"path,{LONG}\na.nii,x\n", "Line 1 of.*quotation mark"),
    ],
    ids=["home", "zero", "long", "field", "quotation", "heading"],
)
def test_a_line_that_no_list_can_have_is_named(tmp_path, text, said):
    listed = tmp_path / "list.csv"
    listed.write_text(text)
    with pytest.raises(CaseError, match=said):
        find_cases(listed, tmp_path / "out")


def test_a_list_that_is_no_text_is_refused(tmp_path):
    listed = tmp_path / "list.csv"
    listed.write_bytes("path\nmüller.nii\n".encode("latin-1"))
    with pytest.raises(CaseError, match="UTF-8"):
        find_cases(listed, tmp_path / "out")

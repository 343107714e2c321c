"""The table of a batch is whole after each case and forgets no earlier one."""

from __future__ import annotations

import csv
import json
import os
import shutil
from dataclasses import replace

import pytest

from napari_liverseg.batch.cases import Case
from napari_liverseg.batch.finished import ct_files, finished
from napari_liverseg.batch.order import Wish
from napari_liverseg.batch.sight import sight_of
from napari_liverseg.batch.summary import COLUMNS, Row, Summary
from napari_liverseg.core.errors import ExportError
from napari_liverseg.core.probabilities import Thresholds
from napari_liverseg.inference.options import RunOptions
from tiny_model import tiny_spec

SHA = "ab" * 32


def read(folder):
    with (folder / "summary.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_rows_are_added_replaced_and_kept(tmp_path):
    first = Summary(tmp_path)
    first.put(Row("b", "done", 1500.5, 0.0, 0, 12.3, "cpu", SHA))
    first.put(Row("a", "refused", problems='It has "two\nlines", and a comma.'))
    second = Summary(tmp_path)
    second.put(Row("b", "skipped"), Row("c", "done"))
    rows = read(tmp_path)
    assert tuple(rows[0]) == COLUMNS
    assert [(row["name"], row["status"]) for row in rows] == [
        ("a", "refused"),
        ("b", "skipped"),
        ("c", "done"),
    ]
    assert rows[0]["problems"] == 'It has "two lines", and a comma.'
    assert (rows[0]["liver_ml"], rows[1]["liver_ml"]) == ("", "")
    assert [p.name for p in tmp_path.iterdir()] == ["summary.csv"]


@pytest.mark.parametrize("content", [b"my,own,table\n1,2,3\n", b"\xff\xfe\x00", b""])
def test_a_table_of_somebody_else_is_left_alone(tmp_path, content):
    (tmp_path / "summary.csv").write_bytes(content)
    with pytest.raises(ExportError, match=r"summary\.csv"):
        Summary(tmp_path)
    assert (tmp_path / "summary.csv").read_bytes() == content


@pytest.fixture
def wish():
    return Wish(tiny_spec(sha256=SHA), Thresholds(liver=0.4))


@pytest.fixture
def case(tmp_path):
    path = tmp_path / "a.nii"
    path.write_text("a CT")
    os.utime(path, (1_000_000, 1_000_000))
    return Case("a", path)


def leave_result(folder, **changes):
    report = {
        "case": "digest",
        "sha256": SHA,
        "version": "1.2",
        "device": "cpu",
        "thresholds": {"liver": 0.4, "tumour": None},
        "options": {"look": "liver", "mirror": False},
        "decisions": [],
        "notes": [],
        "volumes_ml": {"liver": 1.0, "tumour": 0.0},
        "lesions": {"count": 0, "volumes_ml": []},
        "seconds": 1.0,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.nii.gz").write_text("labels")
    (folder / "report.json").write_text(json.dumps({**report, **changes}))


def test_the_same_result_is_not_made_again(tmp_path, wish, case):
    assert finished(case, tmp_path / "out", wish) is None
    leave_result(tmp_path / "out" / "a")
    report = finished(case, tmp_path / "out", wish)
    assert report["volumes_ml"]["liver"] == 1.0
    allowed = Wish(wish.model, wish.thresholds, ("resample",))
    assert finished(case, tmp_path / "out", allowed) == report


@pytest.mark.parametrize(
    "changes",
    [
        {"sha256": "cd" * 32},
        {"version": "1.3"},
        {"thresholds": {"liver": None, "tumour": None}},
        {"decisions": ["resample"]},
        {"options": {"look": "everywhere", "mirror": False}},
        {"options": {"look": "liver", "mirror": True}},
        {"options": None},
        {"notes": None, "volumes_ml": 7},
    ],
)
def test_another_result_is_in_the_way(tmp_path, wish, case, changes):
    leave_result(tmp_path / "out" / "a", **changes)
    with pytest.raises(ExportError, match=r"another result.*--overwrite"):
        finished(case, tmp_path / "out", wish)
    agreed = Wish(wish.model, wish.thresholds, overwrite=True)
    assert finished(case, tmp_path / "out", agreed) is None


def test_a_model_that_was_copied_and_dated_anew_is_the_same(tmp_path, wish, case):
    """The date of an nnU-Net's files is its version."""
    leave_result(tmp_path / "out" / "a", version="1.3", model_digest=wish.model_digest)
    assert finished(case, tmp_path / "out", wish)
    leave_result(tmp_path / "out" / "a", model_digest="another")
    with pytest.raises(ExportError, match="another result"):
        finished(case, tmp_path / "out", wish)


def test_a_result_of_the_same_options_counts(tmp_path, wish, case):
    asked = replace(wish, options=RunOptions(look="body", mirror=True))
    leave_result(tmp_path / "out" / "a", options={"look": "body", "mirror": True})
    assert finished(case, tmp_path / "out", asked)
    with pytest.raises(ExportError, match="other options"):
        finished(case, tmp_path / "out", wish)


def test_a_result_older_than_its_ct_is_in_the_way(tmp_path, wish, case):
    leave_result(tmp_path / "out" / "a")
    os.utime(case.path)
    os.utime(tmp_path / "out" / "a" / "labels.nii.gz", (2_000_000, 2_000_000))
    with pytest.raises(ExportError, match="older CT"):
        finished(case, tmp_path / "out", wish)


def test_a_result_of_another_series_is_in_the_way(tmp_path, wish, case):
    from napari_liverseg.io.keys import series_key

    chosen = Case("a", case.path, "1.2.3")
    leave_result(tmp_path / "out" / "a", case=series_key("1.2.3", ()))
    assert finished(chosen, tmp_path / "out", wish)
    leave_result(tmp_path / "out" / "a", case=series_key("1.2.4", ()))
    with pytest.raises(ExportError):
        finished(chosen, tmp_path / "out", wish)


def _known(case):
    return ct_files(case, sight_of(case.path.resolve()))


@pytest.fixture
def study(tmp_path):
    """A folder of two files that are older than any result."""
    for name in ("1.dcm", "inner/2.dcm"):
        file = tmp_path / "study" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(name)
        os.utime(file, (1_000_000, 1_000_000))
    return tmp_path / "study"


def test_a_result_of_another_ct_of_the_same_name_is_in_the_way(tmp_path, wish, case):
    leave_result(tmp_path / "out" / "a", ct_files=_known(case))
    assert finished(case, tmp_path / "out", wish)
    other = case.path.with_name("b.nii")
    shutil.copy2(case.path, other)
    with pytest.raises(ExportError, match="another or an older CT"):
        finished(Case("a", other), tmp_path / "out", wish)
    case.path.write_text("another CT")
    os.utime(case.path, (1_000_000, 1_000_000))
    with pytest.raises(ExportError, match="another or an older CT"):
        finished(case, tmp_path / "out", wish)
    assert finished(case, tmp_path / "out", replace(wish, overwrite=True)) is None


def test_a_ct_that_is_gone_is_not_taken_for_the_one_it_was(tmp_path, wish, case):
    leave_result(tmp_path / "out" / "a", ct_files=_known(case))
    case.path.unlink()
    assert finished(case, tmp_path / "out", wish) is None


def test_a_disk_that_is_mounted_elsewhere_holds_the_same_cts(tmp_path, wish, study):
    leave_result(tmp_path / "out" / "a", ct_files=_known(Case("a", study)))
    moved = study.rename(tmp_path / "elsewhere")
    assert finished(Case("a", moved), tmp_path / "out", wish)
    (moved / "1.dcm").rename(moved / "3.dcm")
    with pytest.raises(ExportError, match="another or an older CT"):
        finished(Case("a", moved), tmp_path / "out", wish)


def test_a_file_that_a_list_names_counts_and_a_uid_may_be_added(tmp_path, wish, study):
    from napari_liverseg.io.keys import series_key

    first = Case("a", study, "1.dcm")
    leave_result(tmp_path / "out" / "a", ct_files=_known(first))
    assert finished(first, tmp_path / "out", wish)
    with pytest.raises(ExportError):
        finished(Case("a", study, "inner/2.dcm"), tmp_path / "out", wish)
    known = {"case": series_key("1.2.3", ()), "ct_files": _known(Case("a", study))}
    leave_result(tmp_path / "out" / "a", **known)
    assert finished(Case("a", study, "1.2.3"), tmp_path / "out", wish)


@pytest.mark.parametrize("missing", ["labels.nii.gz", "report.json"])
def test_half_a_result_is_in_the_way(tmp_path, wish, case, missing):
    leave_result(tmp_path / "out" / "a")
    (tmp_path / "out" / "a" / missing).unlink()
    with pytest.raises(ExportError):
        finished(case, tmp_path / "out", wish)

"""The table of a batch is whole after each case and forgets no earlier one."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from cluster_case import Quiet
from napari_liverseg.batch.cases import Case
from napari_liverseg.batch.finished import ct_files, finished
from napari_liverseg.batch.order import Wish
from napari_liverseg.batch.run import Batch
from napari_liverseg.batch.sight import sight_of
from napari_liverseg.batch.summary import COLUMNS, Row, Summary
from napari_liverseg.cli import batch as command
from napari_liverseg.core.errors import ExportError
from napari_liverseg.core.probabilities import Thresholds
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.models.store import find_model
from tiny_model import tiny_spec, write_random_model

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


def _known(case):
    return ct_files(case, sight_of(case.path.resolve()))


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
    leave_result(tmp_path / "out" / "a", ct_files=_known(case))
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
    leave_result(tmp_path / "out" / "a", **{"ct_files": _known(case), **changes})
    with pytest.raises(ExportError, match=r"another result.*--overwrite"):
        finished(case, tmp_path / "out", wish)
    agreed = Wish(wish.model, wish.thresholds, overwrite=True)
    assert finished(case, tmp_path / "out", agreed) is None


def test_a_model_that_was_copied_and_dated_anew_is_the_same(tmp_path, wish, case):
    """The date of an nnU-Net's files is its version."""
    known = {"version": "1.3", "ct_files": _known(case)}
    leave_result(tmp_path / "out" / "a", model_digest=wish.model_digest, **known)
    assert finished(case, tmp_path / "out", wish)
    leave_result(tmp_path / "out" / "a", model_digest="another", **known)
    with pytest.raises(ExportError, match="another result"):
        finished(case, tmp_path / "out", wish)


def test_a_result_of_the_same_options_counts(tmp_path, wish, case):
    asked = replace(wish, options=RunOptions(look="body", mirror=True))
    options = {"look": "body", "mirror": True}
    leave_result(tmp_path / "out" / "a", options=options, ct_files=_known(case))
    assert finished(case, tmp_path / "out", asked)
    with pytest.raises(ExportError, match="other options"):
        finished(case, tmp_path / "out", wish)


def test_a_result_older_than_its_ct_is_in_the_way(tmp_path, wish, case):
    leave_result(tmp_path / "out" / "a", ct_files=_known(case))
    assert finished(case, tmp_path / "out", wish)
    os.utime(tmp_path / "out" / "a" / "labels.nii.gz", (500_000, 500_000))
    with pytest.raises(ExportError, match="older CT"):
        finished(case, tmp_path / "out", wish)


@pytest.mark.parametrize("said", [{}, {"ct_files": None}], ids=["missing", "null"])
def test_a_result_that_does_not_say_of_which_ct_it_is_is_in_the_way(
    tmp_path, wish, case, said
):
    """It may be of another patient: 'ct.nii.gz' is a name that many folders hold."""
    leave_result(tmp_path / "out" / "a", **said)
    for same in (case, Case("a", case.path, "inner/2.dcm")):
        with pytest.raises(ExportError, match="another or an older CT"):
            finished(same, tmp_path / "out", wish)


def test_a_result_of_another_series_is_in_the_way(tmp_path, wish, case):
    from napari_liverseg.io.keys import series_key

    chosen = Case("a", case.path, "1.2.3")
    leave_result(tmp_path / "out" / "a", case=series_key("1.2.3", ()))
    assert finished(chosen, tmp_path / "out", wish)
    leave_result(tmp_path / "out" / "a", case=series_key("1.2.4", ()))
    with pytest.raises(ExportError):
        finished(chosen, tmp_path / "out", wish)


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
    leave_result(tmp_path / "out" / "a", ct_files=_known(case))
    (tmp_path / "out" / "a" / missing).unlink()
    with pytest.raises(ExportError):
        finished(case, tmp_path / "out", wish)


WARNED = {
    "notes": ["The liver is small."],
    "problems": [
        {"code": "not-hounsfield", "severity": "warning"},
        {"code": "stated", "severity": "info"},
    ],
}


@pytest.fixture
def saved(tmp_path, wish):
    """A wish for a model that has a folder, as a batch needs it."""
    model = find_model(str(write_random_model(tmp_path / "model")))
    return replace(wish, model=model)


def _leave(folder, wish, case, **changes):
    known = {"model_digest": wish.model_digest, "ct_files": _known(case)}
    leave_result(folder, **known, **changes)


def _skipped(case, out, saved):
    work = Batch((case,), out, saved, Quiet())
    work.skip_finished()
    assert [row.status for row in work.rows] == ["skipped"]
    (row,) = read(out)
    return row["problems"]


@pytest.mark.parametrize("status", ["done", "skipped"])
def test_a_case_that_is_skipped_keeps_what_the_intake_said(
    tmp_path, saved, case, status
):
    out = tmp_path / "out"
    _leave(out / "a", saved, case, **WARNED)
    said = "The values are no HU. The liver is small."
    Summary(out).put(Row("a", status, 1.0, 0.0, 0, 1.0, "cpu", SHA, said))
    for _ in range(2):
        assert _skipped(case, out, saved) == said


@pytest.mark.parametrize(
    "earlier",
    [
        None,
        Row("a", "refused", problems="Of other options."),
        Row("a", "done", 2.0, 0.0, 0, 7.0, "cpu", SHA, "Of a result before."),
    ],
    ids=["none", "refused", "replaced"],
)
def test_a_case_that_no_row_tells_of_is_told_by_codes(tmp_path, saved, case, earlier):
    out = tmp_path / "out"
    _leave(out / "a", saved, case, **WARNED)
    if earlier:
        Summary(out).put(earlier)
    assert _skipped(case, out, saved) == "not-hounsfield The liver is small."


HOLDS = """
import sys
from pathlib import Path
from napari_liverseg.io.folder_lock import locked

with locked(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_batch_at_a_time_writes_into_a_folder(tmp_path, saved, case, capsys):
    """One that is killed lets go of it."""
    out = tmp_path / "out"
    _leave(out / "a", saved, case)
    Summary(out).put(Row("b", "done"))
    table = (out / "summary.csv").read_bytes()
    place = command.Place(None, None, "cpu", None)
    words = [sys.executable, "-c", HOLDS, str(out), ".batch.lock"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(words, **pipes) as other:
        assert other.stdout.readline().strip() == b"held"
        with pytest.raises(ExportError, match="Another batch writes into") as refusal:
            command.run(case.path.parent, out, saved, place)
        other.kill()
    assert "another folder" in refusal.value.next_step
    assert (out / "summary.csv").read_bytes() == table
    command.run(case.path.parent, out, saved, place)
    assert capsys.readouterr().out.startswith("0 segmented, 1 there already")
    assert [row["name"] for row in read(out)] == ["a", "b"]

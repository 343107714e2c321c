"""Results appear together or not at all, whatever happens in between."""

from __future__ import annotations

import pytest

from napari_liverseg.batch.outputs import all_or_none
from napari_liverseg.core.errors import ExportError

NAMES = ("labels.nii.gz", "report.json")


def write_all(folder, text):
    for name in NAMES:
        (folder / name).write_text(text)


def content(folder):
    return {p.name: p.read_text() for p in folder.iterdir()}


def test_files_appear_at_the_end(tmp_path):
    out = tmp_path / "a" / "b"
    with all_or_none(out, NAMES) as unfinished:
        write_all(unfinished, "new")
        assert not any((out / name).exists() for name in NAMES)
    assert content(out) == dict.fromkeys(NAMES, "new")


def write_half(folder, error):
    with all_or_none(folder, NAMES) as unfinished:
        write_all(unfinished, "half")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_fails_leaves_no_trace(tmp_path, error):
    out = tmp_path / "a" / "b"
    with pytest.raises(error):
        write_half(out, error)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_the_users_stays(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RuntimeError), all_or_none(tmp_path, NAMES):
        raise RuntimeError
    assert content(tmp_path) == {"notes.txt": "mine"}


def test_results_in_the_way_are_refused_before_the_work(tmp_path):
    (tmp_path / NAMES[1]).write_text("old")
    with pytest.raises(ExportError, match="report"), all_or_none(tmp_path, NAMES):
        pytest.fail("the work must not start")
    assert content(tmp_path) == {NAMES[1]: "old"}


def test_overwriting_replaces_every_file(tmp_path):
    write_all(tmp_path, "old")
    with all_or_none(tmp_path, NAMES, overwrite=True) as unfinished:
        write_all(unfinished, "new")
    assert content(tmp_path) == dict.fromkeys(NAMES, "new")


def test_a_move_that_fails_brings_the_old_files_back(tmp_path):
    write_all(tmp_path, "old")
    with (
        pytest.raises(ExportError, match="cannot be written"),
        all_or_none(tmp_path, NAMES, overwrite=True) as unfinished,
    ):
        (unfinished / NAMES[0]).write_text("new")  # the second file is missing
    assert content(tmp_path) == dict.fromkeys(NAMES, "old")


def test_what_only_the_older_result_had_goes_with_it_or_comes_back(tmp_path):
    write_all(tmp_path, "old")
    (tmp_path / "map").write_text("old")
    before = content(tmp_path)
    with (
        pytest.raises(ExportError, match="map"),
        all_or_none(tmp_path, ("new",), ("map",)),
    ):
        pytest.fail("the work must not start")
    with (
        pytest.raises(ExportError, match="cannot be written"),
        all_or_none(
            tmp_path, (*NAMES, "never"), ("map",), overwrite=True
        ) as unfinished,
    ):
        write_all(unfinished, "new")
    assert content(tmp_path) == before
    with all_or_none(tmp_path, NAMES, ("map",), overwrite=True) as unfinished:
        write_all(unfinished, "new")
    assert content(tmp_path) == dict.fromkeys(NAMES, "new")

"""The journal survives crashes: complete versions, newest readable first."""

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from napari_liverseg.core.geometry import Geometry
from napari_liverseg.editing.corrections import Corrections, corrections_of
from napari_liverseg.editing.edited import EditedVoxels
from napari_liverseg.editing.journal import Journal, journal_folder

SHAPE = (4, 7, 11)
NOW = datetime(2024, 3, 1, 9, 30, tzinfo=UTC)


def _corrections(x, value=3, names=("tumour",)):
    data, edits = np.zeros(SHAPE, np.uint8), EditedVoxels(SHAPE)
    box = (slice(1, 3), slice(2, 5), slice(x, x + 2))
    data[box] = value
    edits.touch(box, np.ones((2, 3, 2), bool))
    edits.finish_stroke(changed_mask=True)
    found = corrections_of(data, edits)
    return Corrections(SHAPE, NOW, dict.fromkeys(names, found))


def _first_column(corrections, name="tumour"):
    return corrections.masks[name].edited.box[2].start


def test_what_is_written_is_read(tmp_path):
    Journal(tmp_path / "case").write(_corrections(4, names=("liver", "tumour")))
    found = Journal(tmp_path / "case").latest()
    assert found.shape == SHAPE
    assert found.saved_at == NOW
    assert set(found.masks) == {"liver", "tumour"}
    data, edits = np.zeros(SHAPE, np.uint8), EditedVoxels(SHAPE)
    found.masks["tumour"].write(data, edits)
    assert np.argwhere(data == 3).min(axis=0).tolist() == [1, 2, 4]
    assert np.count_nonzero(data) == edits.count == 12


def test_versions_are_appended_and_capped(tmp_path):
    journal = Journal(tmp_path, kept=3)
    for x in range(5):
        journal.write(_corrections(x))
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == [f"corrections-{n:06d}.npz" for n in (3, 4, 5)]
    assert _first_column(journal.latest()) == 4


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_a_damaged_newest_version_falls_back(tmp_path, damage):
    journal = Journal(tmp_path)
    journal.write(_corrections(2))
    newest = journal.write(_corrections(6))
    content = newest.read_bytes()
    newest.write_bytes(
        {"cut": content[: len(content) // 2], "empty": b"", "text": b"no zip"}[damage]
    )
    assert _first_column(journal.latest()) == 2


def test_an_unfinished_write_is_not_seen(tmp_path):
    journal = Journal(tmp_path)
    journal.write(_corrections(2))
    (tmp_path / "corrections-000002.77.part").write_bytes(b"half")
    assert _first_column(journal.latest()) == 2


def test_undone_corrections_are_not_offered(tmp_path):
    journal = Journal(tmp_path)
    journal.write(_corrections(2))
    journal.write(Corrections(SHAPE, NOW, {}))
    assert journal.latest() is None


def test_discarded_corrections_are_set_aside(tmp_path):
    journal = Journal(tmp_path)
    journal.discard()
    journal.write(_corrections(2))
    journal.discard()
    assert journal.latest() is None
    assert len(list((tmp_path / "discarded").iterdir())) == 1
    journal.write(_corrections(5))
    assert _first_column(journal.latest()) == 5


def test_folder_follows_the_environment_and_stays_inside(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_LIVERSEG_DATA", str(tmp_path))
    assert journal_folder("ab12") == tmp_path / "recovery" / "ab12"
    inside = journal_folder("../../etc/x").resolve()
    assert inside.is_relative_to(tmp_path / "recovery")
    monkeypatch.delenv("NAPARI_LIVERSEG_DATA")
    assert "napari-liverseg" in str(journal_folder("ab12"))


def test_what_a_sitting_left_outlives_any_number_of_versions(tmp_path):
    first = Journal(tmp_path, kept=3)
    first.write(_corrections(2))
    first.write(_corrections(3))
    second = Journal(tmp_path, kept=3)
    second.set_aside()
    for _ in range(5):
        second.write(_corrections(6))
    assert _first_column(second.latest()) == 3
    third = Journal(tmp_path, kept=3)
    third.set_aside()
    assert _first_column(third.offered()) == 6
    third.answer()
    assert _first_column(third.offered()) == 3
    third.answer()
    assert third.offered() is third.latest() is None


def test_an_offer_falls_back_to_a_readable_version(tmp_path):
    journal = Journal(tmp_path)
    journal.write(_corrections(2))
    newest = journal.write(_corrections(6))
    journal.set_aside()
    (moved,) = (tmp_path / "offered").glob(f"*/{newest.name}")
    moved.write_bytes(b"no zip")
    assert _first_column(journal.offered()) == 2


def test_undone_corrections_are_not_set_aside(tmp_path):
    journal = Journal(tmp_path)
    journal.write(_corrections(2))
    journal.write(Corrections(SHAPE, NOW, {}))
    journal.set_aside()
    assert journal.offered() is None


def test_where_corrections_lie_is_read_back(tmp_path):
    tilt = ((1.0, 0.0, 0.0), (0.0, 0.8, -0.6), (0.0, 0.6, 0.8))
    grid = Geometry(SHAPE, (3.0, 0.9, 0.7), (-120.5, 14.0, 33.25), tilt)
    Journal(tmp_path / "new").write(replace(_corrections(2), grid=grid))
    assert Journal(tmp_path / "new").latest().grid == grid
    Journal(tmp_path / "old").write(_corrections(2))
    assert Journal(tmp_path / "old").latest().grid is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
def test_a_full_disk_is_not_filled_with_unfinished_versions(tmp_path):
    (tmp_path / f"corrections-000001.{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        Journal(tmp_path).write(_corrections(2))
    assert not list(tmp_path.iterdir())
    Journal(tmp_path).write(_corrections(2))
    assert _first_column(Journal(tmp_path).latest()) == 2

"""The journal survives crashes: complete versions, newest readable first."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from napari_liverseg.core.geometry import Geometry
from napari_liverseg.editing.corrections import Corrections, corrections_of
from napari_liverseg.editing.edited import EditedVoxels
from napari_liverseg.editing.journal import Journal, journal_folder
from napari_liverseg.editing.version_file import write_version

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
    names = sorted(p.name for p in tmp_path.rglob("corrections-*"))
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
    (sitting,) = (tmp_path / "offered").iterdir()
    (sitting / "corrections-000002.77.part").write_bytes(b"half")
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


def _left(folder, x):
    """Leave corrections as a sitting does that has ended."""
    journal = Journal(folder)
    journal.write(_corrections(x))
    journal.release()
    return journal


def _offered(journal):
    offer = journal.offered()
    return None if offer is None else _first_column(offer.corrections)


def test_what_a_sitting_left_outlives_any_number_of_versions(tmp_path):
    _left(tmp_path, 3)
    second = Journal(tmp_path, kept=3)
    for _ in range(5):
        second.write(_corrections(6))
    assert _offered(second) == 3
    second.release()
    third = Journal(tmp_path, kept=3)
    assert _offered(third) == 6
    third.answer(third.offered())
    assert _offered(third) == 3
    third.answer(third.offered())
    assert third.offered() is third.latest() is None
    assert not list((tmp_path / "offered").iterdir())


def test_an_offer_falls_back_to_a_readable_version(tmp_path):
    journal = Journal(tmp_path)
    journal.write(_corrections(2))
    journal.write(_corrections(6)).write_bytes(b"no zip")
    journal.release()
    assert _offered(Journal(tmp_path)) == 2


def test_undone_corrections_are_not_offered_to_the_next(tmp_path):
    journal = Journal(tmp_path)
    journal.write(_corrections(2))
    journal.write(Corrections(SHAPE, NOW, {}))
    journal.release()
    assert Journal(tmp_path).offered() is None


def test_a_journal_is_not_offered_what_it_has_left_itself(tmp_path):
    journal = _left(tmp_path, 2)
    assert journal.offered() is None
    assert not journal.is_open_elsewhere()


def test_a_sitting_that_goes_on_is_not_offered(tmp_path):
    first, second = Journal(tmp_path), Journal(tmp_path)
    first.write(_corrections(2))
    assert second.offered() is None
    assert second.is_open_elsewhere()
    second.write(_corrections(5))
    first.write(_corrections(3))
    first.release()
    assert not second.is_open_elsewhere()
    assert _offered(second) == 3
    assert first.offered() is None


def test_an_answer_takes_what_was_shown_and_nothing_newer(tmp_path):
    first, second = _left(tmp_path, 2), Journal(tmp_path)
    shown = second.offered()
    first.write(_corrections(3))
    first.release()
    _left(tmp_path, 7)
    second.answer(shown)
    assert _offered(second) == 7
    second.answer(second.offered())
    assert _offered(second) == 3
    second.answer(shown)  # another window has shown it as well
    assert _offered(second) == 3


def test_a_sitting_that_was_answered_while_released_is_written_again(tmp_path):
    first, second = _left(tmp_path, 2), Journal(tmp_path)
    second.answer(second.offered())
    first.write(_corrections(4))
    assert second.is_open_elsewhere()
    first.release()
    assert _offered(second) == 4


def test_a_sitting_without_a_version_leaves_nothing(tmp_path):
    journal = Journal(tmp_path)
    journal.write(_corrections(2))
    journal.discard()
    journal.release()
    assert not list((tmp_path / "offered").iterdir())


@pytest.mark.parametrize("moved", [False, True])
def test_what_an_earlier_version_of_the_program_left_is_offered(tmp_path, moved):
    """It wrote beside `offered`, and moved there what the next sitting found."""
    for x in (2, 6):
        folder = tmp_path / f"offered/{x:06d}" if moved and x == 2 else tmp_path
        folder.mkdir(parents=True, exist_ok=True)
        write_version(folder / f"corrections-{x:06d}.npz", _corrections(x))
    journal = Journal(tmp_path)
    assert journal.write(_corrections(9)).name == "corrections-000007.npz"
    assert _offered(journal) == 6
    journal.answer(journal.offered())
    assert _offered(journal) == (2 if moved else None)


HOLD_ON = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_journal import Journal, _corrections
journal = Journal(Path(sys.argv[1]))
journal.write(_corrections(4))
print("written", flush=True)
sys.stdin.read()
"""


def test_a_process_holds_its_sitting_until_it_dies(tmp_path):
    here = str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD_ON, str(tmp_path), here],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    journal = Journal(tmp_path)
    try:
        assert process.stdout.readline() == "written\n"
        journal.write(_corrections(2))
        assert journal.is_open_elsewhere()
        assert journal.offered() is None
    finally:
        process.kill()
        process.communicate()
    assert not journal.is_open_elsewhere()
    assert _offered(journal) == 4
    assert _first_column(journal.latest()) == 2


def test_where_corrections_lie_is_read_back(tmp_path):
    tilt = ((1.0, 0.0, 0.0), (0.0, 0.8, -0.6), (0.0, 0.6, 0.8))
    grid = Geometry(SHAPE, (3.0, 0.9, 0.7), (-120.5, 14.0, 33.25), tilt)
    Journal(tmp_path / "new").write(replace(_corrections(2), grid=grid))
    assert Journal(tmp_path / "new").latest().grid == grid
    Journal(tmp_path / "old").write(_corrections(2))
    assert Journal(tmp_path / "old").latest().grid is None


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full disk")
def test_a_full_disk_is_not_filled_with_unfinished_versions(tmp_path):
    journal = Journal(tmp_path)
    folder = journal.write(_corrections(2)).parent
    (folder / f"corrections-000002.{os.getpid()}.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        journal.write(_corrections(4))
    assert not list(tmp_path.rglob("*.part"))
    journal.write(_corrections(6))
    assert _first_column(journal.latest()) == 6

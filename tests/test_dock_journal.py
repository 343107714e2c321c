"""The journal beside the window: quick strokes, full disks, parts of one series."""

import numpy as np
import pytest

from dicom_factory import Style, write_series
from dock_case import hounsfield, labels, open_case, write_image
from napari_liverseg.core.geometry import Geometry
from napari_liverseg.editing.journal import Journal, journal_folder
from napari_liverseg.ui.recovery import PAUSE_MS

pytestmark = pytest.mark.gui

SPOT, OTHER = (6, 33, 40), (6, 3, 40)


@pytest.fixture
def case_path(tmp_path):
    return write_image(tmp_path / "case.nii.gz", hounsfield())


@pytest.fixture
def second_path(tmp_path):
    return write_image(tmp_path / "second.nii.gz", hounsfield(seed=2))


@pytest.fixture
def dock(make_dock, qtbot, case_path):
    dock = make_dock()
    open_case(qtbot, dock, case_path)
    return dock


def _dab(layer, voxel=SPOT, value=1):
    with layer.block_history():
        layer.paint(voxel, value)


def _folder(dock):
    return journal_folder(dock.session.volume.series_key)


def _versions(folder):
    return list(folder.rglob("corrections-*.npz"))


def test_strokes_of_a_quick_hand_reach_the_journal(dock, qtbot):
    liver = dock.session.show_layers().liver
    for x in range(10, 34, 3):
        _dab(liver, (6, 20, x))
        qtbot.wait(PAUSE_MS // 3)
    assert _versions(_folder(dock))


def test_finished_strokes_are_written_during_a_drag(dock, qtbot):
    liver = dock.session.show_layers().liver
    _dab(liver)
    with liver.block_history():
        for x in range(10, 34, 3):
            liver.paint((6, 20, x), 1)
            qtbot.wait(PAUSE_MS // 3)
        stored = Journal(_folder(dock)).latest()
        assert stored is not None
    dock.session.recovery.flush()
    assert Journal(_folder(dock)).latest().count == liver.edits.count


def test_a_case_that_leaves_in_mid_drag_loses_nothing(dock, qtbot, second_path):
    liver, folder = dock.session.show_layers().liver, _folder(dock)
    _dab(liver)
    with liver.block_history():
        liver.paint(OTHER, 1)
        open_case(qtbot, dock, second_path)
    assert Journal(folder).latest().count == liver.edits.count


def test_an_abandoned_stroke_leaves_the_journal(dock):
    liver, recovery = dock.session.show_layers().liver, dock.session.recovery
    _dab(liver)
    kept = liver.edits.count
    liver._begin_stroke()
    liver.paint(OTHER, 1)
    recovery.flush()
    assert Journal(_folder(dock)).latest().count > kept
    liver._abort_stroke()
    recovery.flush()
    assert Journal(_folder(dock)).latest().count == kept == liver.edits.count


def _fail_to_write(qtbot, dock):
    """Paint where the journal's folder cannot be made; return what is in its way."""
    folder = _folder(dock)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("in the way")
    with qtbot.waitSignal(dock.session.journal_failed, timeout=5000):
        _dab(dock.session.show_layers().liver)
    return folder


def test_a_write_that_failed_is_tried_again(dock, qtbot, second_path):
    folder, liver = _fail_to_write(qtbot, dock), dock.session.masks.liver
    folder.unlink()
    open_case(qtbot, dock, second_path)
    assert Journal(folder).latest().count == liver.edits.count
    qtbot.waitUntil(lambda: dock.messages.message("closed") is not None)
    assert "are kept" in dock.messages.message("closed").text


def test_corrections_that_are_lost_are_not_said_to_be_kept(dock, qtbot, second_path):
    _fail_to_write(qtbot, dock)
    open_case(qtbot, dock, second_path)
    qtbot.waitUntil(lambda: dock.messages.message("closed") is not None)
    text = dock.messages.message("closed").text
    assert "are kept" not in text
    assert "could not be written" in text
    qtbot.waitUntil(lambda: dock.messages.message("journal") is not None)


def test_corrections_of_one_part_of_a_series_stay_out_of_another(dock, qtbot, tmp_path):
    grid = Geometry((20, 32, 36), (3.0, 1.1, 0.9), (-40.0, 7.0, 11.0))
    hu = np.random.default_rng(0).integers(-900, 900, grid.shape).astype(np.int16)
    for name, drop in (("low", range(10, 20)), ("high", range(10))):
        write_series(tmp_path / name, hu, grid, Style(drop=tuple(drop)))
    low = open_case(qtbot, dock, tmp_path / "low")
    _dab(dock.session.show_layers().liver, (4, 10, 10))
    painted = dock.session.masks.liver.data.copy()
    high = open_case(qtbot, dock, tmp_path / "high")
    assert high.series_key == low.series_key
    assert high.hu.shape == low.hu.shape
    dock.messages.message("recovery").answers["Restore"].click()
    refused = dock.messages.message("recovery")
    assert "another part of this series" in refused.text
    assert not dock.session.masks.edited_voxels
    refused.answers["Close"].click()
    short = tmp_path / "short"
    write_series(short, hu, grid, Style(drop=tuple(range(12))))
    open_case(qtbot, dock, short)
    dock.messages.message("recovery").answers["Restore"].click()
    assert "another part" in dock.messages.message("recovery").text
    open_case(qtbot, dock, tmp_path / "low")
    dock.messages.message("recovery").answers["Restore"].click()
    np.testing.assert_array_equal(dock.session.masks.liver.data, painted)
    open_case(qtbot, dock, tmp_path / "high")
    dock.messages.message("recovery").answers["Restore"].click()
    dock.messages.message("recovery").answers["Discard"].click()
    assert dock.messages.message("recovery") is None
    assert dock.session.recovery.found() is None


def test_a_stroke_that_is_broken_off_gives_back_what_is_said_now(dock):
    """A slider may move while napari's encircling waits for its end."""
    masks = dock.session.show_layers()
    box, said = (slice(0, 14), slice(0, 40), slice(0, 52)), labels()
    masks.say(said, box)
    for layer in masks:
        layer._begin_stroke()
        layer.paint((6, 14, 14), 0)
    masks.say(np.zeros_like(said), box)
    for layer in masks:
        layer._abort_stroke()
        assert not layer.data.any()
    assert masks.lesion_count == 0


def test_undo_takes_back_its_own_stroke_after_one_was_broken_off(dock):
    liver = dock.session.show_layers().liver
    _dab(liver)
    kept = liver.data.copy()
    _dab(liver, OTHER)
    dock.correct.undo.click()
    liver._begin_stroke()
    liver.paint((6, 20, 20), 1)
    liver._abort_stroke()
    np.testing.assert_array_equal(liver.data, kept)
    liver.redo()
    liver.undo()
    np.testing.assert_array_equal(liver.data, liver.edits.mask)


def test_a_journal_that_cannot_put_away_is_said(dock, qtbot, case_path):
    _dab(dock.session.show_layers().liver)
    dock.session.recovery.flush()
    (_folder(dock) / "discarded").write_text("no folder")
    with qtbot.waitSignal(dock.session.journal_failed, timeout=5000):
        dock.correct.discard_all()
    assert "The disk refused" in dock.messages.message("journal").text
    assert dock.correct.messages.message("discard") is not None


def test_strokes_made_without_the_dock_reach_the_journal(dock, qtbot):
    liver, folder = dock.session.show_layers().liver, _folder(dock)
    dock.viewer.window.remove_dock_widget(dock)
    for voxel in (SPOT, OTHER):
        _dab(liver, voxel)
        qtbot.waitUntil(
            lambda: getattr(Journal(folder).latest(), "count", 0) == liver.edits.count,
            timeout=5000,
        )

"""Copies of layers, a dock that is closed and opened again, offers left open."""

import numpy as np
import pytest
from napari.layers._layer_actions import _duplicate_layer
from napari.utils._proxies import PublicOnlyProxy

from dock_case import hounsfield, labels, open_case, write_image
from napari_liverseg.core.errors import LiversegError
from napari_liverseg.core.segmentation import Segmentation
from napari_liverseg.editing.journal import Journal, journal_folder
from napari_liverseg.ui.dock import LiverDock
from napari_liverseg.ui.read_masks import read_masks
from napari_liverseg.ui.truth_layer import show_truth, truth_from

pytestmark = pytest.mark.gui

SPOT, OTHER = (6, 33, 40), (6, 3, 40)


@pytest.fixture
def case_path(tmp_path):
    return write_image(tmp_path / "case.nii.gz", hounsfield())


@pytest.fixture
def dock(make_dock, qtbot, case_path):
    dock = make_dock()
    open_case(qtbot, dock, case_path)
    return dock


def _dab(layer, voxel=SPOT, value=1):
    with layer.block_history():
        layer.paint(voxel, value)


def _duplicate(viewer, layer):
    viewer.layers.selection = {layer}
    viewer.layers.selection.active = layer
    before = set(viewer.layers)
    _duplicate_layer(viewer.layers)
    return next(la for la in viewer.layers if la not in before)


def _reopen(qtbot, dock):
    """Close the dock as napari does, work on, and return a way to open another."""
    viewer = dock.viewer
    viewer.window.remove_dock_widget(dock)
    dock.close_down()
    qtbot.wait(20)

    def open_again():
        again = LiverDock(PublicOnlyProxy(viewer))
        viewer.window.add_dock_widget(again, name="Again")
        return again

    return viewer, open_again


def test_a_copy_of_a_mask_is_a_plain_layer(dock, qtbot, tmp_path):
    masks = dock.session.show_layers()
    masks.liver.data[...] = labels() > 0
    copy = _duplicate(dock.viewer, masks.liver)
    _dab(masks.liver)
    assert copy.data[SPOT] == 0
    assert dock.session.segmentation().labels[SPOT] == 1
    assert read_masks(dock.viewer).labels[SPOT] == 1
    with qtbot.waitSignal(dock.export.slot.done, timeout=20_000):
        dock.export.save_labels(tmp_path / "out.nrrd")
    dock.compare.truth.setCurrentIndex(dock.compare.truth.findData(copy))
    assert dock.compare.truth.currentData() is copy
    with qtbot.waitSignal(dock.compare.slot.done, timeout=20_000):
        dock.compare.run.click()
    assert dock.compare.measures.liver.as_dict()["dice"] < 1


def test_a_copy_of_the_ct_is_not_the_ct(dock):
    ct = dock.session.ct_layer
    copy = _duplicate(dock.viewer, ct)
    assert dock.session.ct_layer is ct
    dock.viewer.layers.remove(ct)
    assert dock.session.ct_layer is None
    assert copy in dock.viewer.layers
    dock.session.show_layers()
    assert dock.session.ct_layer not in (None, copy)


def test_a_removed_half_is_exported_and_its_lack_is_said(dock):
    with pytest.raises(LiversegError, match="no masks yet"):
        dock.session.segmentation()
    masks = dock.session.show_layers()
    _dab(masks.liver)
    _dab(masks.tumour, OTHER)
    dock.viewer.layers.remove(masks.liver)
    written = dock.session.segmentation().labels
    assert (written[SPOT], written[OTHER]) == (1, 2)
    with pytest.raises(LiversegError, match="liver mask was removed"):
        read_masks(dock.viewer)


def test_two_layers_of_one_role_are_refused(dock):
    masks = dock.session.show_layers()
    copy = _duplicate(dock.viewer, masks.tumour)
    copy.metadata.update(masks.tumour.metadata)
    with pytest.raises(LiversegError, match="two tumour masks"):
        read_masks(dock.viewer)


def test_a_dock_opened_again_goes_on_with_the_same_masks(dock, qtbot, make_dock):
    masks = dock.session.show_layers()
    _dab(masks.liver)
    viewer, open_again = _reopen(qtbot, dock)
    _dab(masks.liver, OTHER)
    _duplicate(viewer, masks.liver)
    again = open_again()
    try:
        assert again.session.masks is masks
        assert again.messages.message("recovery") is None
        assert again.session.segmentation().labels[OTHER] == 1
        again.session.recovery.flush()
        stored = again.session.recovery._journal.latest()
        assert stored.count == masks.edited_voxels
        again.correct.take("liver", "paint")
        names = sorted(layer.name for layer in viewer.layers)
        assert names == ["CT", "Liver", "Liver copy", "Tumour"]
        _dab(masks.liver, (6, 20, 48))
        assert again.correct.undo.isEnabled()
        assert "Edited by hand" in again.correct.edited.text()
        assert read_masks(viewer).labels[OTHER] == 1
    finally:
        again.close_down()


def test_a_case_is_held_while_it_has_a_dock_and_offered_to_others_without(dock, qtbot):
    masks = dock.session.show_layers()
    other_window = Journal(journal_folder(dock.session.volume.series_key))
    _dab(masks.liver)
    dock.session.recovery.flush()
    assert other_window.is_open_elsewhere()
    _, open_again = _reopen(qtbot, dock)
    assert not other_window.is_open_elsewhere()
    other_window.answer(other_window.offered())
    again = open_again()
    try:
        assert again.session.masks is masks
        assert other_window.is_open_elsewhere()
        assert other_window.latest().count == masks.edited_voxels
    finally:
        again.close_down()
    _dab(masks.liver, OTHER)
    qtbot.waitUntil(
        lambda: other_window.latest().count == masks.edited_voxels, timeout=5000
    )
    qtbot.waitUntil(lambda: not other_window.is_open_elsewhere())
    assert other_window.offered().corrections.count == masks.edited_voxels


def test_a_dock_that_closes_mid_run_leaves_no_part_of_it(dock, qtbot):
    box = (slice(2, 9), slice(4, 20), slice(3, 30))
    dock.session.show_partial(np.full((7, 16, 27), 2, np.uint8), box)
    _dab(dock.session.masks.liver)
    stroke = dock.session.masks.liver.edits.mask.copy()
    _, open_again = _reopen(qtbot, dock)
    again = open_again()
    try:
        written = again.session.segmentation().labels
        np.testing.assert_array_equal(written, stroke.astype(np.uint8))
    finally:
        again.close_down()


def test_an_offer_stays_until_it_is_answered(dock, make_dock, qtbot, case_path):
    _dab(dock.session.show_layers().liver)
    dock.close_down()
    for voxel in (OTHER, (6, 20, 48)):
        later = make_dock()
        open_case(qtbot, later, case_path)
        assert later.messages.message("recovery") is not None
        masks = later.session.show_layers()
        for _ in range(12):
            _dab(masks.liver, voxel)
            later.session.recovery.flush()
        later.close_down()
    last = make_dock()
    open_case(qtbot, last, case_path)
    for expected in ((6, 20, 48), OTHER, SPOT):
        assert last.session.masks.liver.data[expected] == 0
        last.messages.message("recovery").answers["Restore"].click()
        assert last.session.masks.liver.data[expected] == 1
    assert last.messages.message("recovery") is None
    last.close_down()
    after = make_dock()
    open_case(qtbot, after, case_path)
    after.messages.message("recovery").answers["Discard"].click()
    assert after.messages.message("recovery") is None
    after.close_down()
    final = make_dock()
    open_case(qtbot, final, case_path)
    assert final.messages.message("recovery") is None


def test_restore_leaves_what_was_edited_in_this_sitting(
    dock, make_dock, qtbot, case_path
):
    _dab(dock.session.show_layers().liver)
    claimed = dock.session.masks.liver.edits.mask.copy()
    dock.close_down()
    again = make_dock()
    open_case(qtbot, again, case_path)
    liver = again.session.show_layers().liver
    liver.brush_size = 1
    _dab(liver, SPOT, 0)
    again.messages.message("recovery").answers["Restore"].click()
    expected = claimed.astype(np.uint8)
    expected[SPOT] = 0
    np.testing.assert_array_equal(liver.data, expected)


def test_an_offer_stays_where_saved_masks_leave_no_room_for_it(
    dock, make_dock, qtbot, case_path, tmp_path
):
    _dab(dock.session.show_layers().liver)
    dock.close_down()
    again = make_dock()
    open_case(qtbot, again, case_path)
    with qtbot.waitSignal(again.correct.opener.opened, timeout=20_000):
        again.correct.open_saved_masks(write_image(tmp_path / "l.nii.gz", labels()))
    again.messages.message("recovery").answers["Restore"].click()
    offer = again.messages.message("recovery")
    assert "None was restored" in offer.text
    assert again.session.masks.liver.data[SPOT] == 0
    again.correct.discard_all()
    offer.answers["Restore"].click()
    assert again.session.masks.liver.data[SPOT] == 1
    assert again.messages.message("recovery") is None


def test_a_copy_of_a_truth_is_a_plain_layer(dock):
    session, viewer = dock.session, dock.viewer
    truth = Segmentation(labels(), session.volume.geometry)
    first = show_truth(viewer, session.volume, truth)
    copy = _duplicate(viewer, first)
    copy.paint(SPOT, 2)
    again = show_truth(viewer, session.volume, truth)
    assert first not in viewer.layers
    assert again in viewer.layers
    assert copy in viewer.layers
    assert truth_from(copy, session.volume).labels[SPOT] == 2

"""The whole path: open, run, threshold, paint, undo, rerun, compare, export, reopen."""

import numpy as np
import pytest
import SimpleITK as sitk
from qtpy.QtCore import Qt

from dock_case import (
    DOUBTFUL,
    LIVER,
    go_to_slice,
    hounsfield,
    labels,
    move,
    open_case,
    paint,
    segment,
    write_image,
)
from napari_liverseg.ui.probability_layer import NAME
from napari_liverseg.ui.threshold_section import HIDE, SHOW
from tiny_model import write_threshold_model

pytestmark = pytest.mark.gui

AT = 6


@pytest.fixture
def dock(make_dock, qtbot, tmp_path):
    write_threshold_model(tmp_path / "models" / "tiny", spacing_mm=(4.0, 2.5, 2.0))
    dock = make_dock(show=True)
    choose(dock, "tiny")
    write_image(tmp_path / "case.nii.gz", hounsfield())
    open_case(qtbot, dock, tmp_path / "case.nii.gz")
    return dock


def choose(dock, name):
    names = [
        dock.segment.model.itemData(i).name for i in range(dock.segment.model.count())
    ]
    dock.segment.model.setCurrentIndex(names.index(name))


def stroke(qtbot, dock, mask, mode, start, stop):
    """Paint a real stroke and return the voxels it made the user's."""
    dock.correct.brush.slider.setValue(3)
    dock.correct.take(mask, mode)
    layer = getattr(dock.session.masks, mask)
    before = layer.edits.mask.copy()
    go_to_slice(dock.viewer, layer, AT)
    qtbot.wait(50)
    paint(qtbot, dock.viewer, start, stop)
    return layer, layer.edits.mask & ~before


def test_every_edited_voxel_survives_to_the_file(dock, qtbot, tmp_path):
    segment(qtbot, dock)
    masks = dock.session.masks
    found = np.count_nonzero(masks.liver.data)
    assert found == pytest.approx(np.count_nonzero(labels()), rel=0.1)
    assert masks.lesion_count == 1

    outside = stroke(qtbot, dock, "liver", "paint", (AT, 33, 40), (AT, 35, 45))
    erased = stroke(qtbot, dock, "liver", "erase", (AT, 25, 25), (AT, 25, 30))
    affirmed = stroke(qtbot, dock, "liver", "paint", (AT, 20, 25), (AT, 20, 30))
    lesion = stroke(qtbot, dock, "tumour", "paint", (AT, 28, 24), (AT, 28, 27))
    strokes = {"outside": outside, "erased": erased, "affirmed": affirmed}
    for name, (_, voxels) in {**strokes, "lesion": lesion}.items():
        assert np.count_nonzero(voxels) > 8, name
    assert masks.lesion_count == 2

    def check():
        assert (masks.liver.data[outside[1]] == 1).all()
        assert (masks.liver.data[erased[1]] == 0).all()
        assert (masks.liver.data[affirmed[1]] == 1).all()
        assert (masks.tumour.data[lesion[1]] > 0).all()

    check()
    for per_cent in (5, 95, 60):
        move(qtbot, dock, "liver", per_cent)
        move(qtbot, dock, "tumour", per_cent)
        check()
    segment(qtbot, dock)
    check()

    undone = stroke(qtbot, dock, "liver", "paint", (AT, 36, 10), (AT, 36, 14))
    assert (masks.liver.data[undone[1]] == 1).all()
    dock.correct.undo.click()
    assert not masks.liver.data[undone[1]].any()
    assert not masks.liver.edits.mask[undone[1]].any()
    check()

    path = tmp_path / "out.nrrd"
    with qtbot.waitSignal(dock.export.slot.done, timeout=20_000):
        dock.export.save_labels(path)
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    tumour = masks.tumour.data > 0
    for _, voxels in (outside, affirmed):
        assert (written[voxels & ~tumour] == 1).all()
    assert (written[erased[1] & ~tumour] == 0).all()
    assert (written[lesion[1]] == 2).all()

    with qtbot.waitSignal(dock.compare.opener.slot.done, timeout=20_000):
        dock.compare.open_truth(path)
    with qtbot.waitSignal(dock.compare.slot.done, timeout=20_000):
        dock.compare.run.click()
    assert dock.compare.measures.liver.as_dict()["dice"] == 1.0
    assert dock.compare.measures.tumour.as_dict()["dice"] == 1.0


def test_masks_of_an_earlier_sitting_are_taken_up_and_kept(dock, qtbot, tmp_path):
    segment(qtbot, dock)
    stroke(qtbot, dock, "liver", "erase", (AT, 20, 24), (AT, 20, 30))
    path = tmp_path / "earlier.nii.gz"
    with qtbot.waitSignal(dock.export.slot.done, timeout=20_000):
        dock.export.save_labels(path)
    masks = dock.session.masks
    liver, tumour = masks.liver.data.copy(), masks.tumour.data.copy()
    dock.correct.discard_all()
    assert (masks.liver.data != liver).any()

    with qtbot.waitSignal(dock.correct.opener.opened, timeout=20_000):
        dock.correct.open_saved_masks(path)
    np.testing.assert_array_equal(masks.liver.data, liver)
    segment(qtbot, dock)
    move(qtbot, dock, "liver", 5)
    move(qtbot, dock, "tumour", 5)
    np.testing.assert_array_equal(masks.liver.data, liver)
    np.testing.assert_array_equal(masks.tumour.data > 0, tumour > 0)
    assert "Edited by hand" in dock.correct.edited.text()


def test_undo_after_a_threshold_gives_the_current_decision(dock, qtbot):
    segment(qtbot, dock)
    liver = dock.session.masks.liver
    _, voxels = stroke(qtbot, dock, "liver", "erase", (AT, 20, 24), (AT, 20, 30))
    assert not liver.data[voxels].any()
    move(qtbot, dock, "liver", 99)
    expected = liver.data.copy()
    liver.undo()
    said = dock.session.probabilities
    inside = np.zeros(liver.data.shape, np.uint8)
    inside[said.box] = said.liver
    np.testing.assert_array_equal(liver.data[~voxels], expected[~voxels])
    assert (liver.data[voxels] == (inside[voxels] >= round(0.99 * 255))).mean() > 0.95
    move(qtbot, dock, "liver", 50)
    assert liver.data[voxels].all()


def test_redo_wins_over_a_run_in_between(dock, qtbot):
    segment(qtbot, dock)
    liver = dock.session.masks.liver
    _, voxels = stroke(qtbot, dock, "liver", "erase", (AT, 20, 24), (AT, 20, 30))
    liver.undo()
    assert liver.data[voxels].all()
    segment(qtbot, dock)
    liver.redo()
    assert not liver.data[voxels].any()
    segment(qtbot, dock)
    assert not liver.data[voxels].any()


def test_ctrl_z_on_the_canvas_undoes_as_the_button_does(dock, qtbot):
    segment(qtbot, dock)
    liver, voxels = stroke(qtbot, dock, "liver", "erase", (AT, 20, 24), (AT, 20, 30))
    handler = dock.viewer.window._qt_viewer._key_map_handler
    handler.press_key("Control-Z")
    assert liver.data[voxels].all()
    assert liver.edits.count == 0
    handler.press_key("Control-Shift-Z")
    assert not liver.data[voxels].any()


def test_thresholds_move_what_is_not_edited(dock, qtbot):
    segment(qtbot, dock)
    tumour = dock.session.masks.tumour
    own = tumour.data.copy()
    assert tumour.data[DOUBTFUL].all()
    move(qtbot, dock, "tumour", 99)
    assert not tumour.data[DOUBTFUL].any()
    assert tumour.data.any()
    with qtbot.waitSignal(dock.session.masks_changed):
        dock.threshold.own.click()
    np.testing.assert_array_equal(tumour.data, own)


def test_tumour_inside_the_liver_is_part_of_the_organ(dock, qtbot):
    segment(qtbot, dock)
    masks = dock.session.masks
    assert masks.liver.data[masks.tumour.data > 0].all()
    assert set(np.unique(masks.liver.data)) == {0, 1}
    box = tuple(slice(s.start + 1, s.stop - 1) for s in LIVER)
    assert masks.liver.data[box].all()


def test_undo_and_redo_follow_the_order_of_strokes_on_both_masks(dock, qtbot):
    liver, tumour = dock.session.show_layers()
    spots = [(tumour, (6, 33, 40)), (liver, (6, 20, 40)), (tumour, (6, 8, 40))]
    for layer, spot in spots:
        layer.brush_size = 3
        with layer.block_history():
            layer.paint(spot, 1)

    def held():
        return [bool(layer.data[spot]) for layer, spot in spots]

    seen = []
    for button in [dock.correct.undo] * 3 + [dock.correct.redo] * 3:
        button.click()
        seen.append(sum(held()))
        assert held() == [True] * seen[-1] + [False] * (3 - seen[-1])
    assert seen == [2, 1, 0, 1, 2, 3]


def test_the_tumour_probability_glows_in_its_place_and_goes_with_the_case(
    dock, qtbot, tmp_path
):
    button = dock.threshold.map_button
    dock.threshold.set_open(True)
    assert not button.isEnabled()
    segment(qtbot, dock)
    masks, viewer = dock.session.masks, dock.viewer
    viewer.layers.selection.active = masks.tumour
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    (shown,) = (layer for layer in viewer.layers if layer.name == NAME)
    assert button.text() == HIDE
    assert viewer.layers.selection.active is masks.tumour
    assert viewer.layers.index(shown) < viewer.layers.index(masks.liver)
    point = np.argwhere(masks.tumour.data)[0]
    world = masks.tumour.data_to_world(point)
    assert 50 <= shown.get_value(world, world=True) <= 100
    outside = masks.tumour.data_to_world((0, 0, 0))
    assert not shown.get_value(outside, world=True)
    segment(qtbot, dock)
    again = [layer for layer in viewer.layers if layer.name == NAME]
    assert len(again) == 1
    assert again[0] is not shown
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert NAME not in viewer.layers
    assert button.text() == SHOW
    dock.threshold.map.toggle()
    viewer.layers.remove(NAME)
    assert button.text() == SHOW
    dock.threshold.map.toggle()
    other = write_image(tmp_path / "other.nii.gz", hounsfield()[1:])
    viewer.open(str(other), plugin="napari-liverseg")
    qtbot.waitUntil(lambda: dock.session.volume.geometry.shape[0] == 13)
    assert NAME not in viewer.layers
    assert not button.isEnabled()

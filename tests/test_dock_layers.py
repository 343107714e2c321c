"""Layers that go, come back, or belong to another CT; corrections that survive."""

import shutil

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from napari.layers._layer_actions import _convert

from dock_case import (
    DOUBTFUL,
    SHAPE,
    canvas_point,
    hounsfield,
    labels,
    move,
    open_case,
    open_with_model,
    paint,
    segment,
    write_image,
)
from napari_liverseg.core.errors import CaseError, LiversegError
from napari_liverseg.editing.journal import Journal, journal_folder
from napari_liverseg.io.open import open_ct
from napari_liverseg.ui.ct_layer import role, show_ct
from napari_liverseg.ui.mask_layer import MaskLayer
from napari_liverseg.ui.orientation import edge_letters
from napari_liverseg.ui.read_masks import read_masks
from napari_liverseg.ui.window import ABDOMEN, PRESETS
from tiny_model import write_threshold_model

pytestmark = pytest.mark.gui

SPOT = (6, 33, 40)


@pytest.fixture
def case_path(tmp_path):
    write_threshold_model(tmp_path / "models" / "tiny", spacing_mm=(4.0, 2.5, 2.0))
    return write_image(tmp_path / "case.nii.gz", hounsfield())


@pytest.fixture
def dock(make_dock, qtbot, case_path):
    return open_with_model(qtbot, make_dock(), case_path, "tiny")


def _dab(layer, voxel=SPOT, value=1):
    with layer.block_history():
        layer.paint(voxel, value)


def test_ct_layer_lies_in_the_patient(dock):
    layer = dock.session.ct_layer
    grid = dock.session.volume.geometry
    assert tuple(layer.scale) == grid.spacing_mm
    assert tuple(layer.translate) == grid.origin_mm
    assert [str(u) for u in layer.units] == ["millimeter"] * 3
    assert layer.axis_labels == ("z", "y", "x")
    assert tuple(layer.contrast_limits) == ABDOMEN.limits
    assert layer.contrast_limits_range[0] <= -1024
    assert layer.contrast_limits_range[1] >= 3000


def test_a_ct_beside_a_film_opens_in_its_middle(case_path):
    viewer = ViewerModel()
    viewer.add_image(np.zeros((5, 20, 40, 52), np.uint8), name="film")
    layer = show_ct(viewer, open_ct(case_path))
    shown = layer.world_to_data(viewer.dims.point[1:])
    assert [round(i) for i in shown] == [n // 2 for n in layer.data.shape]


def test_masks_are_labels_to_napari(dock, qtbot):
    segment(qtbot, dock)
    for layer in dock.session.masks:
        data, state, kind = layer.as_layer_data_tuple()
        assert kind == "labels"
        assert data.dtype == np.uint8
        assert isinstance(layer, Labels)
        assert [str(u) for u in layer.units] == ["millimeter"] * 3
        assert state["axis_labels"] == ("z", "y", "x")
    controls = dock.viewer.window._qt_viewer.controls.widgets
    kinds = {type(controls[layer]).__name__ for layer in dock.session.masks}
    assert kinds == {"QtLabelsControls"}


def test_painting_before_any_run_needs_no_model(dock):
    with pytest.raises(LiversegError):
        read_masks(dock.viewer)
    dock.correct.take("tumour", "paint")
    assert dock.viewer.layers.selection.active is dock.session.masks.tumour
    in_hand = [name for name, tool in dock.correct.tools.items() if tool.isChecked()]
    assert in_hand == [("tumour", "paint")]
    _dab(dock.session.masks.tumour)
    written = read_masks(dock.viewer)
    assert written.labels[SPOT] == 2
    assert written.liver_ml == written.tumour_ml > 0
    assert dock.session.masks.volumes().liver_ml == written.liver_ml


def test_a_removed_mask_comes_back_with_its_edits(dock, qtbot):
    segment(qtbot, dock)
    liver = dock.session.masks.liver
    _dab(liver)
    kept = liver.edits.count
    dock.viewer.layers.remove(liver)
    message = dock.messages.message("layers")
    assert message.text.startswith("Liver was removed")
    segment(qtbot, dock)
    assert liver in dock.viewer.layers
    assert liver.edits.count == kept
    assert liver.data[SPOT] == 1
    assert dock.messages.message("layers") is None


def test_a_removed_ct_can_be_shown_again(dock, qtbot):
    dock.viewer.layers.remove(dock.session.ct_layer)
    assert dock.session.volume is not None
    dock.messages.message("layers").answers["Show again"].click()
    assert dock.session.ct_layer is not None
    segment(qtbot, dock)


def test_a_second_ct_takes_the_place_of_the_first(dock, qtbot, tmp_path):
    segment(qtbot, dock)
    first = dock.session.volume
    _dab(dock.session.masks.liver)
    write_image(tmp_path / "second.nii.gz", hounsfield(seed=2))
    open_case(qtbot, dock, tmp_path / "second.nii.gz")
    assert [layer.name for layer in dock.viewer.layers] == ["CT"]
    assert dock.session.volume is not first
    assert dock.session.probabilities is None
    assert not dock.threshold.sliders["liver"].isEnabled()
    qtbot.waitUntil(lambda: dock.messages.message("closed") is not None)
    segment(qtbot, dock)
    assert dock.session.masks.liver.data[SPOT] == 0


_locks = shutil.ignore_patterns(".lock")  # a process takes them with it


def test_corrections_survive_a_crash(
    make_dock, dock, qtbot, case_path, tmp_path, monkeypatch
):
    segment(qtbot, dock)
    liver, tumour = dock.session.masks
    _dab(liver)
    _dab(tumour, (6, 15, 14), 0)
    liver_mask, tumour_mask = liver.edits.mask.copy(), tumour.edits.mask.copy()
    qtbot.wait(1200)  # nothing is closed: the process is simply gone
    shutil.copytree(tmp_path / "data", tmp_path / "left", ignore=_locks)
    monkeypatch.setenv("NAPARI_LIVERSEG_DATA", str(tmp_path / "left"))

    again = make_dock()
    open_case(qtbot, again, case_path)
    offer = again.messages.message("recovery")
    assert "Corrections from" in offer.text
    offer.answers["Restore"].click()
    masks = again.session.masks
    np.testing.assert_array_equal(masks.liver.edits.mask, liver_mask)
    np.testing.assert_array_equal(masks.tumour.edits.mask, tumour_mask)
    assert (masks.liver.data[liver_mask] == 1).all()
    box = again.segment.model
    names = [box.itemData(i).name for i in range(box.count())]
    box.setCurrentIndex(names.index("tiny"))
    segment(qtbot, again)
    assert (masks.liver.data[liver_mask] == 1).all()
    assert (masks.tumour.data[tumour_mask] == 0).all()


def test_discarded_corrections_are_not_offered_again(make_dock, dock, qtbot, case_path):
    segment(qtbot, dock)
    before = dock.session.masks.liver.data.copy()
    _dab(dock.session.masks.liver)
    dock.correct.discard_all()
    np.testing.assert_array_equal(dock.session.masks.liver.data, before)
    assert not dock.correct.discard.isEnabled()
    dock.close_down()
    again = make_dock()
    open_case(qtbot, again, case_path)
    assert again.messages.message("recovery") is None


def test_a_full_disk_is_said(dock, qtbot, tmp_path, monkeypatch):
    segment(qtbot, dock)
    recovery = dock.session.recovery

    def full(_corrections):
        raise OSError(28, "No space left on device", "journal")

    monkeypatch.setattr(recovery._journal, "write", full)
    with qtbot.waitSignal(dock.session.journal_failed, timeout=5000):
        _dab(dock.session.masks.liver)
    assert "No space left" in dock.messages.message("journal").text


def test_presets_and_right_drag_set_the_window(make_dock, qtbot, case_path):
    dock = make_dock(show=True)
    open_case(qtbot, dock, case_path)
    layer = dock.session.ct_layer
    for preset, button in zip(PRESETS, dock.case.presets.buttons(), strict=True):
        button.click()
        assert tuple(layer.contrast_limits) == preset.limits
    dock.case.presets.buttons()[0].click()
    zoom = dock.viewer.scene.camera.zoom
    dock.viewer.layers.selection.active = layer
    paint(qtbot, dock.viewer, (6, 10, 10), (6, 10, 14), button="RightButton")
    low, high = layer.contrast_limits
    assert high - low > ABDOMEN.width_hu
    assert (high + low) / 2 == pytest.approx(ABDOMEN.level_hu)
    assert dock.viewer.scene.camera.zoom == zoom
    assert dock.viewer.scene.camera.mouse_pan
    assert "W " in dock.case.window_label.text()


def test_right_button_keeps_encircling_with_the_brush(make_dock, qtbot, case_path):
    dock = make_dock(show=True)
    open_case(qtbot, dock, case_path)
    limits = tuple(dock.session.ct_layer.contrast_limits)
    dock.correct.take("liver", "paint")
    qtbot.wait(50)
    paint(qtbot, dock.viewer, (6, 10, 10), (6, 10, 14), button="RightButton")
    assert tuple(dock.session.ct_layer.contrast_limits) == limits
    liver = dock.session.masks.liver
    assert liver.edits.in_stroke
    dock.viewer.window._qt_viewer._key_map_handler.press_key("Escape")
    assert liver.edits.count == 0
    assert not liver.data.any()


@pytest.mark.parametrize(
    ("displayed", "vertical", "expected"),
    [
        ((1, 2), "down", {"left": "R", "right": "L", "top": "A", "bottom": "P"}),
        ((0, 2), "up", {"left": "R", "right": "L", "top": "S", "bottom": "I"}),
        ((0, 1), "up", {"left": "A", "right": "P", "top": "S", "bottom": "I"}),
        ((0, 1), "down", {"left": "A", "right": "P", "top": "I", "bottom": "S"}),
    ],
)
def test_letters_of_every_plane(displayed, vertical, expected):
    assert edge_letters(displayed, vertical, "right") == expected


def test_letters_follow_the_plane_and_the_voxels(make_dock, qtbot, case_path):
    """The letter at the top is where the world coordinate says it is."""
    dock = make_dock(show=True)
    open_case(qtbot, dock, case_path)
    viewer, layer = dock.viewer, dock.session.ct_layer
    overlays = viewer.canvas.overlays
    ends = {"A": (6, 0, 26), "P": (6, 39, 26), "S": (13, 20, 26), "I": (0, 20, 26)}
    for order, pair in [((0, 1, 2), "AP"), ((1, 0, 2), "SI"), ((2, 0, 1), "SI")]:
        viewer.dims.order = order
        viewer.reset_view()
        qtbot.wait(50)
        top, bottom = (
            canvas_point(viewer, layer.data_to_world(ends[letter]))[1]
            for letter in pair
        )
        assert top < bottom
        assert overlays["liverseg_top"].text == pair[0]
        assert overlays["liverseg_bottom"].text == pair[1]
    viewer.dims.ndisplay = 3
    assert not overlays["liverseg_top"].visible
    viewer.dims.ndisplay = 2
    assert overlays["liverseg_top"].visible


def test_closing_gives_everything_back(make_dock, qtbot, case_path):
    dock = make_dock()
    viewer = dock.viewer
    open_case(qtbot, dock, case_path)
    assert "Q" in {str(key) for key in viewer.keymap}
    dock.viewer.window.remove_dock_widget(dock)
    assert not viewer.keymap
    assert not any("liverseg" in name for name in viewer.canvas.overlays)
    assert not [c for c in viewer.mouse_drag_callbacks if "WindowDrag" in str(c)]
    viewer.dims.order = (1, 0, 2)
    viewer.add_image(np.zeros(SHAPE))


def test_a_replaced_array_is_the_users(dock, qtbot):
    segment(qtbot, dock)
    liver = dock.session.masks.liver
    _dab(liver)
    own = labels().clip(max=1)
    own[12] = 1
    liver.data = own
    liver.undo()
    np.testing.assert_array_equal(liver.data, own)
    segment(qtbot, dock)
    assert liver.data[12].all()


def test_footprint_is_counted_whatever_changes(qtbot):
    """A stroke claims all that lies under the brush, changed or not."""
    layer = MaskLayer(np.zeros(SHAPE, np.uint8))
    layer.brush_size = 5
    layer.paint((6, 20, 20), 1)
    claimed = layer.edits.count
    layer.paint((6, 20, 20), 1)
    assert layer.edits.count == claimed
    layer.undo()
    assert layer.edits.count == 0
    assert layer.data.sum() == 0
    layer.fill((6, 20, 20), 1)
    assert layer.edits.count == SHAPE[1] * SHAPE[2]
    layer.undo()
    corners = [(6, 2, 2), (6, 2, 9), (6, 9, 9), (6, 9, 2)]
    layer.paint_polygon(corners, 1)
    assert layer.edits.count == np.count_nonzero(layer.data) > 40
    layer.undo()
    layer.data_setitem((np.array([1]), np.array([2]), np.array([3])), 1)
    assert layer.edits.count == 1


def test_napari_s_own_brush_size_outlives_a_stroke(dock):
    """Its keys [ and ] and its Alt-drag change the layer, not our slider."""
    dock.correct.take("liver", "paint")
    liver, tumour = dock.session.masks
    liver.brush_size = 14
    _dab(liver)
    assert (liver.brush_size, tumour.brush_size) == (14, 14)
    assert dock.correct.brush.slider.value() == 14


def test_a_run_and_a_slider_need_no_layer(dock, qtbot):
    segment(qtbot, dock)
    own = dock.session.masks.tumour.data.copy()
    dock.viewer.layers.clear()
    assert dock.session.slice_in_view is None
    move(qtbot, dock, "tumour", 99)
    assert not dock.session.masks.tumour.data[DOUBTFUL].any()
    dock.viewer.layers.clear()
    segment(qtbot, dock)
    assert dock.session.masks.tumour in dock.viewer.layers
    move(qtbot, dock, "tumour", 5)
    assert (dock.session.masks.tumour.data >= own).all()


def test_a_ct_turned_into_labels_is_no_ct_any_more(dock):
    ct = dock.session.ct_layer
    dock.viewer.layers.selection = {ct}
    ct.projection_mode = "none"
    _convert(dock.viewer.layers, "labels")
    (labels_layer,) = dock.viewer.layers
    assert dock.session.ct_layer is None
    assert not role(labels_layer)
    dock.messages.message("layers").answers["Show again"].click()
    assert dock.session.ct_layer.data is dock.session.volume.hu


def test_a_case_stays_where_the_scanner_saw_it(make_dock, qtbot, case_path):
    """napari's key 2 is the brush on a mask, and takes hold of an image."""
    dock = make_dock(show=True)
    open_case(qtbot, dock, case_path)
    ct, liver = dock.session.ct_layer, dock.session.show_layers().liver
    for layer in (ct, liver):
        dock.viewer.layers.selection.active = layer
        layer.mode = "transform"
        before = layer.data_to_world((6, 20, 20))
        paint(qtbot, dock.viewer, (6, 20, 20), (6, 30, 35))
        assert layer.data_to_world((6, 20, 20)) == before
    affine = np.eye(4)
    affine[0, 3] = 3.0
    plain = dock.viewer.add_labels(labels(), affine=affine)
    assert plain.affine.affine_matrix[0, 3] == 3.0


def test_a_mask_takes_no_array_of_another_shape(dock, qtbot):
    liver = dock.session.show_layers().liver
    _dab(liver)
    kept, before = liver.edits.count, liver.data_to_world(SPOT)
    for other in (np.zeros((3, 4, 5), np.uint8), np.zeros(SHAPE[1:], np.uint8)):
        with pytest.raises(CaseError, match="keeps the voxels of its CT"):
            liver.data = other
    assert liver.data_to_world(SPOT) == before
    assert liver.data[SPOT] == 1
    dock.session.recovery.flush()
    folder = journal_folder(dock.session.volume.series_key)
    assert Journal(folder).latest().count == liver.edits.count == kept


def test_corrections_come_back_under_a_stroke_that_waits(make_dock, qtbot, case_path):
    first = make_dock()
    open_case(qtbot, first, case_path)
    _dab(first.session.show_layers().liver)
    kept = first.session.masks.liver.data.copy()
    first.close_down()
    dock = make_dock(show=True)
    open_case(qtbot, dock, case_path)
    dock.correct.take("liver", "paint")
    qtbot.wait(50)
    paint(qtbot, dock.viewer, (7, 33, 38), (7, 33, 42), button="RightButton")
    liver = dock.session.masks.liver
    liver.paint(SPOT, 1)  # what is encircled lies under the brush
    assert liver.edits.in_stroke
    dock.messages.message("recovery").answers["Restore"].click()
    np.testing.assert_array_equal(liver.data, kept)

"""A run in the window: its plan, its settings, and what it shows before its end."""

import time

import numpy as np
import psutil
import pytest
from napari.layers import Labels

from dock_case import (
    ORIGIN,
    SPACING,
    TUMOUR,
    hounsfield,
    labels,
    open_with_model,
    segment,
    write_image,
)
from napari_liverseg.core.errors import LiversegError
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.models.contract import Windows
from napari_liverseg.models.spec import ModelSpec
from napari_liverseg.ui.compare_section import STALE
from napari_liverseg.ui.plan_line import REST_MS
from napari_liverseg.ui.read_masks import read_masks
from napari_liverseg.ui.run_options import NO_MIRROR
from napari_liverseg.ui.session import UNFINISHED
from napari_liverseg.ui.writer import write_labels
from tiny_model import write_threshold_model

pytestmark = pytest.mark.gui


@pytest.fixture
def dock(make_dock, qtbot, tmp_path):
    """A case of several rows of windows."""
    folder = tmp_path / "models" / "tiny"
    write_threshold_model(folder, spacing_mm=SPACING, patch=(4, 40, 56), overlap=0.5)
    path = write_image(tmp_path / "case.nii.gz", hounsfield())
    return open_with_model(qtbot, make_dock(show=True), path, "tiny")


def test_slices_are_shown_before_the_run_ends_and_the_end_is_the_same(dock, qtbot):
    told = []
    dock.segment._news.found.connect(lambda run, found, box: told.append((found, box)))
    segment(qtbot, dock)
    assert len(told) > 2
    masks = dock.session.masks
    np.testing.assert_array_equal(masks.segmentation().labels, labels())
    for found, box in told:
        np.testing.assert_array_equal(found, labels()[box])
    assert "GB free" in dock.segment.plan.text()
    assert "parts" in dock.segment.plan.text()


def test_what_an_unfinished_run_showed_is_taken_back(dock, qtbot):
    segment(qtbot, dock)
    session = dock.session
    layer = session.masks.tumour
    layer.data_setitem(tuple(np.nonzero(labels() == 2)[i][:40] for i in range(3)), 0)
    before = [mask.data.copy() for mask in session.masks]
    box = (slice(2, 9), slice(4, 20), slice(3, 30))
    session.show_partial(np.full((7, 16, 27), 2, np.uint8), box)
    assert session.masks.liver.data[2, 4, 3] == 1
    assert session.masks.tumour.data[2, 4, 3] == 1
    edited = session.masks.tumour.edits.mask
    assert not session.masks.tumour.data[edited].any()
    session.drop_partial()
    for mask, was in zip(session.masks, before, strict=True):
        np.testing.assert_array_equal(mask.data, was)


def test_cancel_takes_back_what_was_shown(dock, qtbot, monkeypatch):
    segment(qtbot, dock)
    before = dock.session.masks.segmentation().labels.copy()
    dock.session.masks.tumour.visible = True
    news = dock.segment._news

    def cancel(run, found, box):
        dock.segment.progress.cancel.click()

    news.found.connect(cancel)
    _slow_down(monkeypatch)
    with qtbot.waitSignal(dock.segment.slot.stopped, timeout=60_000):
        dock.segment.segment()
    np.testing.assert_array_equal(dock.session.masks.segmentation().labels, before)
    assert "Stopped" in dock.segment.result.text()


def test_a_first_run_that_is_cancelled_leaves_no_empty_masks(dock, qtbot, monkeypatch):
    cancel = dock.segment.progress.cancel
    news = dock.segment._news.found.connect(lambda *_: cancel.click())
    _slow_down(monkeypatch)
    with qtbot.waitSignal(dock.segment.slot.stopped, timeout=60_000):
        dock.segment.segment()
    session = dock.session
    assert [layer.name for layer in dock.viewer.layers] == ["CT"]
    assert not dock.export.labels.isEnabled()
    with pytest.raises(LiversegError, match="no masks"):
        session.segmentation()
    dock.segment._news.found.disconnect(news)
    segment(qtbot, dock)
    np.testing.assert_array_equal(session.masks.segmentation().labels, labels())


def test_strokes_made_during_a_cancelled_first_run_stay(dock):
    session = dock.session
    box = (slice(5, 8), slice(10, 26), slice(4, 31))
    session.show_partial(np.ones((3, 16, 27), np.uint8), box)
    with session.masks.liver.block_history():
        session.masks.liver.paint((6, 33, 40), 1)
    session.drop_partial()
    assert session.masks.liver in dock.viewer.layers
    assert session.segmentation().labels[6, 33, 40] == 1


def test_layers_removed_during_a_run_stay_away_until_its_end(dock, qtbot):
    session, layers = dock.session, dock.viewer.layers
    box = (slice(5, 8), slice(10, 26), slice(4, 31))
    session.show_partial(np.ones((3, 16, 27), np.uint8), box)
    assert session.masks.liver in layers
    layers.clear()
    session.show_partial(np.ones((3, 16, 27), np.uint8), box)
    assert not layers
    segment(qtbot, dock)
    assert [layer.name for layer in layers] == ["CT", "Liver", "Tumour"]


def _slow_down(monkeypatch):
    """Let each window take long enough for Cancel to come before the end."""
    real = ModelSpec.load_networks

    def slow(self):
        network = real(self)[0]
        network.register_forward_hook(lambda *_: time.sleep(0.15))
        return (network,)

    monkeypatch.setattr(ModelSpec, "load_networks", slow)


def test_a_part_of_a_run_is_no_result(dock, qtbot, monkeypatch, tmp_path):
    segment(qtbot, dock)
    dock.viewer.add_layer(
        Labels(labels(), name="truth", scale=SPACING, translate=ORIGIN)
    )
    with qtbot.waitSignal(dock.compare.slot.done, timeout=60_000):
        dock.compare.run.click()
    assert not dock.compare.refusal
    buttons = (dock.export.labels, dock.export.retraining, dock.compare.run)
    seen = []

    def look_and_cancel(run, found, box):
        if not seen:
            seen.extend((button.isEnabled(), button.toolTip()) for button in buttons)
            seen.append((dock.export.csv.isEnabled(), dock.compare.refusal))
            with pytest.raises(LiversegError, match="show only a part of it"):
                dock.session.segmentation()
            layers = [mask.as_layer_data_tuple() for mask in dock.session.masks]
            with pytest.raises(LiversegError, match="show only a part of it"):
                write_labels(str(tmp_path / "part.nii.gz"), layers)
            with pytest.raises(LiversegError, match="show only a part of it"):
                read_masks(dock.viewer)
        dock.segment.progress.cancel.click()

    dock.segment._news.found.connect(look_and_cancel)
    _slow_down(monkeypatch)
    with qtbot.waitSignal(dock.segment.slot.stopped, timeout=60_000):
        dock.segment.segment()
    assert seen == [(False, UNFINISHED)] * 3 + [(False, STALE)]
    assert all(button.isEnabled() for button in buttons)
    assert dock.compare.refusal == STALE
    assert "the masks have changed since" in dock.compare.status
    assert not (tmp_path / "part.nii.gz").exists()
    assert read_masks(dock.viewer).labels.any()


def test_lesions_are_counted_anew_when_a_run_is_taken_back(dock, qtbot):
    segment(qtbot, dock)
    session, masks = dock.session, dock.session.masks
    held = masks.volumes()
    part = np.zeros((3, 16, 27), np.uint8)
    part[:, ::4] = 2
    session.show_partial(part, (slice(5, 8), slice(10, 26), slice(4, 31)))
    with masks.liver.block_history():
        masks.liver.paint((6, 33, 40), 1)
    assert masks.lesion_count != held.lesions
    changes = masks.changes
    session.drop_partial()
    assert masks.changes > changes
    assert masks.volumes().lesions == held.lesions
    assert masks.volumes().tumour_ml == held.tumour_ml


def test_settings_behind_more_reach_the_run(dock, qtbot, monkeypatch):
    box = dock.segment.options
    assert not box.body.isVisible()
    qtbot.waitUntil(lambda: box.mirror.toolTip() == NO_MIRROR, timeout=60_000)
    assert not box.mirror.isEnabled()
    assert box.options(3) == RunOptions("liver", focus=3)
    mirrored = Windows((32, 32, 32), mirror_axes=(0, 1))
    monkeypatch.setattr(ModelSpec, "windows", property(lambda self: mirrored))
    dock.segment.use_model("starter-3mm")
    box.more.click()
    assert box.body.isVisibleTo(dock.segment)
    qtbot.waitUntil(lambda: "4 times as long" in box.mirror.text(), timeout=60_000)
    box.mirror.setChecked(True)
    box.look.setCurrentIndex(2)
    box.tune.setChecked(False)
    assert box.options(None) == RunOptions("everywhere", mirror=True, tune=False)


def test_the_run_begins_with_the_slice_in_view(dock):
    session = dock.session
    session.viewer.dims.set_point(0, -300.0 + 4.0 * 9)
    assert session.slice_in_view == 9
    session.viewer.dims.order = (1, 0, 2)
    assert session.slice_in_view is None
    assert labels()[TUMOUR].all()


def wait_for_forecast(dock, qtbot, words="Needs at most"):
    plan = dock.segment.plan
    qtbot.waitUntil(lambda: plan.text().startswith(words), timeout=60_000)
    return plan


def test_what_a_run_needs_is_told_before_it(dock, qtbot):
    plan = wait_for_forecast(dock, qtbot)
    assert "GB are free." in plan.text()
    assert plan.isVisibleTo(dock.segment)
    assert not plan.is_warning
    segment(qtbot, dock)
    qtbot.wait(2 * REST_MS)  # what was told by the run itself stays
    assert "parts; needs" in plan.text()
    dock.segment.options.look.setCurrentIndex(2)
    wait_for_forecast(dock, qtbot)


def test_a_run_that_will_not_fit_is_a_warning_before_it(dock, qtbot, monkeypatch):
    wait_for_forecast(dock, qtbot)
    little = psutil.virtual_memory()._replace(available=10**8)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: little)
    dock.segment.device.setCurrentIndex(dock.segment.device.findData("cpu"))
    plan = wait_for_forecast(dock, qtbot, "Needs at least")
    assert plan.is_warning
    assert "0.1 GB that are free" in plan.text()
    monkeypatch.undo()
    dock.segment.device.setCurrentIndex(dock.segment.device.findData("auto"))
    assert not wait_for_forecast(dock, qtbot).is_warning


def test_nothing_is_told_of_memory_elsewhere(dock, qtbot):
    plan = wait_for_forecast(dock, qtbot)
    box = dock.segment.device
    box.insertItem(0, "Cluster", "tcp://127.0.0.1:8786")
    box.setCurrentIndex(0)
    qtbot.waitUntil(lambda: plan.text() == "", timeout=5_000)


def test_a_device_that_is_not_there_is_told_before_the_run(dock, qtbot, monkeypatch):
    wait_for_forecast(dock, qtbot)
    dock.segment.device.addItem("NVIDIA GPU", "cuda:77")
    dock.segment.device.setCurrentIndex(dock.segment.device.findData("cuda:77"))
    plan = wait_for_forecast(dock, qtbot, "The device 'cuda:77' is not there")
    assert plan.is_warning


def test_what_the_user_painted_is_not_said_to_be_the_model_s(dock, qtbot):
    segment(qtbot, dock)
    said = dock.segment.result.text().split(";")[0]
    assert said.startswith("Tiny model found: ")
    assert "1 lesion " in said
    tumour = dock.session.masks.tumour
    with tumour.block_history():
        tumour.paint((12, 33, 40), 1)
    segment(qtbot, dock)
    assert dock.session.masks.lesion_count == 2
    assert dock.segment.result.text().split(";")[0] == said

"""What leaves the window: saved masks taken up, measures, sets, files, devices."""

import functools
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from napari.layers import Labels
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QMessageBox

from dock_case import (
    ORIGIN,
    SHAPE,
    SPACING,
    TUMOUR,
    hounsfield,
    labels,
    open_case,
    open_with_model,
    segment,
    write_image,
)
from napari_liverseg.core.errors import (
    DeviceError,
    ExportError,
    GeometryMismatchError,
    ModelError,
)
from napari_liverseg.inference.devices import resolve
from napari_liverseg.io import folder_lock
from napari_liverseg.io.open import open_ct
from napari_liverseg.io.retraining_set import add_case
from napari_liverseg.ui import launch
from napari_liverseg.ui.cluster_device import ASK
from napari_liverseg.ui.compare_section import STALE, STALE_TRUTH
from napari_liverseg.ui.dock import LiverDock
from napari_liverseg.ui.export_section import NO_PATIENT, holds
from napari_liverseg.ui.mapping_dialog import MappingDialog
from napari_liverseg.ui.reader import read_layers
from napari_liverseg.ui.segment_section import NVIDIA
from napari_liverseg.ui.truth_layer import truth_from
from napari_liverseg.ui.writer import write_labels
from tiny_model import write_threshold_model

pytestmark = pytest.mark.gui


@pytest.fixture
def case_path(tmp_path):
    write_threshold_model(tmp_path / "models" / "tiny", spacing_mm=SPACING)
    return write_image(tmp_path / "case.nii.gz", hounsfield())


@pytest.fixture
def dock(make_dock, qtbot, case_path):
    return open_with_model(qtbot, make_dock(), case_path, "tiny")


def _filled(dock):
    masks = dock.session.show_layers()
    masks.liver.data[...] = labels() > 0
    masks.tumour.data[...] = labels() == 2
    return masks


def _compare(qtbot, dock):
    dock.viewer.add_layer(
        Labels(labels(), name="truth", scale=SPACING, translate=ORIGIN)
    )
    with qtbot.waitSignal(dock.compare.slot.done, timeout=20_000):
        dock.compare.run.click()


def test_saved_masks_come_back_voxel_by_voxel(dock, qtbot, tmp_path, monkeypatch):
    """Also far from them, where the model says liver and a stroke was made."""
    segment(qtbot, dock)
    masks = dock.session.masks
    with masks.tumour.block_history():
        masks.tumour.paint((12, 36, 48), 1)
    saved = np.zeros(SHAPE, np.uint8)
    saved[4:6, 9:11, 7:9] = 1
    saved[5, 9, 8] = 2
    path, out = write_image(tmp_path / "saved.nii.gz", saved), tmp_path / "out.nrrd"
    yes = QMessageBox.StandardButton.Yes
    monkeypatch.setattr(QMessageBox, "question", lambda *_: yes)
    with qtbot.waitSignal(dock.correct.opener.opened, timeout=20_000):
        dock.correct.open_saved_masks(path)
    segment(qtbot, dock)
    with qtbot.waitSignal(dock.export.slot.done, timeout=20_000):
        dock.export.save_labels(out)
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(out)))
    np.testing.assert_array_equal(written, saved)
    assert dock.correct.edited.text().startswith("Edited by hand: the whole volume.")


def test_stale_measures_are_not_given_away(dock, qtbot, tmp_path):
    masks = _filled(dock)
    _compare(qtbot, dock)
    buttons = (dock.compare.copy, dock.export.csv)
    assert all(button.isEnabled() for button in buttons)
    path = tmp_path / "measures.csv"
    dock.export.save_csv(path)
    kept = path.read_bytes()
    assert kept.count(b"\n") > 10
    with masks.liver.block_history():
        masks.liver.paint((6, 33, 40), 1)
    assert not any(button.isEnabled() for button in buttons)
    assert {button.toolTip() for button in buttons} == {STALE}
    dock.export.save_csv(tmp_path / "stale.csv")
    assert not (tmp_path / "stale.csv").exists()
    said = dock.export.messages.message("export").text
    assert said == f"The measures were not saved. {STALE}."
    with qtbot.waitSignal(dock.compare.slot.done, timeout=20_000):
        dock.compare.run.click()
    assert all(button.isEnabled() for button in buttons)


def test_a_stroke_during_the_comparison_makes_it_stale(dock, qtbot):
    masks = _filled(dock)
    dock.viewer.add_layer(
        Labels(labels(), name="truth", scale=SPACING, translate=ORIGIN)
    )
    with qtbot.waitSignal(dock.compare.slot.done, timeout=20_000):
        dock.compare.run.click()
        with masks.liver.block_history():
            masks.liver.paint((6, 33, 40), 1)
    assert dock.compare.refusal == STALE
    assert not dock.compare.table.stale.isHidden()
    assert not dock.export.csv.isEnabled()


def test_measures_of_another_truth_are_stale(dock, qtbot, tmp_path):
    _filled(dock)
    _compare(qtbot, dock)
    compare = dock.compare
    truth = compare.truth.currentData()
    other = dock.viewer.add_layer(
        Labels(labels(), name="other", scale=SPACING, translate=ORIGIN)
    )
    assert not compare.refusal
    compare.truth.setCurrentIndex(compare.truth.findData(other))
    assert compare.refusal == STALE_TRUTH
    assert not compare.copy.isEnabled()
    assert not dock.export.csv.isEnabled()
    assert compare.table.stale.text() == f"{STALE_TRUTH}."
    dock.export.save_csv(tmp_path / "stale.csv")
    assert not (tmp_path / "stale.csv").exists()
    compare.truth.setCurrentIndex(compare.truth.findData(truth))
    assert dock.export.csv.isEnabled()
    dock.viewer.layers.remove(truth)
    assert compare.refusal == STALE_TRUTH


@pytest.mark.parametrize("way", ["paint", "undo", "data"])
def test_measures_of_a_truth_that_has_changed_are_stale(dock, qtbot, way):
    _filled(dock)
    truth = Labels(labels(), name="truth", scale=SPACING, translate=ORIGIN)
    dock.viewer.add_layer(truth)
    truth.paint((6, 33, 40), 2)
    with qtbot.waitSignal(dock.compare.slot.done, timeout=20_000):
        dock.compare.run.click()
    dock.viewer.dims.set_point(0, ORIGIN[0])  # a scroll changes nothing
    assert dock.export.csv.isEnabled()
    if way == "paint":
        truth.paint((6, 20, 40), 2)
    elif way == "undo":
        truth.undo()
    else:
        truth.data = labels()
    assert dock.compare.refusal == STALE_TRUTH
    assert not dock.export.csv.isEnabled()
    assert "the truth has changed since" in dock.compare.status
    with qtbot.waitSignal(dock.compare.slot.done, timeout=20_000):
        dock.compare.run.click()
    assert not dock.compare.refusal


def test_a_truth_is_listed_by_the_name_that_it_has_now(dock, qtbot):
    _filled(dock)
    _compare(qtbot, dock)
    truth = dock.compare.truth.currentData()
    truth.name = "Second reader"
    assert dock.compare.truth.currentText() == "Second reader"
    assert dock.compare.truth.currentData() is truth
    assert not dock.compare.refusal


def test_another_kind_of_file_is_refused_as_a_truth_in_words(dock, qtbot, tmp_path):
    (tmp_path / "notes.txt").write_text("no label map")
    with qtbot.waitSignal(dock.compare.opener.failed, timeout=20_000):
        dock.compare.open_truth(tmp_path / "notes.txt")
    text = dock.compare.messages.message("read").text
    assert text.startswith("'notes.txt' is no label map")
    assert "Open a NIfTI, NRRD or MHA file." in text


def _when_asked(kind, then):
    """Call `then` with the question's window as soon as one is open."""
    until = time.monotonic() + 20

    def look():
        window = QApplication.activeModalWidget()
        if isinstance(window, kind):
            then(window)
        elif time.monotonic() < until:
            QTimer.singleShot(20, look)

    QTimer.singleShot(20, look)


@pytest.mark.parametrize("question", ["values", "grid"])
def test_an_answer_is_not_applied_to_another_ct(dock, qtbot, tmp_path, question):
    second = write_image(tmp_path / "second.nii.gz", hounsfield(seed=2))
    foreign, away = labels() * 3, (ORIGIN[0] + 4, *ORIGIN[1:])

    def answer(window):
        open_case(qtbot, dock, second)
        if question == "values":
            window.choices[3].setCurrentText("Liver")
            window.accept()
        else:
            window.button(QMessageBox.StandardButton.Yes).click()

    if question == "values":
        path = write_image(tmp_path / "foreign.nii.gz", foreign)
        _when_asked(MappingDialog, answer)
    else:
        path = write_image(tmp_path / "away.nii.gz", labels(), away)
        _when_asked(QMessageBox, answer)
    with qtbot.waitSignal(dock.correct.opener.failed, timeout=20_000):
        dock.correct.open_saved_masks(path)
    assert "Another CT was opened" in dock.correct.messages.message("read").text
    assert not dock.correct.opener.slot.running
    assert not dock.session.masks.edited_voxels


def test_values_that_a_file_names_otherwise_are_asked_about(dock, qtbot, tmp_path):
    array = labels()
    path = write_image(
        tmp_path / "slicer.seg.nrrd", np.array([0, 2, 1], np.uint8)[array]
    )
    image = sitk.ReadImage(str(path))
    for number, name in enumerate(("tumor", "liver")):
        image.SetMetaData(f"Segment{number}_LabelValue", str(number + 1))
        image.SetMetaData(f"Segment{number}_Name", name)
    sitk.WriteImage(image, str(path))
    _when_asked(MappingDialog, lambda window: window.accept())
    with qtbot.waitSignal(dock.correct.opener.opened, timeout=20_000):
        dock.correct.open_saved_masks(path)
    assert (dock.session.masks.segmentation().labels == array).all()


def test_another_ct_does_not_replace_a_case_of_a_set(dock, qtbot, tmp_path):
    _filled(dock)
    folder = tmp_path / "set"
    with qtbot.waitSignal(dock.export.slot.done, timeout=20_000):
        dock.export.add_to_set(folder)
    kept = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    second = write_image(tmp_path / "second.nii.gz", hounsfield(seed=2))

    def answer(window):
        open_case(qtbot, dock, second)
        _filled(dock)
        window.button(QMessageBox.StandardButton.Yes).click()

    _when_asked(QMessageBox, answer)
    with qtbot.waitSignal(dock.export.slot.failed, timeout=20_000):
        dock.export.add_to_set(folder)
    assert not dock.export.slot.running
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == kept
    assert "Another CT was opened" in dock.export.messages.message("export").text


def test_a_csv_that_cannot_be_written_leaves_the_old_one(dock, qtbot, tmp_path):
    _filled(dock)
    _compare(qtbot, dock)
    dock.export.save_csv(tmp_path / "missing" / "measures.csv")
    assert "could not be written" in dock.export.messages.message("export").text
    dock.export.save_csv(tmp_path / "measures.csv")
    assert not list(tmp_path.glob(".*part*"))


def test_a_case_of_a_set_is_replaced_only_when_the_user_agrees(
    dock, qtbot, tmp_path, monkeypatch
):
    masks = _filled(dock)
    folder = tmp_path / "set"
    with qtbot.waitSignal(dock.export.slot.done, timeout=20_000):
        dock.export.add_to_set(folder)
    assert NO_PATIENT in dock.export.messages.message("export").text
    (label,) = (folder / "labelsTr").iterdir()
    masks.tumour.data[...] = 0
    answers = [QMessageBox.StandardButton.No, QMessageBox.StandardButton.Yes]
    monkeypatch.setattr(QMessageBox, "question", lambda *_: answers.pop(0))
    with qtbot.waitSignal(dock.export.slot.failed, timeout=20_000):
        dock.export.add_to_set(folder)
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(label))).max() == 2
    with qtbot.waitSignal(dock.export.slot.done, timeout=20_000):
        dock.export.add_to_set(folder)
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(label))).max() == 1
    assert dock.export.messages.message("export").text.startswith("Replaced ")
    assert not answers


def test_a_no_to_replacing_a_case_hides_no_other_error(
    dock, qtbot, tmp_path, monkeypatch
):
    _filled(dock)
    folder = tmp_path / "set"
    with qtbot.waitSignal(dock.export.slot.done, timeout=20_000):
        dock.export.add_to_set(folder)
    seen_with_question = []

    def no(*_):
        seen_with_question.append(dock.export.messages.message("export"))
        return QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", no)
    monkeypatch.setattr(folder_lock, "PATIENCE_S", 0.1)
    with (
        folder_lock.locked(folder),
        qtbot.waitSignal(dock.export.slot.failed, timeout=20_000),
    ):
        dock.export.add_to_set(folder)
    told = dock.export.messages.message("export")
    assert seen_with_question == [told]
    assert "Somebody else" in told.text
    # Nobody can say whether an index that is no JSON holds the case.
    index = folder / "cases.json"
    index.write_text(index.read_text(encoding="utf-8") + "}", encoding="utf-8")
    with qtbot.waitSignal(dock.export.slot.failed, timeout=20_000):
        dock.export.add_to_set(folder)
    assert seen_with_question == [told]
    told = dock.export.messages.message("export")
    assert "cases.json' of the retraining set cannot be read" in told.text


def test_another_part_of_a_series_is_no_case_to_replace(dock, tmp_path):
    _filled(dock)
    shown = dock.session.volume
    upper = replace(shown, hu=shown.hu[::-1].copy())
    folder = tmp_path / "set"
    assert not holds(folder, shown)
    add_case(folder, shown, dock.session.segmentation())
    assert holds(folder, shown)
    assert not holds(folder, upper)


def test_only_the_layers_of_one_label_map_are_written(dock, tmp_path):
    masks = _filled(dock)
    liver, tumour = (layer.as_layer_data_tuple() for layer in masks)
    ct = dock.session.ct_layer.as_layer_data_tuple()
    truth = (labels(), {**liver[1], "metadata": {**liver[1]["metadata"]}}, "labels")
    truth[1]["metadata"]["napari-liverseg:role"] = "truth"
    out = tmp_path / "out.nii.gz"
    for refused in ([liver, liver], [liver, tumour, tumour], [truth, liver], [ct]):
        with pytest.raises(ExportError, match="do not make one label map"):
            write_labels(str(out), refused)
        assert not out.exists()
    foreign = (labels().astype(np.int32) + 256 * (labels() == 1), *truth[1:])
    with pytest.raises(ExportError, match="other values than 0, 1 and 2"):
        write_labels(str(out), [foreign])
    for accepted in ([liver], [tumour, liver], [truth]):
        assert write_labels(str(out), accepted)


def _tilted(path, array, degrees):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(SPACING[::-1])
    image.SetOrigin(ORIGIN[::-1])
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0, 0, np.radians(degrees))
    image.SetDirection(turn.GetMatrix())
    sitk.WriteImage(image, str(path))
    return path


def _as_layer(path):
    ((data, settings, _),) = read_layers(str(path))
    return Labels(data, **settings)


def test_a_truth_on_a_tilted_ct_must_know_its_own_tilt(tmp_path):
    volume = open_ct(_tilted(tmp_path / "ct.nii.gz", hounsfield(), 12))
    same = _as_layer(_tilted(tmp_path / "label_same.nii.gz", labels(), 12))
    np.testing.assert_array_equal(truth_from(same, volume).labels == 2, _box(TUMOUR))
    settings = {"scale": same.scale, "translate": same.translate}
    upright = _as_layer(write_image(tmp_path / "label_upright.nii.gz", labels()))
    upright.translate = same.translate
    for stranger in (upright, Labels(labels(), **settings)):
        with pytest.raises(GeometryMismatchError, match="From file"):
            truth_from(stranger, volume)


def _box(box):
    mask = np.zeros(SHAPE, bool)
    mask[box] = True
    return mask


def test_a_moved_or_turned_layer_is_no_truth(case_path):
    volume = open_ct(case_path)
    settings = {"scale": SPACING, "translate": ORIGIN}
    truth_from(Labels(labels(), **settings), volume)
    for moved in ({"translate": (0, 0, 0)}, {"rotate": (0.0, 0.0, 10.0)}):
        with pytest.raises(GeometryMismatchError):
            truth_from(Labels(labels(), **{**settings, **moved}), volume)


def test_a_gpu_can_be_chosen_before_pytorch_is_loaded(dock, monkeypatch):
    names = {name: sys.modules[name] for name in sys.modules if name != "torch"}
    with monkeypatch.context() as patch:
        patch.setattr(sys, "modules", names)
        patch.setattr(sys, "platform", "linux")
        dock.segment._fill_devices()
    box = dock.segment.device
    assert [box.itemData(i) for i in range(box.count())] == [
        "auto",
        "cpu",
        *NVIDIA,
        ASK,
    ]
    box.setCurrentIndex(2)
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="no such NVIDIA GPU"):
            resolve("cuda")
        dock.segment._fill_devices()
        assert box.currentData() == "auto"


def test_the_demonstration_says_why_it_cannot_segment(
    make_napari_viewer, monkeypatch, tmp_path
):
    docks = _launched(make_napari_viewer, monkeypatch)
    monkeypatch.setattr("napari_liverseg.ui.segment_section.list_models", tuple)
    monkeypatch.setattr("napari_liverseg.models.store.list_models", tuple)
    with pytest.raises(ModelError, match="No model is installed"):
        launch.demo(tmp_path / "out")
    assert not docks[0].is_open


def test_closing_the_window_ends_the_demonstration(
    make_napari_viewer, monkeypatch, tmp_path, capsys, case_path
):
    def endless(_ask, report, is_cancelled):
        report(0, 1, "Working")
        while not is_cancelled():
            time.sleep(0.01)

    docks = _launched(make_napari_viewer, monkeypatch)
    monkeypatch.setattr("napari_liverseg.ui.segment_section.predict", endless)
    close_soon = functools.partial(QTimer.singleShot, 100)
    monkeypatch.setattr(
        launch, "default_model", lambda: close_soon(docks[0].viewer.close)
    )
    launch.demo(tmp_path / "out")
    assert "closed before" in capsys.readouterr().out
    assert not list((tmp_path / "out").iterdir())


def _launched(make_napari_viewer, monkeypatch):
    """Let the demonstration use a viewer of the test's; its dock is kept."""
    docks = []

    def opened():
        viewer = make_napari_viewer()
        dock = LiverDock(viewer)
        viewer.window.add_dock_widget(dock, name="Liver segmentation")
        docks.append(dock)
        return dock

    monkeypatch.setattr(launch, "open_window", opened)
    return docks


@pytest.mark.parametrize("answer", ["Yes", "No"])
def test_strokes_made_while_saved_masks_are_read_are_asked_about(
    dock, qtbot, tmp_path, monkeypatch, answer
):
    asked = []
    monkeypatch.setattr(
        QMessageBox,
        "question",
        lambda *words: (
            asked.append(words) or getattr(QMessageBox.StandardButton, answer)
        ),
    )
    path = write_image(tmp_path / "saved.nii.gz", labels())
    liver = dock.session.show_layers().liver
    with qtbot.waitSignal(dock.correct.opener.opened, timeout=20_000):
        dock.correct.open_saved_masks(path)
        with liver.block_history():
            liver.paint((6, 33, 40), 1)
    assert len(asked) == 1
    assert bool(liver.data[6, 33, 40]) is (answer == "No")
    assert bool(liver.data[6, 12, 12]) is (answer == "Yes")


def test_measures_saved_during_an_export_do_not_end_it(dock, qtbot, tmp_path):
    _filled(dock)
    _compare(qtbot, dock)
    told = []
    dock.export.added_to.connect(told.append)
    with qtbot.waitSignal(dock.export.slot.done, timeout=20_000):
        dock.export.add_to_set(tmp_path / "set")
        dock.export.save_csv(tmp_path / "measures.csv")
        assert not told
    assert told == [tmp_path / "set"]
    assert "1 case" in dock.retrain.chosen.text()


def test_a_label_map_of_another_place_is_no_empty_truth(dock, qtbot, tmp_path):
    away = (ORIGIN[0] + 900, *ORIGIN[1:])
    path = write_image(tmp_path / "away.nii.gz", labels(), away)
    with qtbot.waitSignal(dock.compare.opener.failed, timeout=20_000):
        dock.compare.opener.open(path, resample=True)
    assert "where the CT lies" in dock.compare.messages.message("read").text

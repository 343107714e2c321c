"""What the window says: names as they are written, refusals with a way on."""

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtGui import QGuiApplication
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel, QScrollArea

from dock_case import (
    ORIGIN,
    SHAPE,
    SPACING,
    TUMOUR,
    hounsfield,
    labels,
    open_case,
    write_image,
)
from napari_liverseg.core.errors import CaseError
from napari_liverseg.ui.compare_section import NO_TRUE_TUMOUR
from napari_liverseg.ui.dock import WIDTH_PX
from napari_liverseg.ui.message import Message
from napari_liverseg.ui.truth_layer import truth_from
from napari_liverseg.ui.words import Words

pytestmark = pytest.mark.gui

UID = "1.2.840.113619.2.404.3.2831868503.456.1543829402.123_CT_Abdomen_Br40_3_portal"


@pytest.fixture
def dock(make_dock, qtbot, tmp_path):
    """With the exact masks of a case."""
    dock = make_dock(show=True)
    open_case(qtbot, dock, write_image(tmp_path / f"{UID}.nii.gz", hounsfield()))
    masks = dock.session.show_layers()
    masks.liver.data[...] = labels() > 0
    masks.tumour.data[...] = labels() == 2
    return dock


def test_a_long_name_does_not_push_the_dock_out_of_sight(dock, qtbot, tmp_path):
    dock.case.set_open(True)
    dock.export.set_open(True)
    with qtbot.waitSignal(dock.export.slot.done, timeout=20_000):
        dock.export.save_labels(tmp_path / f"{UID}_labels.nii.gz")
    qtbot.wait(50)
    area = dock.findChild(QScrollArea)
    assert area.widget().width() <= area.viewport().width()
    assert UID in dock.case.about.text()


def test_what_is_copied_is_what_was_written(qtbot):
    message = Message(f"Saved /data/{UID}.nii.gz.")
    qtbot.addWidget(message)
    label = message.findChild(Words)
    label.setSelection(0, len(QLabel.text(label)))
    QTest.keyClick(label, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == message.text


def test_a_name_in_angle_brackets_is_no_markup(qtbot):
    words = Words("CT <b>.nii")
    qtbot.addWidget(words)
    assert words.textFormat() == Qt.TextFormat.PlainText
    assert words.text() == "CT <b>.nii"


@pytest.mark.parametrize("letters", [246, 300])
def test_a_long_name_is_taken_or_refused_in_words(
    dock, qtbot, tmp_path, monkeypatch, letters
):
    """A disk takes 255 letters."""
    name = f"{'a' * letters}.nii.gz"
    monkeypatch.setattr(
        "napari_liverseg.ui.export_section.QFileDialog.getSaveFileName",
        lambda *_: (str(tmp_path / name), "NIfTI (*.nii.gz)"),
    )
    with qtbot.waitSignal(dock.export.slot.ended, timeout=20_000):
        dock.export.labels.click()
    qtbot.waitUntil(lambda: dock.export.messages.message("export") is not None)
    said = dock.export.messages.message("export").text
    if letters < 250:
        assert said.startswith("Saved and checked")
    else:
        assert said.endswith("is too long a name. Choose a shorter one.")
    assert not list(tmp_path.glob(".*part*"))


def test_a_folder_that_refuses_all_is_told(dock, qtbot, tmp_path):
    """A read-only disk refuses to remove what was never written there."""
    truth = Labels(labels(), name="t", scale=SPACING, translate=ORIGIN)
    dock.viewer.add_layer(truth)
    with qtbot.waitSignal(dock.compare.slot.done, timeout=20_000):
        dock.compare.run.click()
    (tmp_path / "file").touch()  # in a file nothing can be written or removed
    dock.export.save_csv(tmp_path / "file" / "measures.csv")
    assert "could not be written" in dock.export.messages.message("export").text


def test_a_truth_without_tumour_is_told(dock, qtbot):
    liver = (labels() > 0).astype(np.uint8)
    dock.viewer.add_layer(Labels(liver, name="t", scale=SPACING, translate=ORIGIN))
    with qtbot.waitSignal(dock.compare.slot.done, timeout=20_000):
        dock.compare.run.click()
    assert dock.compare.messages.message("tumour").text == NO_TRUE_TUMOUR
    liver[TUMOUR] = 2
    dock.compare.truth.currentData().refresh()
    with qtbot.waitSignal(dock.compare.slot.done, timeout=20_000):
        dock.compare.run.click()
    assert dock.compare.messages.is_empty


def test_a_layer_of_many_organs_is_refused_with_a_way_on(dock):
    organs = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 118
    layer = Labels(organs, name="organs", scale=SPACING, translate=ORIGIN)
    with pytest.raises(CaseError, match=r"10, 11 and 106 more.*'From file…'"):
        truth_from(layer, dock.session.volume)


def test_a_long_device_fits_into_the_dock(make_dock):
    segment = make_dock(show=True).segment
    segment.set_open(True)
    segment.device.addItem("Cluster tls://scheduler.gpu.hospital.example.org:8786" * 2)
    assert segment.minimumSizeHint().width() < WIDTH_PX

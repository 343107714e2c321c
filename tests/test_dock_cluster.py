"""A cluster's address is a device: asked for once, remembered, and computed on."""

import numpy as np
import pytest
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QInputDialog

from cluster_case import cluster_inside
from dock_case import SPACING, hounsfield, labels, open_with_model, segment, write_image
from napari_liverseg.ui.cluster_device import ASK, KEPT, remember, remembered
from tiny_model import write_threshold_model

pytestmark = pytest.mark.gui


@pytest.fixture
def dock(make_dock, qtbot, tmp_path):
    write_threshold_model(tmp_path / "models" / "tiny", spacing_mm=SPACING)
    path = write_image(tmp_path / "case.nii.gz", hounsfield())
    return open_with_model(qtbot, make_dock(), path, "tiny")


def choose_cluster(qtbot, dock, text):
    """Choose the entry and answer the question; None closes it."""
    box, answered = dock.segment.device, []

    def answer():
        dialog = QApplication.activeModalWidget()
        if not isinstance(dialog, QInputDialog):
            QTimer.singleShot(50, answer)
            return
        answered.append(dialog.labelText())
        if text is None:
            dialog.reject()
        else:
            dialog.setTextValue(text)
            dialog.accept()

    QTimer.singleShot(50, answer)
    index = box.findData(ASK)
    box.setCurrentIndex(index)
    box.activated.emit(index)  # as Qt does when a user has chosen
    assert "trust" in answered[0]


def test_the_masks_come_from_a_cluster(dock, qtbot):
    with cluster_inside() as cluster:
        address = cluster.scheduler_address
        choose_cluster(qtbot, dock, f" {address} ")
        assert dock.segment.device.currentData() == address
        assert dock.segment.device.currentText() == f"Cluster {address}"
        segment(qtbot, dock)
    found = np.count_nonzero(dock.session.masks.liver.data)
    assert found == pytest.approx(np.count_nonzero(labels()), rel=0.1)
    assert "cpu (cluster)" in dock.segment.result.text()
    plan = dock.segment.plan
    assert plan.text().startswith("On the cluster: ")
    assert "The masks come whole" in plan.text()
    assert plan.isVisibleTo(dock.segment)
    assert dock.segment.device.currentData() == address
    assert remembered() == (address,)


def test_a_cluster_that_is_gone_is_a_sentence(dock, qtbot):
    choose_cluster(qtbot, dock, "tcp://127.0.0.1:1")
    with qtbot.waitSignal(dock.segment.slot.failed, timeout=30_000):
        dock.segment.segment()
    message = dock.segment.messages.message("run")
    assert message.text.startswith("No scheduler answers at tcp://127.0.0.1:1")
    assert dock.segment.run.isEnabled()


def test_an_address_that_is_none_changes_nothing(dock, qtbot):
    box = dock.segment.device
    box.setCurrentIndex(1)
    box.activated.emit(1)
    choose_cluster(qtbot, dock, "scheduler")
    assert "no address" in dock.segment.messages.message("cluster").text
    choose_cluster(qtbot, dock, None)
    assert box.currentIndex() == 1
    assert remembered() == ()


def test_the_latest_addresses_are_remembered(tmp_path):
    for number in (*range(KEPT + 2), 3):
        remember(f"tcp://10.0.0.{number}:8786")
    numbers = [address.split(".")[-1][0] for address in remembered()]
    assert numbers == ["3", "6", "5", "4", "2"]
    (tmp_path / "data" / "clusters.json").write_text('{"addresses": ["cuda:0", 7]}')
    assert remembered() == ()
    (tmp_path / "data" / "clusters.json").write_text("[broken")
    assert remembered() == ()


def test_a_question_that_is_closed_leaves_the_chosen_cluster(dock, qtbot):
    """Also after a run, which lists the latest cluster first."""
    first, latest = "tcp://127.0.0.1:1", "tcp://127.0.0.1:2"
    box = dock.segment.device
    for address in (first, latest):
        choose_cluster(qtbot, dock, address)
    assert box.currentData() == latest
    with qtbot.waitSignal(dock.segment.slot.failed, timeout=30_000):
        dock.segment.segment()
    assert box.currentData() == latest
    choose_cluster(qtbot, dock, None)
    assert box.currentData() == latest


def test_a_cluster_that_cannot_be_remembered_stays_chosen(dock, qtbot, monkeypatch):
    monkeypatch.setattr("napari_liverseg.ui.cluster_device.remember", lambda _: None)
    choose_cluster(qtbot, dock, "tcp://127.0.0.1:1")
    with qtbot.waitSignal(dock.segment.slot.failed, timeout=30_000):
        dock.segment.segment()
    assert dock.segment.device.currentData() == "tcp://127.0.0.1:1"

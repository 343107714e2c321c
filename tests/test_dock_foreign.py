"""Models by others in step 2: their weights are read beside the window, or refused."""

import os
import threading
from pathlib import Path

import pytest
import torch
from qtpy.QtCore import Qt

from dock_case import SPACING, hounsfield, open_case, write_image
from napari_liverseg.models import nnunet_checkpoint
from napari_liverseg.ui.plan_line import Outlook
from napari_liverseg.ui.run_options import MIRROR, NO_MIRROR
from nnunet_case import checkpoint, random_state, write_folder
from tiny_model import write_threshold_model

pytestmark = pytest.mark.gui

FOREIGN = "dataset017_liver-3d_fullres"
ELSEWHERE = "tcp://127.0.0.1:1"


class Evil:
    """What a checkpoint must not hold."""

    def __reduce__(self):
        return (os.system, ("true",))


REFUSED = {
    "code": ({"logging": Evil()}, "could run code"),
    "trainer": ({"trainer_name": "MyTrainer"}, "its trainer is 'MyTrainer'"),
    "no checkpoint": (None, "is refused"),
}


@pytest.fixture
def readers(monkeypatch):
    """Who reads checkpoints, as threads."""
    real, threads = nnunet_checkpoint.read_checkpoint, []

    def read(path):
        threads.append(threading.current_thread())
        return real(path)

    monkeypatch.setattr(nnunet_checkpoint, "read_checkpoint", read)
    return threads


@pytest.fixture
def make_case(make_dock, qtbot, tmp_path):
    """Open a case where an nnU-Net is installed beside a model of our own."""

    def make(weights=(), **changes):
        models = tmp_path / "models"
        write_threshold_model(models / "tiny", spacing_mm=SPACING)
        folder = write_folder(models, weights, **changes)
        dock = make_dock(show=True)
        open_case(qtbot, dock, write_image(tmp_path / "ct.nii.gz", hounsfield()))
        dock.segment.set_open(True)
        return dock, folder

    return make


def choose(dock, name):
    """Choose a model in the list as a user does: by its entry."""
    box = dock.segment.model
    names = [box.itemData(i).name for i in range(box.count())]
    box.setFocus()
    box.setCurrentIndex(names.index(name))
    box.activated.emit(box.currentIndex())


def wait_for_plan(qtbot, dock, words):
    plan = dock.segment.plan
    qtbot.waitUntil(lambda: words in plan.text(), timeout=60_000)
    return plan


def test_weights_are_read_beside_the_window(make_case, qtbot, tmp_path, readers):
    pytest.importorskip("dynamic_network_architectures")
    dock, _ = make_case([random_state(write_folder(tmp_path / "of"))])
    mirror = dock.segment.options.mirror
    choose(dock, FOREIGN)
    assert (mirror.text(), mirror.isEnabled()) == (MIRROR, True)  # not known yet
    qtbot.waitUntil(lambda: "8 times as long" in mirror.text(), timeout=60_000)
    assert wait_for_plan(qtbot, dock, "Needs at most").isVisible()
    dock.segment.list_anew()
    dock.segment.use_model(FOREIGN)
    qtbot.waitUntil(lambda: "8 times as long" in mirror.text(), timeout=60_000)
    assert readers
    assert threading.main_thread() not in readers
    choose(dock, "tiny")
    qtbot.waitUntil(lambda: mirror.toolTip() == NO_MIRROR, timeout=60_000)
    assert not mirror.isEnabled()
    assert mirror.text() == MIRROR


@pytest.mark.parametrize("device", ["auto", ELSEWHERE])
@pytest.mark.parametrize("kind", REFUSED)
def test_a_checkpoint_that_is_refused_is_a_sentence(make_case, qtbot, kind, device):
    changes, words = REFUSED[kind]
    dock, folder = make_case(**(changes or {}))
    if changes is None:
        (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"no zip")
    step = dock.segment
    step.device.addItem("Device", device)
    step.device.setCurrentIndex(step.device.findData(device))
    choose(dock, FOREIGN)
    plan = wait_for_plan(qtbot, dock, words)
    assert plan.isVisible()
    assert plan.is_warning
    assert "Get the model folder again" in plan.text()
    assert step.run.isEnabled()
    step.list_anew()  # as after a retraining
    assert step.spec.name == FOREIGN
    choose(dock, "tiny")
    qtbot.waitUntil(lambda: not plan.is_warning, timeout=60_000)
    qtbot.waitUntil(lambda: step.options.mirror.toolTip() == NO_MIRROR, timeout=60_000)
    assert step.run.isEnabled()


def test_a_run_of_what_is_refused_ends_in_a_sentence(make_case, qtbot):
    dock, _ = make_case(**REFUSED["code"][0])
    step = dock.segment
    choose(dock, FOREIGN)
    wait_for_plan(qtbot, dock, "could run code")
    with qtbot.waitSignal(step.slot.failed, timeout=60_000):
        qtbot.mouseClick(step.run, Qt.MouseButton.LeftButton)
    assert "could run code" in step.messages.message("run").text
    assert step.run.isEnabled()


def test_what_is_known_of_one_model_is_not_said_of_the_next(make_case, qtbot):
    """A look that ends after the choice, and before the next look, is another's."""
    dock, _ = make_case()
    step = dock.segment
    wait_for_plan(qtbot, dock, "Needs at most")
    choose(dock, FOREIGN)
    step.plan._on_outlook(Outlook((0, 1)))
    assert step.options.mirror.text() == MIRROR


def test_a_checkpoint_that_is_mended_is_taken(make_case, qtbot):
    dock, folder = make_case(**REFUSED["trainer"][0])
    step = dock.segment
    step.device.addItem("Cluster", ELSEWHERE)
    step.device.setCurrentIndex(step.device.findData(ELSEWHERE))
    choose(dock, FOREIGN)
    plan = wait_for_plan(qtbot, dock, "its trainer")
    mended = checkpoint({}, inference_allowed_mirroring_axes=(1, 2))
    torch.save(mended, Path(folder) / "fold_0" / "checkpoint_final.pth")
    step.list_anew()
    mirror = step.options.mirror
    qtbot.waitUntil(lambda: "4 times as long" in mirror.text(), timeout=60_000)
    assert plan.text() == ""


def test_a_run_begun_at_once_loses_no_wish(make_case, qtbot):
    """Who presses Segment before the model is looked at learns of it after the run."""
    dock, _ = make_case()
    step = dock.segment
    choose(dock, "tiny")
    step.options.mirror.setChecked(True)
    assert step.options.options(None).mirror
    with qtbot.waitSignal(dock.session.result_changed, timeout=60_000):
        qtbot.mouseClick(step.run, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: step.options.mirror.toolTip() == NO_MIRROR, timeout=60_000)
    assert "; needs" in step.plan.text()  # what was told by the run itself stays

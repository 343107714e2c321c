"""From a correction to a new model, in a real window and a real process."""

import subprocess
import sys

import pytest
import SimpleITK as sitk
from qtpy.QtCore import Qt

from dock_case import open_with_model, segment
from napari_liverseg.core.data_folder import data_folder
from napari_liverseg.core.errors import CancelledError, ModelError
from napari_liverseg.io.grid import to_image
from napari_liverseg.models.store import find_model, list_models, user_folder
from napari_liverseg.models.two_stage import TwoStage
from napari_liverseg.synthesis.phantom import make_phantom
from napari_liverseg.training import own_process
from napari_liverseg.training.breakdown import Breakdown, note_breakdown
from napari_liverseg.training.own_process import Retraining
from napari_liverseg.ui.retrain_section import begin_with, say_result, say_set
from nnunet_case import write_folder
from tiny_model import (
    write_own_two_stage,
    write_random_model,
    write_threshold_model,
)
from training_case import SHAPE, SPACING, make_set, write_recipe

pytest.importorskip("lightning")
pytestmark = pytest.mark.gui


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """Make the quick recipe quicker: two short epochs."""
    from napari_liverseg.training.recipe import bundled_recipes

    text = bundled_recipes()["quick"].read_text()
    for field in ("epochs: 20", "steps_per_epoch: 40"):
        assert field in text
        text = text.replace(field, f"{field.split(':')[0]}: 2")
    recipe = tmp_path / "quicker.yaml"
    recipe.write_text(text)
    monkeypatch.setattr(
        own_process, "Retraining", lambda *given: Retraining(*given, str(recipe))
    )


def _press(qtbot, dock):
    dock.retrain.set_open(True)
    qtbot.mouseClick(dock.retrain.train, Qt.MouseButton.LeftButton)
    assert dock.retrain.slot.running


def test_corrections_become_a_model_that_is_compared_and_offered(
    make_dock, qtbot, tmp_path, quick
):
    write_threshold_model(user_folder() / "bands")
    write_random_model(user_folder() / "unet", spacing_mm=(18.0, 18.0, 18.0))
    dock = make_dock(show=True)
    _correct_and_add(qtbot, dock, tmp_path, "bands")
    assert dock.retrain.start.name == "bands"
    dock.segment.use_model("unet")
    assert "Begins from 'Tiny model'" in dock.retrain.begins.text()
    message = _retrain(qtbot, dock)
    assert "unet" in [spec.name for spec in list_models()]
    assert dock.segment.spec.name == "unet"
    box = dock.segment.model
    shown = [box.itemText(i) for i in range(box.count())]
    assert message.text.partition("'")[2].partition("'")[0] in shown
    qtbot.mouseClick(message.answers["Use it"], Qt.MouseButton.LeftButton)
    new = dock.segment.spec
    assert new.name.startswith("quick")
    assert "not for clinical use" in new.notice
    assert find_model("unet").sha256 != new.sha256
    assert dock.segment.is_open


@pytest.mark.slow
def test_a_two_stage_model_is_corrected_retrained_and_used(
    make_dock, qtbot, tmp_path, quick
):
    write_own_two_stage(user_folder() / "two")
    dock = make_dock(show=True)
    _correct_and_add(qtbot, dock, tmp_path, "two")
    assert dock.retrain.begins.text() == "Begins from 'Two', the model of step 2."
    message = _retrain(qtbot, dock)
    qtbot.mouseClick(message.answers["Use it"], Qt.MouseButton.LeftButton)
    new, old = dock.segment.spec, find_model("two")
    assert isinstance(new, TwoStage)
    assert new.finder.sha256 == old.finder.sha256
    assert new.detail.sha256 != old.detail.sha256
    assert dock.retrain.start.name == new.name
    segment(qtbot, dock)
    assert dock.session.probabilities.run.model_sha256 == new.sha256
    assert dock.session.masks.volumes().liver_ml > 0


def _correct_and_add(qtbot, dock, tmp_path, model):
    """Segment a phantom, correct a voxel, and add it to a set of four."""
    phantom = make_phantom(9, SHAPE, SPACING).volume
    ct = tmp_path / "ct.nii.gz"
    sitk.WriteImage(to_image(phantom.hu, phantom.geometry), str(ct))
    open_with_model(qtbot, dock, ct, model)
    segment(qtbot, dock)
    masks = dock.session.masks
    with masks.tumour.block_history():
        masks.tumour.paint((12, 12, 8), 1)
    folder = make_set(tmp_path / "set")
    with qtbot.waitSignal(dock.export.added_to, timeout=20_000):
        dock.export.add_to_set(folder)
    assert dock.retrain.folder == folder
    assert "5 cases of 4 patients" in dock.retrain.chosen.text()


def _retrain(qtbot, dock):
    """Train, and return what the window says of the new model."""
    _press(qtbot, dock)
    qtbot.waitUntil(lambda: not dock.retrain.slot.running, timeout=240_000)
    assert dock.retrain.messages.message("training") is None
    message = dock.retrain.messages.message("made")
    assert "the old one is unchanged" in message.text
    assert "liver Dice" in message.text
    return message


def _listed(dock):
    box = dock.segment.model
    return [box.itemData(i).name for i in range(box.count())]


def test_cancel_ends_the_process_and_makes_no_model(make_dock, qtbot, tmp_path):
    write_random_model(user_folder() / "unet", spacing_mm=(18.0, 18.0, 18.0))
    before = sorted(path.name for path in user_folder().iterdir())
    dock = make_dock()
    dock.retrain.use_folder(make_set(tmp_path / "set"))
    dock.segment.use_model("unet")
    _press(qtbot, dock)
    qtbot.wait(500)
    with qtbot.waitSignal(dock.retrain.slot.stopped, timeout=120_000):
        dock.retrain.slot.cancel()
    message = dock.retrain.messages.message("training")
    assert "No model was made" in message.text
    assert sorted(path.name for path in user_folder().iterdir()) == before
    assert list((data_folder() / "trainings").iterdir()) == []
    assert dock.retrain.train.isEnabled()


@pytest.mark.parametrize("is_the_users", [False, True])
def test_a_cancelled_training_leaves_no_copies_of_cts(tmp_path, is_the_users):
    write_random_model(user_folder() / "unet", spacing_mm=(18.0, 18.0, 18.0))
    its_own = {"spacing_mm": None, "patch": None, "network": None, "start": "unet"}
    recipe = write_recipe(tmp_path / "r.yaml", epochs=5000, **its_own)
    data, out = make_set(tmp_path / "set"), tmp_path / "trainings" / "now"
    before = sorted(data.rglob("*"))
    if is_the_users:
        out.mkdir(parents=True)
    told, seen = [], []

    def is_cancelled():
        learns = any("Epoch 1 of" in text for text in told)
        if learns:
            seen.append((out / "cache").is_dir())
        return learns

    wish = Retraining(data, "unet", 5, str(recipe))
    with pytest.raises(CancelledError):
        own_process.retrain(
            wish, out, lambda *given: told.append(given[2]), is_cancelled
        )
    assert seen == [True]
    assert out.exists() == is_the_users
    assert out.parent.is_dir()
    assert sorted(data.rglob("*")) == before


def test_it_is_told_what_a_training_does_between_epochs(tmp_path):
    write_random_model(user_folder() / "unet", spacing_mm=(18.0, 18.0, 18.0))
    its_own = {"spacing_mm": None, "patch": None, "network": None, "start": "unet"}
    recipe = write_recipe(tmp_path / "r.yaml", epochs=1, steps_per_epoch=1, **its_own)
    wish = Retraining(make_set(tmp_path / "set"), "unet", 5, str(recipe))
    told = []
    out = tmp_path / "out"
    result = own_process.retrain(
        wish, out, lambda *given: told.append(given[2]), lambda: False
    )
    assert result["broke_down"] == ()
    note_breakdown(out / "fold_1", Breakdown(3, "the loss is no number"))
    assert "epoch 3" in own_process.read_comparison(out)["broke_down"][0]
    for text in ("Checking case 1", "Epoch 1 of 1", "Measuring held-out case 1"):
        assert any(said.startswith(text) for said in told), told


SAYS = """
import sys, time
time.sleep(0.7)
for line in sys.argv[1:]:
    print(line, file=sys.stderr, flush=True)
"""


def test_a_share_of_the_minutes_is_told_of_learning_alone(tmp_path, monkeypatch):
    (tmp_path / "result.json").write_text('{"name": "quick-1", "sha256": "0"}')
    lines = {
        "Checking case 1": 0,
        "Epoch 1 of 20, loss 0.512": 0,  # nothing was timed yet
        "Epoch 1 of 20, loss 0.498, about 10 min left": 1000,
        "Epoch 1 of 20: loss 0.498, about 10 min left at most": 1000,
        "Fold 1 of 2, epoch 3 of 20: loss 0.4, about 9 s left of this fold at most": (
            1000
        ),
        "Measuring held-out case 3": 0,
        "Error: No space left on the disk.": 0,
    }
    command = [sys.executable, "-c", SAYS, *lines]
    monkeypatch.setattr(own_process, "_command", lambda *_: command)
    told = []
    wish = Retraining(tmp_path, "starter-3mm", minutes=0.1)
    own_process.retrain(
        wish, tmp_path, lambda *given: told.append(given), lambda: False
    )
    totals = {text: total for _, total, text in told}
    assert totals == {"Preparing the cases": 0, **lines}
    # Of 6 s; what went before the first step counts for nothing.
    assert next(done for done, total, _ in told if total) < 50


LOSES_TWO = """
import signal, time
lost = []
def lose(*_):
    lost.append(1)
    if len(lost) == 2:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGTERM, lose)
print("ready", flush=True)
time.sleep(60)
"""


def test_a_training_that_does_not_hear_a_signal_is_asked_again_and_again(monkeypatch):
    monkeypatch.setattr(own_process, "AGAIN_S", 0.5)
    command = [sys.executable, "-c", LOSES_TWO]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        own_process._stop(process)
        assert process.poll() is not None


IGNORES_CTRL_C = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN)"


def test_a_training_of_a_window_in_the_background_is_stopped_at_once(monkeypatch):
    """What a script starts with '&' ignores SIGINT, and so does what that starts."""
    monkeypatch.setattr(own_process, "AGAIN_S", 30.0)
    monkeypatch.setattr(own_process, "SAVING_S", 30.0)
    sleeps = f"{IGNORES_CTRL_C}; print('ready', flush=True); time.sleep(60)"
    command = [sys.executable, "-c", sleeps]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        own_process._stop(process)
        was_running = process.poll() is None
        process.kill()
    assert not was_running


def test_a_model_that_was_made_before_the_stop_is_told(tmp_path, monkeypatch):
    (tmp_path / "result.json").write_text('{"name": "quick-1", "sha256": "0"}')
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    monkeypatch.setattr(own_process, "_command", lambda *_: sleep)
    wish = Retraining(tmp_path, "starter-3mm")
    with pytest.raises(ModelError, match="it made 'quick-1'"):
        own_process.retrain(wish, tmp_path, lambda *_: None, lambda: True)


def test_what_the_training_refuses_is_told_in_its_words(make_dock, qtbot, tmp_path):
    dock = make_dock()
    assert not dock.retrain.train.isEnabled()
    assert "retraining set first" in dock.retrain.train.toolTip()
    folder = make_set(tmp_path / "set")
    for path in folder.glob("labelsTr/*"):
        path.write_bytes(b"no image")
    dock.retrain.use_folder(folder)
    with qtbot.waitSignal(dock.retrain.slot.failed, timeout=60_000):
        _press(qtbot, dock)
    message = dock.retrain.messages.message("training")
    assert "cannot be" in message.text
    assert "Traceback" not in message.text


def test_a_set_is_told_by_cases_and_patients(tmp_path):
    assert "no cases yet" in say_set(tmp_path)
    assert say_set(make_set(tmp_path / "set")) == "set: 4 cases of 3 patients."


def test_a_folder_that_is_no_set_is_told_and_not_taken(make_dock, tmp_path):
    dock = make_dock()
    (tmp_path / "dataset.json").write_text("{}")
    dock.retrain.use_folder(tmp_path)
    assert "no training cases" in dock.retrain.messages.message("set").text
    assert dock.retrain.folder is None


def test_what_is_begun_from_is_the_model_of_step_2_or_is_told(make_dock, tmp_path):
    write_folder(user_folder() / "other")
    dock = make_dock()
    assert dock.segment.spec.name == "starter"
    assert dock.retrain.start.name == "starter"
    foreign = next(m for m in list_models() if "other" in str(m.folder))
    dock.segment.use_model(foreign.name)
    assert dock.retrain.start.name == "starter-3mm"
    said = dock.retrain.begins.text()
    assert f"'{foreign.title}' was not made by this program" in said
    assert "begins from 'Starter model, quick (3 mm)' instead" in said
    assert begin_with(None)[0].name == "starter-3mm"


def test_a_result_is_told_with_its_weight():
    def rows(liver, tumour, invented_ml):
        row = {"organ_dice": liver, "lesion_dice": tumour}
        return [{**row, "false_lesion_ml": invented_ml}]

    new, old = rows(0.95, None, 3.25), rows(0.93, None, 0.0)
    result = {"name": "n", "held_out": new, "start_held_out": old}
    result["broke_down"] = ["Its training broke down."]
    said = say_result(result, "Retrained (n)")
    assert said.startswith("'Retrained (n)' is in the list of models")
    assert "\nIts training broke down.\n" in said
    assert "liver Dice 0.930, then 0.950" in said
    assert "tumour Dice" not in said
    assert "ml of tumour invented in cases without any 0.0, then 3.2" in said
    assert "prove little" in said


def test_models_of_one_title_are_told_apart_by_their_names(make_dock):
    title = "Retrained on corrections, 2026-11-28"
    for name in ("quick-1", "quick-1-2"):
        write_random_model(user_folder() / name, title=title)
    write_random_model(user_folder() / "other", title="Other")
    dock = make_dock()
    step = dock.segment
    assert step.listed("other") == "Other"
    assert step.listed("quick-1") == f"{title} (quick-1)"
    dock.retrain.slot.done.emit(
        {
            "name": "quick-1-2",
            "held_out": [],
            "start_held_out": [],
            "broke_down": (),
        }
    )
    message = dock.retrain.messages.message("made")
    assert message.text.startswith(f"'{title} (quick-1-2)' is in the list")
    message.answers["Use it"].click()
    assert step.model.currentText() == f"{title} (quick-1-2)"
    # The box is too narrow for all of that.
    assert step.card.text() == "quick-1-2. For tests."
    assert "quick-1-2<br>" in step.model.toolTip()
    step.use_model("other")
    assert step.card.text() == "For tests."


def test_a_model_made_before_the_stop_is_in_the_list(make_dock, qtbot, tmp_path):
    dock = make_dock()
    write_random_model(user_folder() / "late", spacing_mm=(18.0, 18.0, 18.0))
    assert "late" not in _listed(dock)
    dock.retrain.slot.failed.emit(ModelError("It was made.", "Look at the report."))
    assert "late" in _listed(dock)

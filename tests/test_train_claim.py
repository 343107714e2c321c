"""A training tries where it writes before an epoch is spent, and keeps others out."""

import os
import resource
import signal
import subprocess
import sys
from contextlib import ExitStack

import pytest

from napari_liverseg.core.errors import ExportError
from napari_liverseg.models.store import user_folder
from napari_liverseg.training import claim
from napari_liverseg.training.claim import claimed
from napari_liverseg.training.compute import Place
from napari_liverseg.training.order import Order
from picture_case import make_pictures, train_tiny
from training_case import Told, make_set, run_tiny, write_recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("set") / "set")


def test_a_models_folder_that_takes_nothing_is_told_before_a_case_is_read(
    data, tmp_path
):
    user_folder().write_text("no folder")
    told = Told()
    with pytest.raises(ExportError, match="models cannot be written to") as refusal:
        run_tiny(data, tmp_path / "out", told)
    assert "NAPARI_LIVERSEG_MODELS" in refusal.value.next_step
    assert told.progress == []
    user_folder().unlink()
    assert run_tiny(data, tmp_path / "out", epochs=1, steps_per_epoch=1).model


def test_a_classifiers_folder_that_takes_nothing_is_told_too(tmp_path):
    pictures = make_pictures(tmp_path / "pictures")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "classifiers").write_text("no folder")
    with pytest.raises(ExportError, match="classifiers cannot be written to") as said:
        train_tiny(pictures, tmp_path / "out")
    assert "NAPARI_LIVERSEG_DATA" in said.value.next_step
    assert not list((tmp_path / "out").glob("fold_*"))


def test_a_folder_that_takes_nothing_is_told_before_it_is_gone_on_with(data, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ExportError, match="out cannot be written to: not a directory"):
        run_tiny(data, tmp_path / "file" / "out")
    out = tmp_path / "out"
    run_tiny(data, out, Told(stop_after=1))
    told = Told()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # No file can grow beyond this, as if the disk were full.
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(ExportError, match="out cannot be written to") as refusal:
            run_tiny(data, out, told, order={"resume": True})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "there is room" in refusal.value.next_step
    assert told.progress == []
    assert list(out.glob(".*.lock")) == [out / ".fold_1.lock"]


def test_a_foreign_folder_gets_no_lock(data, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ExportError, match="holds something else"):
        run_tiny(data, tmp_path)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_of_two_trainings_in_one_folder_the_second_is_refused(
    data, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    recipe = write_recipe(tmp_path / "long.yaml", epochs=5000)
    words = ["train", recipe, "--data", data, "-o", out, "--workers", "2"]
    command = [sys.executable, "-m", "napari_liverseg.cli", *map(str, words)]
    again = {"order": {"resume": True}, "epochs": 5000, "minutes": 0.01}
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            line = next(s for s in process.stderr if s.startswith("Epoch 1 of"))
            assert line
            before = (out / "recipe.yaml").read_text()
            with monkeypatch.context() as patch:
                patch.setattr(claim, "PATIENCE_S", 0.1)
                for changes in (again, {"epochs": 7}):  # nor is its recipe replaced
                    with pytest.raises(ExportError, match="is at work in") as refusal:
                        run_tiny(data, out, **changes)
            assert str(out) in str(refusal.value)
            assert "another folder" in refusal.value.next_step
            assert (out / "recipe.yaml").read_text() == before
            process.kill()
            process.wait(timeout=60)
            # As after a power cut; processes that draw may live a little longer.
            assert run_tiny(data, out, **again).model is not None
        finally:
            os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None


def test_folds_of_one_training_may_be_trained_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setattr(claim, "PATIENCE_S", 0.1)
    order = Order(tmp_path, tmp_path / "out", Place("cpu"))
    with ExitStack() as held:
        for fold in (0, 1):
            held.enter_context(claimed(order, (fold,), user_folder(), follows=False))
        # Other processes of the same training write nothing, and lock nothing.
        held.enter_context(claimed(order, (0, 1), user_folder(), follows=True))
        with pytest.raises(ExportError, match="Another training is at work"):
            held.enter_context(claimed(order, (0, 1, 2), user_folder(), follows=False))
    with claimed(order, (0, 1, 2), user_folder(), follows=False):
        pass

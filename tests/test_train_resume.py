"""A training survives Ctrl-C, a full disk and broken numbers, and goes on unchanged."""

import csv
import errno
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from monai.networks.nets import UNet

from napari_liverseg.cli import main
from napari_liverseg.core.errors import (
    CaseError,
    DeviceError,
    ExportError,
    ModelError,
)
from napari_liverseg.models.network import load_network
from napari_liverseg.models.spec import read_spec
from napari_liverseg.models.store import user_folder
from napari_liverseg.training import result, segmentation
from napari_liverseg.training.compute import Place, enough_memory
from napari_liverseg.training.whole_file import write_text, write_whole
from tiny_model import write_random_model
from training_case import Told, make_set, run_tiny, write_recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("set") / "set")


@pytest.fixture(scope="module")
def uninterrupted(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_LIVERSEG_MODELS", str(out.parent / "models"))
        run_tiny(data, out)
    return out


def curve(out):
    """Return the rows of a curve without the seconds, which no two runs share."""
    with (out / "curves.csv").open() as file:
        return [
            {k: v for k, v in row.items() if k != "seconds"}
            for row in csv.DictReader(file)
        ]


def weights(out):
    return load_network(read_spec(out / "model")).state_dict()


# The tiny recipe has epochs of 3 steps: within one, at the end of one, and twice.
@pytest.mark.parametrize("stops", [(3,), (1, 5)])
def test_a_stopped_training_ends_as_an_uninterrupted_one(
    data, uninterrupted, tmp_path, stops
):
    for count, step in enumerate(stops):
        told = Told(stop_after=step)
        trained = run_tiny(data, tmp_path / "out", told, order={"resume": count > 0})
        assert trained.was_stopped
        assert trained.model is None
    run_tiny(data, tmp_path / "out", order={"resume": True})
    assert curve(tmp_path / "out") == curve(uninterrupted)
    for name, tensor in weights(uninterrupted).items():
        assert torch.equal(tensor, weights(tmp_path / "out")[name]), name


def test_ctrl_c_saves_and_resume_goes_on(data, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    recipe = write_recipe(tmp_path / "long.yaml", epochs=5000)
    words = ["train", recipe, "--data", data, "-o", out, "--workers", "0"]
    command = [sys.executable, "-m", "napari_liverseg.cli", *map(str, words)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if line.startswith("Epoch 3 of"):
                process.send_signal(signal.SIGINT)
                break
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Go on with --resume" in said
    assert (out / "fold_1" / "last.ckpt").is_file()
    assert main([*map(str, words)]) == 1
    assert "holds a training already" in capsys.readouterr().err
    again = [*map(str, words), "--resume", "--max-minutes", "0.01"]
    assert main(again) == 0
    assert int(curve(out)[-1]["epoch"]) > 3
    assert (out / "model" / "model.json").is_file()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_saves(data, tmp_path, number):
    out = tmp_path / "out"
    recipe = write_recipe(tmp_path / "long.yaml", epochs=5000)
    words = ["train", recipe, "--data", data, "-o", out, "--workers", "2"]
    command = [sys.executable, "-m", "napari_liverseg.cli", *map(str, words)]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        for line in process.stderr:
            if line.startswith("Epoch 3 of"):
                os.killpg(process.pid, number)  # as terminals and clusters do
                break
        _, said = process.communicate(timeout=120)
    assert "Go on with --resume" in said
    assert process.returncode == 130


def test_what_the_window_sends_on_windows_is_heard():
    code = (
        "import signal; signal.SIGBREAK = signal.SIGUSR1\n"
        "from napari_liverseg.training.stop import Stop\n"
        "stop = Stop()\n"
        "with stop.by_signal(): signal.raise_signal(signal.SIGBREAK)\n"
        "assert stop.is_asked"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_process_that_draws_and_is_killed_is_a_sentence(data, tmp_path):
    told = Told()

    def kill(*_):
        for child in multiprocessing.active_children():
            child.kill()

    ears = replace(told.ears, on_epoch=kill)
    two = {"place": Place("cpu", workers=2)}
    with pytest.raises(DeviceError, match="draws patches has ended") as refusal:
        run_tiny(data, tmp_path / "out", ears=ears, order=two, epochs=50)
    assert "--resume --workers 0" in refusal.value.next_step


def test_a_file_in_a_folders_place_is_a_sentence(data, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ExportError, match="is a file, not a folder"):
        run_tiny(data, tmp_path / "out")
    with pytest.raises(ExportError, match="could not be written"):
        write_text(tmp_path / "out" / "page.html", "lost")
    assert (tmp_path / "out").read_text() == "mine"


def test_a_full_disk_leaves_the_last_checkpoint(data, uninterrupted, tmp_path):
    told = Told()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(epoch, _):
        # No file can grow beyond this, as if the disk were full.
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))

    ears = replace(told.ears, on_epoch=fill)
    try:
        with pytest.raises(ExportError, match="could not be written") as refusal:
            run_tiny(data, tmp_path / "out", ears=ears)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "--resume" in str(refusal.value)
    assert [p.name for p in (tmp_path / "out" / "fold_1").glob(".*")] == []
    run_tiny(data, tmp_path / "out", order={"resume": True})
    assert curve(tmp_path / "out") == curve(uninterrupted)


def test_a_disk_that_is_full_for_the_report_lists_no_model_twice(
    data, tmp_path, monkeypatch
):
    def full(*_):
        raise ExportError("full")

    with monkeypatch.context() as patch:
        patch.setattr(result, "write_report", full)
        with pytest.raises(ExportError):
            run_tiny(data, tmp_path / "out", epochs=1, steps_per_epoch=1)
    again = {"order": {"resume": True}, "epochs": 1, "steps_per_epoch": 1}
    trained = run_tiny(data, tmp_path / "out", **again)
    assert [path.name for path in user_folder().iterdir()] == [trained.name]


def test_numbers_that_break_stop_the_training_in_one_sentence(data, tmp_path):
    wild = {"optimiser": {"rate": 1e30}, "schedule": {"type": "plateau"}}
    with pytest.raises(ModelError, match="broke down") as refusal:
        run_tiny(data, tmp_path / "out", **wild, gradient_clip=None)
    kept = tmp_path / "out" / "fold_1" / "last.ckpt"
    assert str(kept) in str(refusal.value) or "Nothing was kept" in str(refusal.value)
    if kept.is_file():
        content = torch.load(kept, weights_only=True)["state_dict"]
        assert all(bool(torch.isfinite(t).all()) for t in content.values())


STILL = {"optimiser": {"rate": 1e-12}, "early_stopping": {"patience": 2}}


def test_training_stops_early_once_it_gets_no_better(data, tmp_path):
    run_tiny(data, tmp_path / "out", epochs=50, **STILL)
    assert len(curve(tmp_path / "out")) == 3


def test_patience_is_lost_at_a_look_and_not_between_two(data, tmp_path):
    run_tiny(data, tmp_path / "out", epochs=50, validate_every=3, **STILL)
    rows = curve(tmp_path / "out")
    assert [row["dice"] != "" for row in rows] == [False, False, True] * 2


def test_what_stopped_early_is_not_gone_on_with(data, tmp_path, monkeypatch):
    def full(*_):
        found = "The model could not be written."
        raise ExportError(found)

    with monkeypatch.context() as patch:
        patch.setattr(segmentation, "save_whole", full)
        with pytest.raises(ExportError):
            run_tiny(data, tmp_path / "out", epochs=50, **STILL)
    run_tiny(data, tmp_path / "out", epochs=50, order={"resume": True}, **STILL)
    assert len(curve(tmp_path / "out")) == 3


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()]
)
def test_lack_of_memory_is_told_with_what_helps(data, tmp_path, monkeypatch, error):
    def too_large(*_):
        raise error

    monkeypatch.setattr(UNet, "forward", too_large)
    with pytest.raises(DeviceError, match="not enough memory on 'cpu'") as refusal:
        run_tiny(data, tmp_path / "out")
    assert "--set batch=1" in refusal.value.next_step


def test_other_errors_are_not_taken_for_lack_of_memory(data, tmp_path, monkeypatch):
    def broken(*_):
        raise RuntimeError

    monkeypatch.setattr(UNet, "forward", broken)
    with pytest.raises(RuntimeError):
        run_tiny(data, tmp_path / "out")


def test_a_training_goes_on_with_the_data_that_it_began_with(data, tmp_path):
    own = shutil.copytree(data, tmp_path / "own")
    run_tiny(own, tmp_path / "out", Told(stop_after=2))
    label = own / "labelsTr" / "liver_P001_02.nii.gz"
    before, image = label.read_bytes(), nib.load(label)
    values = np.asarray(image.dataobj).copy()
    values[values == 2] = 1
    nib.save(nib.Nifti1Image(values, image.affine), label)
    again = {"order": {"resume": True}}
    with pytest.raises(CaseError, match="when this training began") as refusal:
        run_tiny(own, tmp_path / "out", **again)
    assert "'liver_P001_02'." in str(refusal.value)
    label.write_bytes(before)  # with another date, which does not matter
    assert run_tiny(own, tmp_path / "out", **again).model is not None


def test_a_training_goes_on_with_the_start_that_it_began_from(data, tmp_path):
    first, own = tmp_path / "models" / "one", {"spacing_mm": (18, 18, 18)}
    write_random_model(first, **own)
    fields = {"spacing_mm": None, "patch": None, "network": None, "start": "one"}
    run_tiny(data, tmp_path / "out", Told(stop_after=2), **fields)
    shutil.rmtree(first)
    write_random_model(first, seed=1, **own)
    with pytest.raises(ModelError, match="began from is another one now"):
        run_tiny(data, tmp_path / "out", order={"resume": True}, **fields)


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, "make room"), (errno.EROFS, "you may write")]
)
def test_what_cannot_be_written_is_told_with_what_helps(tmp_path, number, said):
    def fail(_):
        raise OSError(number, os.strerror(number))

    with pytest.raises(ExportError, match="could not be written") as refusal:
        write_whole(tmp_path / "page.html", fail)
    assert said in refusal.value.next_step


def test_a_disk_that_is_full_for_tensorboard_alone_is_a_sentence(
    data, tmp_path, monkeypatch
):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(TensorBoardLogger, "log_metrics", full)
    with pytest.raises(ExportError, match="'tensorboard' could not be written"):
        run_tiny(data, tmp_path / "out")


def test_a_process_that_others_wait_for_in_vain_is_a_sentence():
    said = "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed"
    with pytest.raises(DeviceError, match="Another process"), enough_memory("cpu"):
        raise RuntimeError(said)

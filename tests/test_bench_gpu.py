"""`make bench-gpu` without a GPU: each part runs, as small as can be, and is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from benchmarks import card, gpu, ratio
from benchmarks.gpu import PARTS, Outcome, main, measure, run_all, run_apart
from benchmarks.setting import Setting

from napari_liverseg.inference.precision import multiplies_bf16
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.io.open import open_ct
from napari_liverseg.models.nnunet_folder import read_nnunet
from napari_liverseg.models.spec import read_spec
from tiny_model import write_threshold_model

TINY = Setting("cpu", is_tiny=True)


class Reader:
    def read_images(self, paths):
        return np.zeros((1, 1, 1, 1)), {"path": Path(paths[0])}


class Other:
    """Answers as nnU-Net's predictor does, with our own engine behind it."""

    def __init__(self, *, use_mirroring, device, allow_tqdm):
        assert not use_mirroring
        assert not allow_tqdm
        self._device = str(device)

    def initialize_from_trained_model_folder(self, folder, folds, file):
        assert (folds, file) == ((0,), "checkpoint_final.pth")
        self._predictor = Predictor(read_nnunet(Path(folder)), self._device)

    def predict_single_npy_array(self, array, properties):
        volume = open_ct(properties["path"])
        found = self._predictor.predict(volume)
        mask = np.zeros(volume.hu.shape, np.uint8)
        mask[found.box] = found.decision
        return volume.reorientation.to_stored(mask)


def resample(logits, shape, *_, **__):
    whole = torch.from_numpy(logits)[None]
    return torch.nn.functional.interpolate(whole, shape, mode="trilinear")[0].numpy()


@pytest.fixture
def other_side(monkeypatch):
    """Stand in for nnU-Net, which is no part of the tests' environment."""
    holds = {
        "imageio.simpleitk_reader_writer": {"SimpleITKIO": Reader},
        "inference.predict_from_raw_data": {"nnUNetPredictor": Other},
        "preprocessing.resampling.default_resampling": {
            "resample_data_or_seg_to_shape": resample
        },
    }
    for name in ("", *holds):
        parts = ["nnunetv2", *filter(None, name.split("."))]
        for depth in range(1, len(parts) + 1):
            path = ".".join(parts[:depth])
            if path not in sys.modules:
                monkeypatch.setitem(sys.modules, path, ModuleType(path))
    for name, content in holds.items():
        for key, value in content.items():
            monkeypatch.setattr(
                sys.modules[f"nnunetv2.{name}"], key, value, raising=False
            )


@pytest.fixture
def bands(tmp_path, monkeypatch):
    """Stand in for the starter, whose windows take a second each."""
    spec = read_spec(write_threshold_model(tmp_path / "bands", spacing_mm=(7, 7, 7)))
    both = SimpleNamespace(detail=spec)
    monkeypatch.setattr("benchmarks.coarse.find_model", lambda _: both)
    monkeypatch.setattr("benchmarks.capped.find_model", lambda _: spec)


@pytest.mark.usefixtures("other_side", "bands")
@pytest.mark.parametrize("part", PARTS)
def test_every_part_runs_on_any_device(part, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    rows = measure(part, TINY)
    half = multiplies_bf16("cpu")  # what is only emulated is not measured
    assert rows == json.loads(json.dumps(rows))
    assert {row["id"] for row in rows} == {
        "W1": {"W1a", "W1c"} | ({"W1b"} if half else set()),
        "W2": {"W2a", "W2c"} | ({"W2b"} if half else set()),
    }.get(part, {part})
    for row in rows:
        assert 0 < row["low"] <= row["ratio"] <= row["high"]
        assert gpu._line(row).startswith(row["id"])
    if part in ("B1", "B2", "B3", "B5", "cap", "W1", "W2"):
        # Other windows see other things (B4), half precision is coarse (W1b, W2b).
        assert rows[0]["holds"], rows[0]["gate"]
    if part == "cap":
        assert rows[0]["plan"].startswith("needs ")
        assert rows[0]["is_capped"] is False
    if part.startswith("W"):
        assert rows[0]["ms_a_window"] > 0
        assert rows[0]["gflop_a_window"] > 0
        assert rows[0]["share_of_product"] > 0


def test_without_the_device_a_sentence_and_no_file(tmp_path, capsys):
    out = tmp_path / "gpu.json"
    assert main(["--device", "cuda:77", "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert said == (
        "The device 'cuda:77' is not there: PyTorch sees no such NVIDIA GPU. "
        "Nothing was measured.\n"
    )
    assert not out.exists()


def test_an_unknown_part_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["B99"])
    assert ended.value.code == 2
    assert "there are W1, W2, B1" in capsys.readouterr().err


def test_a_part_that_fails_costs_no_other(tmp_path, monkeypatch, capsys):
    def run(part, *others):
        if part == "B1":  # here: a process of its own takes seconds to begin
            return Outcome(tuple(measure(part, TINY)))
        return run_apart(part, *others)

    monkeypatch.setattr(gpu, "run_apart", run)
    out = tmp_path / "gpu.json"
    failed = run_all(["nothing", "B1"], TINY, out)
    assert failed.keys() == {"nothing"}
    assert "invalid choice" in failed["nothing"]
    kept = json.loads(out.read_text())
    assert [row["id"] for row in kept["rows"]] == ["B1"]
    assert kept["failed"] == failed
    assert kept["card"] == {"device": "cpu"}
    assert kept["is_tiny"]
    assert {"torch", "processor"} <= kept["machine"].keys()
    told = capsys.readouterr().out
    assert "nothing failed: " in told
    assert "B1 " in told


def test_a_part_ends_with_its_time(tmp_path, monkeypatch):
    assert "were over" in run_apart("B1", TINY, 0.0, tmp_path).reason
    monkeypatch.setattr(gpu, "LONGEST_S", 0.05)
    assert run_apart("B1", TINY, 60.0, tmp_path).reason == "stopped after 0 s"


@pytest.mark.parametrize("reason", ["", "no cuDNN"])
def test_the_exit_code_says_whether_all_was_measured(tmp_path, monkeypatch, reason):
    monkeypatch.setattr(gpu, "run_apart", lambda *_: Outcome(reason=reason))
    words = ["--device", "cpu", "--tiny", "--out", str(tmp_path / "gpu.json")]
    assert main(words) == (1 if reason else 0)


class Cuda:
    """Takes the place of `torch.cuda` and writes down what is asked of it."""

    def __init__(self):
        self.asked = []

    def get_device_properties(self, device):
        return SimpleNamespace(
            name="GPU", total_memory=24 * 10**9, major=8, minor=9,
            multi_processor_count=58,
        )  # fmt: skip

    def max_memory_allocated(self, device):
        return 4 * 10**9

    def max_memory_reserved(self, device):
        return 5 * 10**9

    def __getattr__(self, name):
        return lambda *words: self.asked.append((name, *words))


def test_a_gpu_is_capped_waited_for_and_described(monkeypatch):
    cuda = Cuda()
    monkeypatch.setattr(card.torch, "cuda", cuda)
    with card.capped("cuda:0", 6 * 10**9) as is_capped:
        assert is_capped
        assert ("set_per_process_memory_fraction", 0.25, "cuda:0") in cuda.asked
        assert card.peaks("cuda:0") == {"peak_used_gb": 4.0, "peak_held_gb": 5.0}
    assert cuda.asked[-1] == ("set_per_process_memory_fraction", 1.0, "cuda:0")
    assert card.describe("cuda:0")["capability"] == "8.9"
    cuda.asked.clear()
    ratio.seconds(lambda: cuda.asked.append(("work",)), "cuda:0")
    wait = ("synchronize", "cuda:0")
    assert cuda.asked == [wait, ("work",), wait]


def test_sides_take_turns_in_being_first(monkeypatch):
    order = []
    pairs = ratio.interleave(lambda: order.append("a"), lambda: order.append("b"), 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert len(pairs.ours) == len(pairs.theirs) == 3
    order.clear()
    monkeypatch.setattr(ratio, "wait_for", lambda _: None)
    ratio.interleave(lambda: order.append("a"), lambda: order.append("b"), 1, "cuda")
    assert order == ["a", "b", "a", "b"]  # the first pair warms up


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a past peak")
def test_the_peak_is_what_one_call_took():
    keep = np.ones(20_000_000)  # held before, and no part of either
    pairs = ratio.interleave(
        lambda: np.ones(10_000_000), lambda: np.ones(30_000_000), 2
    )
    peaks = pairs.peaks()["peak_mb"]
    assert peaks["ours"] == pytest.approx(80, abs=20)
    assert peaks["theirs"] == pytest.approx(240, abs=30)
    assert keep.size


@pytest.mark.slow
def test_a_part_runs_in_a_process_of_its_own(tmp_path):
    outcome = run_apart("B1", TINY, 140.0, tmp_path)
    assert [row["id"] for row in outcome.rows] == ["B1"]
    assert outcome.rows[0]["holds"]


@pytest.mark.gpu
def test_every_part_runs_on_a_gpu(tmp_path):
    parts = [part for part in PARTS if part not in ("B3", "B5")]
    setting = Setting("cuda:0", is_tiny=True)
    assert run_all(parts, setting, tmp_path / "gpu.json") == {}

"""A prediction is exact, repeatable, can be stopped, and survives lack of memory."""

import builtins
import sys

import numpy as np
import pytest
import torch

from napari_liverseg.core.errors import CancelledError, DeviceError
from napari_liverseg.core.geometry import Geometry, Reorientation, as_matrix
from napari_liverseg.core.probabilities import PostProcessing
from napari_liverseg.core.volume import CTVolume
from napari_liverseg.inference import devices
from napari_liverseg.inference.decision import decide
from napari_liverseg.inference.devices import Device, available_devices, resolve
from napari_liverseg.inference.doubts import NO_LIVER, doubts
from napari_liverseg.inference.options import Listener, RunOptions
from napari_liverseg.inference.plan import Plan
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.inference.sums import DISK
from napari_liverseg.inference.windows import Step, remaining
from napari_liverseg.models.spec import read_spec
from tiny_model import write_random_model, write_threshold_model

SHAPE, SPACING, ORIGIN = (30, 52, 61), (4.0, 2.0, 1.5), (-70.0, 12.0, 33.0)
LIVER_HU, TUMOUR_HU = 100, 190


BODY = RunOptions(look="body")


def _volume(hu, spacing=SPACING, direction=None):
    matrix = as_matrix(np.eye(3) if direction is None else direction)
    grid = Geometry(hu.shape, spacing, ORIGIN, matrix)
    return CTVolume(hu, grid, grid, Reorientation(), "phantom", "0f")


def _phantom(dtype=np.int16):
    """A body of water with a liver off its centre, a tumour and a stray part."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    hu = np.full(SHAPE, -1000, dtype)
    hu[np.broadcast_to(((y - 26) / 23) ** 2 + ((x - 30) / 28) ** 2 < 1, SHAPE)] = 0
    liver = ((z - 17) / 9) ** 2 + ((y - 24) / 13) ** 2 + ((x - 22) / 14) ** 2 < 1
    tumour = ((z - 19) / 4) ** 2 + ((y - 21) / 6) ** 2 + ((x - 18) / 7) ** 2 < 1
    hu[liver] = LIVER_HU
    hu[tumour] = TUMOUR_HU
    hu[3:5, 30:34, 44:48] = LIVER_HU
    return hu, np.where(tumour, 2, liver.astype(np.uint8)).astype(np.uint8)


@pytest.fixture
def threshold_model(tmp_path):
    return read_spec(write_threshold_model(tmp_path / "bands"))


@pytest.fixture
def random_model(tmp_path):
    return read_spec(write_random_model(tmp_path / "random", spacing_mm=(4, 3, 3)))


def test_on_the_models_own_spacing_every_voxel_is_right(tmp_path):
    folder = write_threshold_model(tmp_path / "bands", spacing_mm=SPACING)
    hu, truth = _phantom()
    predictor = Predictor(read_spec(folder), "cpu")
    found = decide(predictor.predict(_volume(hu), options=BODY))
    np.testing.assert_array_equal(found.labels, truth)
    assert found.geometry.origin_mm == ORIGIN


def test_another_spacing_costs_only_the_outline(threshold_model):
    hu, truth = _phantom(np.float32)
    probabilities = Predictor(threshold_model, "cpu").predict(_volume(hu))
    labels = decide(probabilities).labels
    for label in (1, 2):
        a, b = labels >= label, truth >= label
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.9
        middle = [np.argwhere(m).mean(axis=0) for m in (a, b)]
        np.testing.assert_allclose(*middle, atol=0.3)
    assert np.prod(probabilities.liver.shape) < 0.5 * hu.size
    run = probabilities.run
    assert (run.model, run.model_version, run.device) == ("bands", "1.2", "cpu")
    assert run.model_sha256 == threshold_model.sha256
    assert run.notes == doubts(probabilities)  # nothing else
    assert run.seconds > 0


def test_a_header_that_is_turned_changes_no_voxel(threshold_model):
    hu, _ = _phantom()
    turn = np.radians(25)
    rotation = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    )
    predictor = Predictor(threshold_model, "cpu")
    straight = predictor.predict(_volume(hu))
    oblique = predictor.predict(_volume(hu, direction=rotation))
    np.testing.assert_array_equal(straight.liver, oblique.liver)
    assert oblique.geometry.is_oblique


def test_a_mirrored_case_gives_the_mirrored_mask(threshold_model):
    hu, _ = _phantom()
    predictor = Predictor(threshold_model, "cpu")
    straight = decide(predictor.predict(_volume(hu))).labels
    mirrored = decide(predictor.predict(_volume(np.flip(hu, (0, 2))))).labels
    differing = np.count_nonzero(np.flip(straight, (0, 2)) != mirrored)
    assert differing <= 0.001 * np.count_nonzero(straight)


def test_the_same_case_gives_the_same_bits_whatever_the_seed(random_model):
    hu, _ = _phantom()
    results = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.default_rng(seed)
        result = Predictor(random_model, "cpu").predict(_volume(hu))
        results.append((result.liver, result.tumour, result.decision, result.box))
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)
    assert results[0][0].std() > 0


def test_a_prediction_leaves_the_global_random_state_alone(random_model):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    Predictor(random_model, "cpu").predict(_volume(_phantom()[0]))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("shape", [(1, 40, 50), (3, 4, 5), (1, 1, 1)])
def test_the_smallest_volumes_run(random_model, shape):
    hu = np.full(shape, 60, np.int16)
    probabilities = Predictor(random_model, "cpu").predict(_volume(hu))
    assert decide(probabilities).labels.shape == shape


def test_progress_never_falls_and_tells_the_time_left(random_model):
    told, planned = [], []
    Predictor(random_model, "cpu").predict(
        _volume(_phantom()[0]),
        lambda *report: told.append(report),
        listener=Listener(on_plan=planned.append),
    )
    shares = [done / total for done, total, _ in told]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] == 1
    texts = [text for *_, text in told]
    assert len(planned) == 1
    assert "GB free" in planned[0]
    windows = [text for text in texts if text.endswith("left")]
    assert len(windows) > 3
    assert windows[-1].startswith(f"Segmenting: part {len(windows)} of {len(windows)}")


def test_cancel_stops_before_the_next_window(random_model):
    predictor = Predictor(random_model, "cpu")
    ran = []
    predictor.networks[0].register_forward_hook(lambda *_: ran.append(1))
    with pytest.raises(CancelledError):
        predictor.predict(_volume(_phantom()[0]), is_cancelled=lambda: len(ran) >= 2)
    assert len(ran) == 2


def test_no_liver_is_told(threshold_model):
    hu, _ = _phantom()
    hu[hu > 0] = 0
    for empty in (hu, np.full(SHAPE, -1000, np.int16)):
        probabilities = Predictor(threshold_model, "cpu").predict(_volume(empty))
        assert probabilities.run.notes == (NO_LIVER,)
        assert not decide(probabilities).labels.any()


def test_the_models_post_processing_goes_with_its_probabilities(tmp_path):
    keep_all = PostProcessing(largest_component=False, fill_holes_cm2=0.0)
    folder = write_threshold_model(
        tmp_path / "bands", spacing_mm=SPACING, post_processing=keep_all
    )
    hu, truth = _phantom()
    predictor = Predictor(read_spec(folder), "cpu")
    probabilities = predictor.predict(_volume(hu), options=BODY)
    assert probabilities.post_processing == keep_all
    expected = np.maximum(truth, hu == LIVER_HU)
    np.testing.assert_array_equal(decide(probabilities).labels, expected)


class _Starved(torch.nn.Module):
    """A network for which memory runs out on its first calls."""

    def __init__(self, network, errors):
        super().__init__()
        self.network, self.errors = network, list(errors)

    def forward(self, windows):
        if self.errors and windows.device.type != "meta":
            raise self.errors.pop(0)
        return self.network(windows)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1"),
    MemoryError(),
]

FALLING = (
    Step("cpu", 2, "cpu"),
    Step("cpu", 1, "cpu"),
    Step("cpu", 1, DISK),
)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda e: str(e)[:20])
def test_out_of_memory_goes_on_with_less_and_says_so(monkeypatch, random_model, error):
    monkeypatch.setattr(Plan, "steps", lambda self: FALLING)
    volume = _volume(_phantom()[0])
    clean = Predictor(random_model, "cpu").predict(volume)
    predictor = Predictor(random_model, "cpu")
    predictor.networks = (_Starved(predictor.networks[0], [error, error]),)
    told = []
    starved = predictor.predict(
        volume, lambda *report: told.append(report), options=RunOptions(tune=False)
    )
    np.testing.assert_array_equal(clean.decision, starved.decision)
    assert starved.run.notes == (
        "Memory of 'cpu' ran out: windows were run one at a time.",
        "Memory of 'cpu' ran out: results were kept on the disk.",
        *clean.run.notes,
    )
    shares = [done / total for done, total, _ in told]
    assert shares == sorted(shares)


def test_out_of_memory_half_way_does_not_run_progress_back(monkeypatch, random_model):
    predictor = Predictor(random_model, "cpu")
    calls = []

    def fail_once(_, arguments):
        if arguments[0].device.type == "meta":
            return
        calls.append(1)
        if len(calls) == 3:
            raise OUT_OF_MEMORY[0]

    predictor.networks[0].register_forward_pre_hook(fail_once)
    told = []
    predictor.predict(
        _volume(_phantom()[0]),
        lambda *report: told.append(report),
        options=RunOptions(tune=False),
    )
    shares = [done / total for done, total, _ in told]
    assert len(calls) > 3
    assert shares == sorted(shares)


def test_memory_that_never_suffices_is_a_sentence(random_model):
    predictor = Predictor(random_model, "cpu")
    predictor.networks = (_Starved(predictor.networks[0], [OUT_OF_MEMORY[0]] * 9),)
    with pytest.raises(DeviceError, match="not enough memory on 'cpu'"):
        predictor.predict(_volume(_phantom()[0]), options=RunOptions(tune=False))


def test_other_errors_pass_through(random_model):
    predictor = Predictor(random_model, "cpu")
    wet = RuntimeError("weights are wet")
    predictor.networks = (_Starved(predictor.networks[0], [wet]),)
    with pytest.raises(RuntimeError, match="weights are wet"):
        predictor.predict(_volume(_phantom()[0]), options=RunOptions(tune=False))


def test_the_cpu_is_always_there():
    listed = available_devices()
    assert listed[-1].name == "cpu"
    assert 0 < listed[-1].free_bytes <= listed[-1].total_bytes
    assert resolve("auto") == resolve(listed[0].name) or listed[0].name == "cpu"
    assert resolve(" CPU ").kind == "cpu"
    assert "GB free" in str(listed[-1])


def test_devices_are_tried_in_the_order_of_their_speed(monkeypatch):
    made = (
        Device("cuda:1", "big", 9, 9),
        Device("cuda:0", "small", 5, 9),
        Device("mps", "Apple GPU", 1, 1),
        Device("cpu", "processor", 1, 1),
    )
    monkeypatch.setattr(devices, "available_devices", lambda: made)
    names = {name: resolve(name).name for name in ("auto", "cuda", "cuda:0", "mps")}
    assert names == {
        "auto": "cuda:1",
        "cuda": "cuda:1",
        "cuda:0": "cuda:0",
        "mps": "mps",
    }
    with pytest.raises(DeviceError, match="'cuda:7' is not there"):
        resolve("cuda:7")
    monkeypatch.setattr(devices, "available_devices", lambda: made[2:])
    assert resolve("auto").name == "mps"


@pytest.mark.parametrize("name", ["tpu", "cuda:", "cuda:x", "cpu:0", "", "cuda:-1"])
def test_an_unknown_device_is_refused_with_the_choices(name):
    with pytest.raises(DeviceError, match="Choose one of: auto, cpu, cuda, mps"):
        resolve(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_a_missing_device_is_refused_with_those_there(monkeypatch, name):
    cpu = Device("cpu", "processor", 1, 1)
    monkeypatch.setattr(devices, "available_devices", lambda: (cpu,))
    with pytest.raises(DeviceError, match="is not there") as refusal:
        resolve(name)
    assert refusal.value.next_step == "Choose one of: cpu."


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (OSError("[WinError 1114] A DLL initialization routine failed"), "Redistrib"),
        (ImportError("libtorch_cpu.so: cannot open shared object"), "force-reinstall"),
    ],
)
def test_a_torch_that_does_not_load_is_a_sentence(monkeypatch, error, advice):
    real_import = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name == "torch":
            raise error
        return real_import(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DeviceError, match="PyTorch could not be loaded") as refusal:
        resolve("cpu")
    assert advice in refusal.value.next_step


@pytest.mark.parametrize(
    ("share", "reserved", "used", "free"),
    [
        (1.0, 0, 0, 18),
        (0.25, 0, 0, 6),
        (1.0, 5, 2, 21),  # what torch keeps of an earlier run is there to be used
        (0.25, 5, 2, 4),
        (0.1, 5, 5, 0),
    ],
)
def test_the_free_memory_of_a_gpu_is_what_a_run_may_take(share, reserved, used, free):
    class Cuda:
        mem_get_info = staticmethod(lambda _: (18, 24))
        memory_reserved = staticmethod(lambda _: reserved)
        memory_allocated = staticmethod(lambda _: used)
        get_per_process_memory_fraction = staticmethod(lambda _: share)
        get_device_name = staticmethod(lambda _: "GPU")

    class Torch:
        cuda = Cuda

    assert devices._cuda(Torch, 0) == Device("cuda:0", "GPU", free, 24)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "less than a second"), (12.4, "about 12 s"), (300, "about 5 min")],
)
def test_time_left_is_told_in_words(seconds, words):
    assert remaining(seconds) == words

"""The memory plan: what a run needs is known, told, and refused in time."""

from dataclasses import replace

import pytest
import torch

from napari_liverseg.core.errors import DeviceError
from napari_liverseg.inference.devices import Device
from napari_liverseg.inference.live_memory import (
    FEATURES_UNKNOWN,
    network_bytes,
    window_bytes,
)
from napari_liverseg.inference.plan import (
    MOST_WINDOWS,
    make_plan,
    refuse_unless_it_fits,
)
from napari_liverseg.inference.sums import DISK
from napari_liverseg.inference.windows import Step
from napari_liverseg.models.contract import Output
from napari_liverseg.models.spec import read_spec
from tiny_model import write_random_model

GB = 10**9
CPU = Device("cpu", "processor", 16 * GB, 16 * GB)
IMAGE, VOXELS = (200, 256, 256), 300 * 512 * 512


@pytest.fixture
def model(tmp_path):
    return read_spec(write_random_model(tmp_path / "random"))


def _plan(model, device=CPU, image=IMAGE, passes=1, windows=40):
    networks = network_bytes(model, model.load_networks)
    return make_plan(model, networks, device, image, windows, passes, VOXELS)


def test_a_window_needs_what_its_layers_hold_at_once():
    patch = (16, 32, 32)
    size = 4 * 16 * 32 * 32
    wide = torch.nn.Sequential(
        torch.nn.Conv3d(1, 10, 3, padding=1), torch.nn.Conv3d(10, 1, 3, padding=1)
    )
    narrow = torch.nn.Sequential(
        torch.nn.Conv3d(1, 2, 3, padding=1), torch.nn.Conv3d(2, 1, 3, padding=1)
    )
    assert 11 * size <= window_bytes(wide, patch) <= 25 * size
    assert window_bytes(narrow, patch) < window_bytes(wide, patch) / 2
    assert next(wide.parameters()).device.type == "cpu"


def test_a_network_that_cannot_be_followed_gets_room_to_spare():
    class Blind(torch.nn.Module):
        def forward(self, windows):
            return windows * float(windows.sum())  # a value that meta lacks

    assert window_bytes(Blind(), (8, 8, 8)) == FEATURES_UNKNOWN * 4 * 8**3


def test_the_need_grows_with_what_is_held(model):
    plan, larger = _plan(model), _plan(model, image=(400, 256, 256))
    kept = 3 * 4 * 200 * 256 * 256
    assert plan.ram_bytes > kept
    assert larger.ram_bytes - plan.ram_bytes >= kept
    assert plan.dtype == torch.float32
    assert plan.fits


def test_large_logits_are_kept_in_half_precision_under_four_gigabytes(model):
    huge = _plan(model, image=(667, 400, 400))
    assert huge.dtype == torch.half
    assert huge.ram_bytes < 4 * GB


def test_the_plan_is_told_in_words(model):
    plan = replace(_plan(model), ram_bytes=31 * GB // 10, free_ram_bytes=8 * GB)
    assert plan.sentence == "40 parts; needs 3.1 GB, 8.0 GB free"
    twice = replace(plan, passes=8, windows=1)
    assert twice.sentence.startswith("1 part, each 8 times; ")
    gpu = replace(plan, device="cuda:0", device_bytes=2 * GB, free_device_bytes=6 * GB)
    assert "needs 2.0 GB, 6.0 GB free on cuda:0, and in main memory 3.1 GB" in str(gpu)


def test_what_cannot_fit_is_refused_with_what_would(model):
    plan = replace(_plan(model), ram_bytes=9 * GB, free_ram_bytes=8 * GB)
    with pytest.raises(DeviceError, match=r"needs 9\.0 GB, 8\.0 GB free") as refusal:
        refuse_unless_it_fits(plan)
    assert "look at the liver alone" in refusal.value.next_step
    small = replace(
        plan, ram_bytes=GB, device="cuda:0", device_bytes=9 * GB, free_device_bytes=GB
    )
    with pytest.raises(DeviceError) as refusal:
        refuse_unless_it_fits(small)
    assert "'cpu'" in refusal.value.next_step
    refuse_unless_it_fits(replace(small, device_bytes=GB // 2))


def test_batches_and_sums_fit_the_memory_of_a_gpu(model):
    roomy = _plan(model, Device("cuda:1", "GPU", 40 * GB, 40 * GB))
    assert (roomy.batch, roomy.accumulate_on) == (MOST_WINDOWS, "cuda:1")
    twice = _plan(model, Device("cuda:1", "GPU", 40 * GB, 40 * GB), (400, 256, 256))
    image_and_logits = 4 * (1 + 3) * 200 * 256 * 256
    assert twice.device_bytes - roomy.device_bytes >= image_and_logits
    tight = _plan(model, Device("cuda:1", "GPU", GB // 2, GB))
    assert tight.accumulate_on == "cpu"
    assert tight.device_bytes <= GB // 2


def test_a_gpu_falls_back_in_steps_down_to_the_cpu(model):
    plan = replace(_plan(model), device="cuda:1", batch=4, accumulate_on="cuda:1")
    assert plan.steps() == (
        Step("cuda:1", 4, "cuda:1"),
        Step("cuda:1", 2, "cuda:1"),
        Step("cuda:1", 1, "cuda:1"),
        Step("cuda:1", 1, "cpu"),
        Step("cpu", 1, "cpu"),
        Step("cpu", 1, DISK),
    )
    assert _plan(model).steps() == (Step("cpu", 1, "cpu"), Step("cpu", 1, DISK))


def test_every_channel_of_a_whole_body_model_counts_while_windows_are_summed(model):
    class Many:
        output, windows, sha256 = Output(105, (5,), ()), model.windows, "many"

    few, many = (
        make_plan(m, network_bytes(m, model.load_networks), CPU, IMAGE, 40, 1, VOXELS)
        for m in (model, Many())
    )
    assert many.ram_bytes > few.ram_bytes

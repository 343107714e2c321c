"""The memory told before a run: what the run's own plan says never contradicts it."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from cli_cases import SHAPE, SPACING, phantom_ct
from napari_liverseg.core.geometry import Geometry, Reorientation
from napari_liverseg.core.volume import CTVolume
from napari_liverseg.inference import pipeline
from napari_liverseg.inference.devices import Device
from napari_liverseg.inference.forecast import Forecast, Need, forecast
from napari_liverseg.inference.live_memory import network_bytes
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.inference.plan import MOST_WINDOWS, SHARE, make_plan
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.inference.prepare import largest_image, prepare
from napari_liverseg.models.contract import Input, Normalisation
from napari_liverseg.models.spec import read_spec
from napari_liverseg.models.two_stage import in_liver_of
from tiny_model import write_random_model, write_threshold_model

GB = 10**9
CPU = Device("cpu", "processor", 16 * GB, 16 * GB)
LOOKS = ("liver", "body", "everywhere")


def ct(shape=SHAPE, spacing=SPACING, hu=None):
    grid = Geometry(shape, spacing)
    if hu is None:
        hu = np.broadcast_to(np.int16(0), shape)  # takes no memory
    return CTVolume(hu, grid, grid, Reorientation(), "ct", "key")


@pytest.fixture
def model(tmp_path):
    return read_spec(write_random_model(tmp_path / "random"))


@pytest.fixture
def two_stage(tmp_path):
    first = write_threshold_model(tmp_path / "first", spacing_mm=SPACING)
    second = write_threshold_model(tmp_path / "second", spacing_mm=(2.0, 1.5, 1.5))
    return in_liver_of(read_spec(first), read_spec(second))


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("kind", ["model", "two_stage"])
def test_a_run_needs_no_more_and_no_less(look, kind, request, monkeypatch):
    chosen, plans = request.getfixturevalue(kind), []

    def listen(*facts):
        plans.append(make_plan(*facts))
        return plans[-1]

    monkeypatch.setattr(pipeline, "make_plan", listen)
    volume = ct(hu=phantom_ct())
    need = forecast(chosen, volume, CPU, look).ram
    Predictor(chosen, "cpu").predict(volume, options=RunOptions(look, tune=False))
    assert len(plans) == (2 if kind == "two_stage" else 1)
    assert need.least <= max(plan.ram_bytes for plan in plans) <= need.most
    assert need.fits == "yes"


@pytest.mark.parametrize(
    ("crop", "resampling"),
    [  # the body is looked for where voxels are averaged, and there alone
        ("body", "averaging"),
        ("nonzero", "averaging"),
        ("nonzero", "nnunet"),
        ("none", "averaging"),
        ("none", "nnunet"),
    ],
)
@pytest.mark.parametrize("orientation", ["LPS", "RAS", "stored"])
def test_no_image_is_larger_than_the_whole_grid(crop, resampling, orientation):
    wanted = Input(
        (3.0, 2.2, 2.9), Normalisation(), orientation, (1, 0, 2), resampling, crop
    )
    turned = Reorientation((2, 0, 1), (True, False, True))
    volume = replace(ct(hu=phantom_ct()), reorientation=turned)
    whole, image = largest_image(volume, wanted), prepare(volume, wanted).image
    assert all(n <= most for n, most in zip(image.shape, whole, strict=True))
    if crop == "none":
        assert tuple(image.shape) == whole


@pytest.mark.parametrize(
    "device", [CPU, *(Device("cuda:0", "GPU", n * GB // 4, GB) for n in (2, 5, 17, 99))]
)
def test_every_part_of_a_large_ct_keeps_within_the_bounds(model, device):
    volume = ct((1000, 512, 512), (1.2, 1.6, 1.6))
    found = forecast(model, volume, device, "liver")
    size = network_bytes(model, model.load_networks)
    whole = largest_image(volume, model.input)
    for share in (0.0, 0.3, 0.6, 0.9, 0.93, 1.0):
        image = tuple(
            max(int(share * n), window)
            for n, window in zip(whole, model.windows.patch, strict=True)
        )
        for windows in (1, 3, MOST_WINDOWS, 400):
            plan = make_plan(model, size, device, image, windows, 1, volume.hu.size)
            assert found.ram.least <= plan.ram_bytes <= found.ram.most
            if found.on_device:
                need = found.on_device
                assert need.least <= plan.device_bytes <= need.most


def test_halved_logits_of_the_whole_do_not_hide_full_ones_of_a_part(model):
    volume = ct((540, 450, 450), (3.0, 3.0, 3.0))  # just too much for full precision
    size = network_bytes(model, model.load_networks)
    part = make_plan(model, size, CPU, (400, 450, 450), 9, 1, volume.hu.size)
    whole = make_plan(model, size, CPU, (540, 450, 450), 9, 1, volume.hu.size)
    assert part.ram_bytes > whole.ram_bytes
    assert part.ram_bytes <= forecast(model, volume, CPU, "body").ram.most


def test_it_is_told_in_words():
    need = Need("memory", GB // 2, 9 * GB // 10, GB, 8 * GB)
    told = Forecast("liver", need)
    assert told.sentence == "Needs at most 0.9 GB of memory; 8.0 GB are free."
    tight = Forecast("liver", replace(need, most=8 * GB, enough=9 * GB))
    assert tight.fits == "perhaps"
    assert tight.sentence == (
        "May need up to 8.0 GB of memory; a run may take 7.2 GB of the 8.0 GB that are "
        "free. If that is too little, the run says so."
    )
    large = replace(need, least=int(SHARE * 9 * GB), most=9 * GB, enough=9 * GB)
    assert Forecast("liver", large).fits == "no"
    assert Forecast("liver", large).sentence == (
        "Needs at least 8.1 GB of memory; a run may take 7.2 GB of the 8.0 GB that are "
        "free. Close other programs."
    )
    assert "look around the liver" in Forecast("body", large).sentence


def test_a_gpu_and_main_memory_are_both_told():
    ram = Need("main memory", GB, 2 * GB, 3 * GB, 8 * GB)
    card = Need("memory on cuda:0", GB, 3 * GB, 2 * GB, 6 * GB)
    assert Forecast("liver", ram, card).sentence == (
        "Needs at most 3.0 GB of memory on cuda:0; 6.0 GB are free. "
        "Needs at most 2.0 GB of main memory; 8.0 GB are free."
    )
    small = replace(card, least=7 * GB, most=7 * GB, enough=7 * GB)
    told = Forecast("body", ram, small)
    assert told.fits == "no"
    assert told.sentence.endswith("Choose the device 'cpu'.")
    assert "at least 7.0 GB of memory on cuda:0" in told.sentence


TWO_AT_ONCE = """
import sys, threading
from napari_liverseg.inference.loading import is_loaded, loading
from napari_liverseg.models.store import find_model
failures = []

def work(name):
    try:
        with loading():
            if name == "forecast":
                from napari_liverseg.inference.forecast import forecast
            else:
                from napari_liverseg.inference.predictor import Predictor
                Predictor(find_model("starter"), "cpu")
    except BaseException as error:
        failures.append(repr(error))

assert not is_loaded()
threads = [threading.Thread(target=work, args=[n]) for n in ("forecast", "run")]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert is_loaded()
sys.exit("; ".join(failures) or 0)
"""


def test_a_forecast_and_a_run_may_load_the_engine_at_the_same_time():
    # A process of its own: here PyTorch has long been loaded.
    done = subprocess.run(
        [sys.executable, "-c", TWO_AT_ONCE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

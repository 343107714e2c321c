"""Memory on a CPU: layouts that norms keep, and pages that tensors lie in."""

import copy
import os
import shutil
import subprocess
import sys

import pytest
import torch
from torch.nn import Conv3d, ConvTranspose3d, InstanceNorm3d
from torch.utils._python_dispatch import TorchDispatchMode

from napari_liverseg.inference.layouts import (
    HAS_ONEDNN,
    DirectConvolution,
    LayoutKeepingNorm,
    swap_layers,
)
from napari_liverseg.inference.precision import multiplies_bf16
from napari_liverseg.inference.runner import Recipe, Runner
from napari_liverseg.models.network import build_network
from napari_liverseg.models.spec import NetworkSpec

LAST = torch.channels_last_3d


def _norm(channels, *, affine=True):
    norm = InstanceNorm3d(channels, affine=affine)
    if affine:
        torch.nn.init.uniform_(norm.weight, 0.5, 2.0)
        torch.nn.init.uniform_(norm.bias, -1.0, 1.0)
    return norm.requires_grad_(requires_grad=False)


def _windows(*shape, dtype=torch.float32):
    torch.manual_seed(3)
    return (2.0 * torch.randn(shape) + 3.0).to(dtype)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize(
    "shape", [(1, 8, 20, 48, 40), (1, 3, 20, 48, 40), (1, 3, 9, 7, 5)]
)
def test_a_window_keeps_its_layout_and_its_numbers(affine, shape):
    norm, windows = _norm(shape[1], affine=affine), _windows(*shape)
    expected = norm(windows)
    swap_layers([norm])
    found = norm(windows.contiguous(memory_format=LAST))
    assert found.is_contiguous(memory_format=LAST)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
def test_channels_that_hardly_change_gain_no_contrast(threads):
    windows = _windows(1, 8, 64, 128, 128)
    windows[:, 0] = 3.3
    windows[:, 1] += 300.0
    norm, before = _norm(8, affine=False), torch.get_num_threads()
    expected = norm(windows)
    swap_layers([norm])
    try:
        torch.set_num_threads(threads)
        found = norm(windows.contiguous(memory_format=LAST))
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_its_sums_lose_nothing_to_a_channel_that_is_half_air():
    windows = _windows(1, 16, 40, 48, 56)
    windows[:, :, 20:] = -4.0
    expected = InstanceNorm3d(16)(windows.double())
    norm = _norm(16, affine=False)
    swap_layers([norm])
    found = norm(windows.contiguous(memory_format=LAST))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-6)


def test_in_bfloat16_it_is_right_to_the_format():
    windows = _windows(1, 8, 20, 48, 40, dtype=torch.bfloat16)
    norm = _norm(8)
    windows[:, :, 0, 0, 0] += 60.0
    expected = norm(windows.float())
    swap_layers([norm])
    with torch.autocast("cpu", torch.bfloat16):  # as a run does
        found = norm(windows.contiguous(memory_format=LAST))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=2e-2, atol=2e-2)


def test_several_windows_are_left_to_pytorch():
    norm, windows = _norm(8), _windows(2, 8, 6, 7, 8).contiguous(memory_format=LAST)
    expected = norm(windows)
    swap_layers([norm])
    assert torch.equal(norm(windows), expected)


def test_a_window_that_lies_otherwise_is_left_to_pytorch():
    norm, windows = _norm(8), _windows(1, 8, 6, 7, 8).transpose(2, 4)
    expected = norm(windows)
    swap_layers([norm])
    assert torch.equal(norm(windows), expected)


def test_a_network_keeps_weights_and_its_answers_elsewhere():
    spec = NetworkSpec(channels=(8, 16), strides=(2,), num_res_units=1)
    network = build_network(spec).eval().requires_grad_(requires_grad=False)
    windows, before = _windows(1, 1, 16, 24, 24), dict(network.state_dict())
    expected = network(windows)
    other = Runner((network,), recipe=Recipe(channels_last=True)).to("cpu")
    torch.testing.assert_close(other(windows), expected, rtol=0, atol=1e-4)
    kinds = {type(module) for module in network.modules()}
    assert kinds >= {LayoutKeepingNorm, DirectConvolution}
    assert not kinds & {InstanceNorm3d, Conv3d}
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert torch.equal(Runner((network,)).to("cpu")(windows), expected)
    assert not {type(m) for m in network.modules()} & {
        LayoutKeepingNorm,
        DirectConvolution,
    }


@pytest.mark.skipif(not shutil.which("g++"), reason="no compiler on this computer")
@pytest.mark.skipif(not multiplies_bf16("cpu"), reason="no bfloat16 in this processor")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the compiler's own
def test_a_translated_network_takes_few_channels_side_by_side():
    spec = NetworkSpec(channels=(8, 16), strides=(2,), num_res_units=1)
    network = build_network(spec).eval()
    windows = _windows(1, 1, 16, 24, 32)
    with torch.inference_mode():
        expected = network(windows)
        recipe = Recipe("bfloat16", channels_last=True, is_compiled=True)
        translated = Runner((copy.deepcopy(network),), recipe=recipe).to("cpu")
        found = translated(windows).float()
        torch.testing.assert_close(found, expected, rtol=0, atol=0.1)
        with torch.profiler.profile() as watched:
            translated(windows)
    names = {event.name for event in watched.events()}
    assert "napari_liverseg::norm_of_few_channels" in names
    assert "aten::instance_norm" not in names


class _Calls(TorchDispatchMode):
    """The names of the operations that PyTorch runs."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.name())
        return func(*args, **(kwargs or {}))


@pytest.mark.skipif(not HAS_ONEDNN, reason="this PyTorch was built without oneDNN")
@pytest.mark.parametrize("layout", [LAST, torch.contiguous_format])
@pytest.mark.parametrize(
    ("channels", "options", "is_direct"),
    [
        ((1, 6), {"stride": 2, "padding": 1}, True),
        ((6, 6), {"padding": 1, "bias": False}, True),
        ((6, 4), {"padding": 2, "dilation": 2, "groups": 2}, True),
        ((6, 3), {"padding": "same"}, False),
        ((6, 3), {"padding": 1, "padding_mode": "reflect"}, False),
    ],
)
def test_a_convolution_by_onednn_is_the_same(channels, options, is_direct, layout):
    plain = Conv3d(*channels, 3, **options).requires_grad_(requires_grad=False)
    windows = _windows(1, channels[0], 9, 10, 11)
    expected = plain(windows)
    swap_layers([plain])
    with _Calls() as calls:
        found = plain(windows.contiguous(memory_format=layout))
    assert ("aten::mkldnn_convolution" in calls.names) == is_direct
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert plain(windows).dtype == torch.bfloat16
    swap_layers([plain], ours=False)
    assert torch.equal(plain(windows), expected)


DOUBLES = {"stride": 2, "padding": 1, "output_padding": 1}


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize(
    ("channels", "options", "is_wide"),
    [
        ((6, 3), DOUBLES, True),
        ((5, 4), {**DOUBLES, "bias": False}, True),
        ((6, 1), DOUBLES, True),
        ((6, 5), DOUBLES, False),
        ((6, 4), {**DOUBLES, "groups": 2}, False),
        ((6, 3), {**DOUBLES, "output_padding": 0}, False),
        ((6, 3), {**DOUBLES, "dilation": 2}, False),
        ((6, 3), {"stride": 1, "padding": 1}, False),
    ],
)
def test_a_window_that_is_doubled_to_few_channels_is_the_same(
    channels, options, is_wide, batch
):
    torch.manual_seed(4)
    plain = ConvTranspose3d(*channels, 3, **options).requires_grad_(requires_grad=False)
    windows = _windows(batch, channels[0], 5, 6, 7)
    expected = plain(windows)
    swap_layers([plain])
    with _Calls() as calls:
        found = plain(windows.contiguous(memory_format=LAST))
    is_rewritten = any("einsum" in name or "bmm" in name for name in calls.names)
    assert is_rewritten == is_wide
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    if is_wide:
        assert found.is_contiguous(memory_format=LAST)
        with torch.autocast("cpu", torch.bfloat16):
            half = plain(windows.contiguous(memory_format=LAST))
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), expected, rtol=2e-2, atol=5e-2)
    assert torch.equal(plain(windows), expected), "channels first is left to PyTorch"
    swap_layers([plain], ours=False)
    assert type(plain) is ConvTranspose3d


def test_a_size_that_is_asked_for_is_left_to_pytorch():
    plain = ConvTranspose3d(4, 3, 3, **DOUBLES).requires_grad_(requires_grad=False)
    windows = _windows(1, 4, 5, 6, 7).contiguous(memory_format=LAST)
    expected = plain(windows, output_size=[9, 11, 13])
    swap_layers([plain])
    assert torch.equal(plain(windows, output_size=[9, 11, 13]), expected)


@pytest.mark.parametrize("said", [None, "0"])
def test_large_pages_are_asked_for_unless_the_user_says_otherwise(said):
    name = "THP_MEM_ALLOC_ENABLE"
    environment = {k: v for k, v in os.environ.items() if k != name}
    if said is not None:
        environment[name] = said
    code = f"import os, sys, napari_liverseg; print(os.environ['{name}']); "
    code += "assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == (said or "1")

"""Gradients in bfloat16 of windows two planes deep are gradients, not old memory."""

import copy

import pytest
import torch

from napari_liverseg.models.network import build_network
from napari_liverseg.models.spec import NetworkSpec
from napari_liverseg.training.two_planes import WholeGradient, mend_two_planes


def _leave_no_numbers_in_memory():
    """What is not written afterwards shows."""
    for exponent in range(8, 23):
        _ = [torch.full((2**exponent,), float("nan")) for _ in range(4)]


def _gradient(network, image, wanted, *, is_half):
    _leave_no_numbers_in_memory()
    with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
        answer = network(image)
    (answer.float() * wanted).sum().backward()
    return [p.grad for p in network.parameters() if p.ndim == 5]


@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_gradient_in_bfloat16_is_the_one_of_float32(depth, batch):
    torch.manual_seed(0)
    exact = torch.nn.Conv3d(64, 64, 3, padding=1)
    half = copy.deepcopy(exact)
    mend_two_planes(half)
    image, wanted = (torch.randn(batch, 64, depth, 4, 4) for _ in range(2))
    (expected,) = _gradient(exact, image, wanted, is_half=False)
    for _ in range(3):
        half.zero_grad()
        (found,) = _gradient(half, image, wanted, is_half=True)
        apart = (found - expected).norm() / expected.norm()
        assert apart < 0.01, "NaN is not either"


def test_a_network_keeps_its_weights_names_and_answers():
    torch.manual_seed(0)
    plain = build_network(NetworkSpec(channels=(4, 8, 16), strides=(2, 2)))
    mended = copy.deepcopy(plain)
    mend_two_planes(mended)
    kinds = [type(part) for part in mended.modules()]
    assert WholeGradient in kinds
    assert list(mended.state_dict()) == list(plain.state_dict())
    image = torch.randn(1, 1, 8, 16, 16)  # its deepest level has two planes
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(mended(image), plain(image))
    torch.testing.assert_close(mended(image), plain(image), rtol=0, atol=0)
    for found in _gradient(mended, image, torch.ones(1, 3, 8, 16, 16), is_half=True):
        assert torch.isfinite(found).all()


@pytest.mark.parametrize(
    "options",
    [{"stride": 2, "padding": 1}, {"padding": 0}, {"padding": "same"},
     {"padding": 1, "padding_mode": "reflect"}, {"padding": 2, "dilation": 2}],
)  # fmt: skip
def test_other_convolutions_are_left_alone(options):
    conv = torch.nn.Conv3d(2, 2, 3, **options)
    mend_two_planes(conv)
    assert type(conv) is torch.nn.Conv3d

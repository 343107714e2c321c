"""nnU-Net's resampling by matrices gives what scikit-image gives nnU-Net."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_liverseg.inference.nnunet_resampling import (
    nearest_operator,
    nnunet_shape,
    nonzero_box,
    resample_nnunet,
    separate_axis,
    spline_operator,
)

SHAPE = (17, 41, 36)
EVEN = (1.5, 1.2, 1.0)


def _image(seed=0, shape=SHAPE):
    """Noise on steps: what overshoots most."""
    noise = np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)
    noise[:, shape[1] // 2 :] += 4
    return noise


def _zoomed(image, shape):
    """What skimage's `resize(order=3, mode='edge', anti_aliasing=False)` does."""
    factors = [n / m for n, m in zip(shape, image.shape, strict=True)]
    grown = ndimage.zoom(
        image.astype(float), factors, order=3, mode="nearest", grid_mode=True
    )
    return np.clip(grown, image.min(), image.max())


@pytest.mark.parametrize(
    "shape", [(17, 41, 36), (20, 50, 30), (9, 30, 70), (34, 41, 18), (1, 41, 36)]
)
def test_all_axes_at_once_equal_a_cubic_zoom(shape):
    image = _image()
    found = resample_nnunet(torch.from_numpy(image), shape, EVEN, EVEN)
    assert found.shape == shape
    np.testing.assert_allclose(found.numpy(), _zoomed(image, shape), atol=2e-5)


def test_it_is_what_scikit_image_does():
    transform = pytest.importorskip("skimage.transform", reason="needs scikit-image")
    image, shape = _image(1), (23, 30, 55)
    options = {"mode": "edge", "anti_aliasing": False}
    expected = transform.resize(image.astype(float), shape, 3, **options)
    found = resample_nnunet(torch.from_numpy(image), shape, EVEN, EVEN)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("count", [9, 17, 40])
def test_a_coarse_axis_takes_the_nearest_slice(axis, count):
    image = np.moveaxis(_image(2), 0, axis)
    flat, new = (30, 50), [1.1, 1.0, 0.9]
    shape = list(flat)
    shape.insert(axis, count)
    old = [1.0, 1.0, 1.0]
    old[axis] = 5.0
    found = resample_nnunet(torch.from_numpy(image.copy()), shape, old, new)
    slices = [_zoomed(s, flat) for s in np.moveaxis(image, axis, 0)]
    centres = 17 / count * (np.arange(count) + 0.5) - 0.5
    taken = np.floor(np.clip(centres, 0, 16) + 0.5).astype(int)
    expected = np.stack([slices[i] for i in taken], axis=axis)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5)


def test_slices_are_clipped_one_by_one():
    image = np.zeros((3, 8, 8), np.float32)
    image[1, :4] = 100.0
    image[2] = np.arange(64).reshape(8, 8)
    spacing = (9.0, 1.0, 1.0)
    found = resample_nnunet(torch.from_numpy(image), (3, 19, 19), spacing, spacing)
    assert float(found[0].abs().max()) == 0
    assert float(found[1].min()) == 0
    assert float(found[1].max()) == 100
    assert float(found[2].max()) <= 63


@pytest.mark.parametrize(
    ("old", "new", "axis"),
    [
        ((1, 1, 1), (3, 1, 1), None),
        ((3.01, 1, 1), (1, 1, 1), 0),
        ((1, 1, 1), (1, 4, 1), 1),
        ((5, 1, 1), (1, 1, 9), 0),
        ((0.3, 1.2, 1.2), (1, 1, 1), None),
        ((0.3, 1.2, 1.2), (5, 1, 1), None),
        ((1, 1.1, 4), (2, 2, 2), 2),
    ],
)
def test_the_old_grid_decides_first_which_axis_stands_alone(old, new, axis):
    assert separate_axis(old, new) == axis


def test_shapes_round_as_nnunet_rounds_them():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        shape = tuple(int(n) for n in rng.integers(20, 700, 3))
        used = [0.5, 0.7, 0.75, 1.0, 1.25, 1.5, 2.5, 3.0, 5.0]
        old, new = (tuple(rng.choice(used, 3).tolist()) for _ in range(2))
        expected = [round(o / n * s) for s, o, n in zip(shape, old, new, strict=True)]
        assert list(nnunet_shape(shape, old, new)) == [max(1, n) for n in expected]
    assert nnunet_shape((1, 2, 3), (0.1, 1, 1), (20, 1, 1)) == (1, 2, 3)


def test_linear_operators_for_logits_do_not_average():
    fine = np.random.default_rng(3).normal(size=40)
    found = spline_operator(40, 13, order=1).numpy() @ fine
    expected = ndimage.zoom(fine, 13 / 40, order=1, mode="nearest", grid_mode=True)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    taps = (spline_operator(40, 13, order=1).abs() > 1e-12).sum(dim=1)
    assert set(taps.tolist()) <= {1, 2}


@pytest.mark.parametrize(("n_in", "n_out"), [(7, 20), (20, 7), (9, 9), (5, 10)])
def test_the_nearest_slice_is_that_of_scipy(n_in, n_out):
    slices = np.random.default_rng(4).normal(size=n_in).astype(np.float32)
    centres = n_in / n_out * (np.arange(n_out) + 0.5) - 0.5
    expected = ndimage.map_coordinates(slices, [centres], order=0, mode="nearest")
    operator = nearest_operator(n_in, n_out)
    np.testing.assert_array_equal((operator @ torch.from_numpy(slices)), expected)


def test_nothing_to_do_returns_the_image_itself():
    image = torch.from_numpy(_image())
    assert resample_nnunet(image, SHAPE, (1, 1, 1), (1, 1, 1)) is image


def test_the_box_of_what_is_not_zero():
    hu = np.zeros((9, 10, 11), np.int16)
    hu[2:5, 3:8, 4:6] = -1000
    hu[3, 4, 5] = 0
    assert nonzero_box(hu) == (slice(2, 5), slice(3, 8), slice(4, 6))
    assert nonzero_box(np.zeros((2, 3, 4))) == (slice(0, 2), slice(0, 3), slice(0, 4))
    assert nonzero_box(hu[::-1])[0] == slice(4, 7)

"""A bundle over a whole CT: each voxel's mask lies where its network put it."""

import numpy as np
import pytest
import torch

from napari_liverseg.core.geometry import Geometry, Reorientation, as_matrix
from napari_liverseg.core.volume import CTVolume
from napari_liverseg.inference.decision import decide
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.models.store import find_model
from tiny_bundle import RANGE, transforms, unet_bundle

SHAPE, SPACING = (20, 26, 31), (4.0, 2.5, 2.0)
LIVER_HU, TUMOUR_HU = 100, 190
NETWORK = {
    "_target_": "torch.nn.Conv3d",
    "in_channels": 1,
    "out_channels": 3,
    "kernel_size": 3,
    "padding": 1,
}
FROM_AXIS = {0: (2, 1, 1), 1: (1, 2, 1), 2: (1, 1, 2)}
"""Tap of a kernel that looks at the next voxel along a network axis."""


def _volume(hu):
    grid = Geometry(hu.shape, SPACING, (-7.0, 12.0, 33.0), as_matrix(np.eye(3)))
    return CTVolume(hu, grid, grid, Reorientation(), "phantom", "0f")


def _phantom():
    truth = np.zeros(SHAPE, np.uint8)
    truth[5:15, 6:18, 8:24] = 1
    truth[7:11, 9:13, 10:17] = 2
    hu = np.choose(truth, (-90, LIVER_HU, TUMOUR_HU)).astype(np.int16)
    return hu, truth


def _weights(axis):
    """Weights that tell liver above 5 HU and tumour above 145 HU, one voxel off."""
    share = [(hu + 175) / 425 for hu in (5, 145)]
    weight, bias = torch.zeros(3, 1, 3, 3, 3), torch.zeros(3)
    for label, limits in ((1, share[:1]), (2, share)):
        weight[label, 0][FROM_AXIS[axis]] = 40.0 * label
        bias[label] = -40.0 * sum(limits)
    return {"weight": weight, "bias": bias}


@pytest.mark.parametrize(
    ("axcodes", "axis", "volume_axis", "step"),
    [
        ("RAS", 0, 2, -1),
        ("RAS", 1, 1, -1),
        ("RAS", 2, 0, 1),
        ("LPS", 0, 2, 1),
        ("SPL", 0, 0, 1),
    ],
)
def test_masks_lie_where_the_network_puts_them(
    tmp_path, axcodes, axis, volume_axis, step
):
    letters = {"R": SPACING[2], "L": SPACING[2], "A": SPACING[1], "P": SPACING[1]}
    pixdim = [letters.get(letter, SPACING[0]) for letter in axcodes]
    inferer = {
        "_target_": "SlidingWindowInferer",
        "roi_size": [16, 18, 20],
        "overlap": 0.5,
        "mode": "gaussian",
    }
    folder = unet_bundle(
        tmp_path / "b",
        network=NETWORK,
        weights=_weights(axis),
        steps=transforms(RANGE, pixdim=pixdim, axcodes=axcodes),
        inferer=inferer,
    )
    hu, truth = _phantom()
    model = find_model(folder)
    found = Predictor(model, "cpu").predict(_volume(hu))
    # A voxel says what its neighbour one step along the network's axis is.
    wanted = np.roll(truth, -step, axis=volume_axis)
    np.testing.assert_array_equal(decide(found).labels, wanted)
    assert found.run.model_sha256 == model.sha256


def test_an_image_that_is_scaled_by_its_own_range_runs(tmp_path):
    steps = transforms(
        {"_target_": "ScaleIntensityd", "minv": -1.0, "maxv": 1.0},
        pixdim=SPACING[::-1],
    )
    weight, bias = torch.zeros(3, 1, 3, 3, 3), torch.zeros(3)
    # -90..190 HU become -1..1: liver, of 100 HU, is about 0.36.
    for label, limits in ((1, (0.0,)), (2, (0.0, 0.7))):
        weight[label, 0, 1, 1, 1] = 40.0 * label
        bias[label] = -40.0 * sum(limits)
    folder = unet_bundle(
        tmp_path / "b",
        network=NETWORK,
        weights={"weight": weight, "bias": bias},
        steps=steps,
    )
    hu, truth = _phantom()
    found = Predictor(find_model(folder), "cpu").predict(_volume(hu))
    np.testing.assert_array_equal(decide(found).labels, truth)

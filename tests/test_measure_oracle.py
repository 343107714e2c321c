"""Every measure equals its straightforward definition on random small cases."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

import measure_oracle
from napari_liverseg.core.geometry import Geometry
from napari_liverseg.core.segmentation import Segmentation
from napari_liverseg.measure.case import measure_case
from napari_liverseg.measure.matching import match_lesions
from napari_liverseg.measure.surface import find_surface


def random_labels(rng, shape):
    """Blobs of liver and tumour, often cut by the border, sometimes absent."""
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0.6, 1.6))
    level = rng.uniform(-0.2, 0.25)
    labels = (smooth > level * smooth.std()).astype(np.uint8)
    lumps = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0, 0.9))
    labels[lumps > rng.uniform(0.5, 1.8) * lumps.std()] = 2
    if rng.random() < 0.1:
        labels[labels == 2] = 1
    return labels


def disturbed(rng, truth):
    labels = np.roll(truth, rng.integers(-1, 2, 3), (0, 1, 2))
    noise = rng.random(truth.shape)
    labels[noise < 0.08] = 0
    labels[noise > 0.93] = 2
    return labels


def segmentation(labels, spacing):
    geometry = Geometry(labels.shape, spacing, (-30.0, 12.5, 7.0))
    return Segmentation(labels, geometry)


def assert_same(ours, expected, where=""):
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_same(ours[key], value, f"{where}{key}.")
        elif value is None:
            assert ours[key] is None, f"{where}{key}"
        else:
            assert ours[key] == pytest.approx(value, abs=1e-6), f"{where}{key}"


@pytest.mark.parametrize("seed", range(60))
def test_every_measure_equals_the_oracle(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers((3, 5, 6), (7, 10, 11)))
    spacing = tuple(float(s) for s in rng.uniform(0.5, 5.0, 3))
    truth = random_labels(rng, shape)
    prediction = disturbed(rng, truth) if seed % 3 else random_labels(rng, shape)
    measures = measure_case(
        segmentation(prediction, spacing), segmentation(truth, spacing)
    ).as_dict()
    expected = measure_oracle.case(prediction, truth, spacing)
    assert expected.keys() | {"reasons"} == measures.keys()
    for block, values in expected.items():
        assert list(measures[block]) == list(values)
    assert_same(measures, expected)


@pytest.mark.parametrize("seed", range(150))
def test_lesion_matching_equals_the_oracle(seed):
    rng = np.random.default_rng(1000 + seed)
    shape = (4, 9, 13)
    share = rng.uniform(0.1, 0.45)
    truth = rng.random(shape) < share
    prediction = truth ^ (rng.random(shape) < rng.uniform(0.02, 0.4))
    match = match_lesions(prediction, truth)
    assert match.detected == measure_oracle.detected(prediction, truth, 0.5)
    assert match.detected_any == measure_oracle.detected(prediction, truth, 0)
    assert match.truth == len(measure_oracle.components(truth))
    assert match.predicted == len(measure_oracle.components(prediction))


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 4, 5), (2, 2, 2), (6, 7, 9)])
def test_surface_equals_erosion_with_the_18_neighbourhood(shape):
    rng = np.random.default_rng(3)
    for density in (0.5, 0.9, 0.98, 1.0):
        mask = rng.random(shape) < density
        eroded = ndimage.binary_erosion(mask, ndimage.generate_binary_structure(3, 2))
        np.testing.assert_array_equal(find_surface(mask), mask & ~eroded)

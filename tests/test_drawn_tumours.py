"""Drawn tumours: where their labels say, and as varied as those of patients."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from napari_liverseg.synthesis.emphasis import LEAST, MOST, SMALL_MM, weigh_tumour
from napari_liverseg.synthesis.field import grid_axes
from napari_liverseg.synthesis.phantom import Lesion, make_phantom
from napari_liverseg.synthesis.sample import _plant_tumours
from napari_liverseg.synthesis.tumour import (
    DARKEST_HU,
    Lobe,
    Tumour,
    draw_alike,
    draw_tumour,
    plant,
)


def test_a_planted_tumour_is_where_its_label_says():
    axes = grid_axes((30, 36, 40), (3.0, 2.5, 2.0))
    liver = np.ones((30, 36, 40), bool)
    liver[:, :18] = False
    hu = np.full(liver.shape, 100, np.float32)
    tumour = Tumour((45.0, 46.0, 40.0), (15, 15, 15), -60.0, roughness=0.0, edge=0.05)
    mask = plant(tumour, hu, liver, axes, np.random.default_rng(0))
    assert mask.any()
    assert not mask[:, :18].any(), "cut at the liver's border"
    assert (hu[~liver] == 100).all()
    assert hu[mask].mean() < 55
    assert abs(hu[~mask].mean() - 100) < 1


@pytest.mark.parametrize("liver_hu", [30.0, 60.0, 110.0])
def test_solid_tumours_are_denser_than_bile(liver_hu):
    axes = grid_axes((20, 20, 20), (3.0, 3.0, 3.0))
    liver = np.ones((20, 20, 20), bool)
    rng = np.random.default_rng(1)
    drawn = [draw_tumour(liver, axes, liver_hu, rng) for _ in range(60)]
    darker = [t.contrast_hu for t in drawn if t.contrast_hu < 0]
    assert len(darker) > 30
    assert min(darker) >= min(DARKEST_HU - liver_hu, -15.0)
    assert len({round(c) for c in darker}) > 1 or liver_hu < 40


def test_few_tumours_have_a_calcified_core_and_more_a_necrotic_one():
    axes = grid_axes((20, 20, 20), (3.0, 3.0, 3.0))
    rng = np.random.default_rng(2)
    liver = np.ones((20, 20, 20), bool)
    cores = np.array([draw_tumour(liver, axes, 100.0, rng).core_hu for _ in range(400)])
    assert 0.02 < (cores > 0).mean() < 0.12 < (cores < 0).mean() < 0.4


def _planted(side, seeds):
    """Return labels and weights of a block of liver, `side` voxels of 2 mm, a seed."""
    axes = grid_axes((side,) * 3, (2.0, 2.0, 2.0))
    for seed in seeds:
        hu = np.full((side,) * 3, 100.0, np.float32)
        labels = np.ones((side,) * 3, np.uint8)
        fat = np.zeros((side,) * 3, bool)
        weights = np.ones((side,) * 3, np.uint8)
        rng = np.random.default_rng(seed)
        _plant_tumours(hu, labels, weights, fat, axes, rng)
        yield labels == 2, weights


def test_a_patch_that_shows_more_of_the_liver_bears_more_small_tumours():
    few, many = (
        [ndimage.label(tumour)[1] for tumour, _ in _planted(side, range(60))]
        for side in (34, 60)  # 0.3 and 1.7 litres
    )
    assert few.count(0) == many.count(0) > 0, "as many patches as before bear none"
    assert sum(many) > 1.5 * sum(few)
    assert max(many) > max(few)


def test_training_looks_closely_at_small_tumours_and_not_at_large_ones():
    small = large = 0
    for tumour, weights in _planted(60, range(30)):
        parts, count = ndimage.label(tumour)
        for part, voxels in enumerate(np.bincount(parts.ravel())[1:], 1):
            watched = weights[parts == part] >= LEAST
            if voxels * 0.008 < 1.0:  # ml; as a ball of 6 mm radius
                small += 1
                assert watched.mean() > 0.9
            large += voxels * 0.008 > 60 and watched.mean() < 0.5
        assert (weights == 1).all() or count, "only beside tumours"
    assert small > 10
    assert large > 0


def test_the_smaller_a_tumour_the_more_each_of_its_voxels_counts():
    axes = grid_axes((60, 60, 60), (2.0, 2.0, 2.0))
    counted = {}
    for radius in (1.0, 5.0, 6.0, 9.0, SMALL_MM):
        weights = np.ones((60, 60, 60), np.uint8)
        weigh_tumour(weights, axes, (60.0, 60.0, 60.0), radius)
        counted[radius] = int(weights.max())
        assert weights[30, 30, 30] == weights.max()
        assert (weights[:, :, :20] == 1).all()
    assert counted == {1.0: MOST, 5.0: 17, 6.0: 12, 9.0: 5, SMALL_MM: 1}


def _block_of_liver():
    return grid_axes((40, 40, 40), (2.0, 2.0, 2.0)), np.ones((40, 40, 40), bool)


def _plant(tumour, hu, seed=0):
    axes, liver = _block_of_liver()
    return plant(tumour, hu, liver, axes, np.random.default_rng(seed))


def test_a_tumour_that_has_grown_together_has_all_its_lobes():
    ball = Tumour((40.0, 40.0, 40.0), (9, 9, 9), -40.0, roughness=0.0)
    lobe = Lobe((40.0, 40.0, 56.0), (12, 12, 12))
    lobed = replace(ball, lobes=(lobe,))
    assert lobed.extent_mm == 28
    hu = np.zeros((40, 40, 40), np.float32)
    alone, both = _plant(ball, hu.copy()), _plant(lobed, hu)
    assert both[20, 20, 33], "14 mm right of the centre of the ball and in its lobe"
    assert both[alone].all()
    assert both.sum() > 2 * alone.sum()
    assert (hu[both] < 0).all()


def test_vessels_end_at_a_tumour_that_displaces_them_and_noise_goes_on():
    rng = np.random.default_rng(3)
    noise = rng.normal(0, 10, (40, 40, 40)).astype(np.float32)
    liver = 100 + noise
    liver[:, 18:22, 18:22] += 80  # a vein of 8 mm along z
    seen_through = Tumour((40.0, 40.0, 40.0), (20, 20, 20), -50.0, roughness=0.0)
    veins = {}
    for name, tumour in {
        "through": seen_through,
        "ends": replace(seen_through, ends_vessels=True),
    }.items():
        hu = liver.copy()
        inside = ndimage.binary_erosion(_plant(tumour, hu), iterations=3)
        vein = inside.copy()
        vein[:, :, :18] = vein[:, :, 22:] = vein[:, :18] = vein[:, 22:] = False
        rest = inside & ~ndimage.binary_dilation(vein, iterations=3)
        veins[name] = hu[vein].mean() - hu[rest].mean()
        assert hu[rest].mean() == pytest.approx(50, abs=3)
        assert hu[rest].std() > 7
    assert veins["through"] == pytest.approx(80, abs=5)
    assert abs(veins["ends"]) < 80 / 2


def test_a_mosaic_differs_more_inside_than_a_plain_tumour():
    plain = Tumour((40.0, 40.0, 40.0), (24, 24, 24), -40.0, roughness=0.0, edge=0.05)
    spreads = []
    for tumour in (plain, replace(plain, patches_hu=20.0)):
        hu = np.zeros((40, 40, 40), np.float32)
        mask = _plant(tumour, hu)
        spreads.append(hu[ndimage.binary_erosion(mask, iterations=2)].std())
    assert spreads[0] < 1
    assert spreads[1] > 10


def test_metastases_look_alike_and_lie_anywhere():
    axes, liver = _block_of_liver()
    rng = np.random.default_rng(4)
    first = draw_tumour(liver, axes, 100.0, rng)
    alike = draw_alike(first, 50, (3.0, 16.0), liver, axes, rng)
    assert len({tumour.centre_mm for tumour in alike}) == 50
    shares = [tumour.contrast_hu / first.contrast_hu for tumour in alike]
    assert min(shares) > 0.75
    assert max(shares) < 1.2
    assert all(3 * 0.75 <= tumour.extent_mm <= 16 * 1.25 for tumour in alike)
    assert {tumour.core_hu for tumour in alike} == {first.core_hu}


def test_some_livers_are_seeded_with_metastases():
    counts = [ndimage.label(tumour)[1] for tumour, _ in _planted(60, range(60))]
    assert 1 <= sum(count > 15 for count in counts) <= 15


def test_varied_lesions_of_a_phantom_lie_where_the_plain_ones_do():
    grid = ((24, 60, 70), (9.0, 6.0, 5.0))
    plain, varied = (
        make_phantom(5, *grid, lesions=[replace(lesion, varied=looks)])
        for lesion, looks in ((Lesion(24.0, -50.0, 1.25), f) for f in (False, True))
    )
    assert not np.array_equal(plain.truth.labels, varied.truth.labels)
    both = (plain.truth.labels == 2) & (varied.truth.labels == 2)
    assert both.sum() > 0.5 * (plain.truth.labels == 2).sum()

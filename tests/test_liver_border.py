"""What lies at a drawn liver's border: tumours that bulge out, and bowel."""

import numpy as np
import pytest

from napari_liverseg.synthesis.body import Body
from napari_liverseg.synthesis.bulge import BULGE, MOST_MM, bulge
from napari_liverseg.synthesis.field import grid_axes
from napari_liverseg.synthesis.hollow import YIELDING, fill_in, press_organ
from napari_liverseg.synthesis.sample import PatchGrid, draw_sample
from napari_liverseg.synthesis.tissue import Tissue
from napari_liverseg.synthesis.tumour import Tumour, plant

SIDE = 50
AXES = grid_axes((SIDE,) * 3, (2.0, 2.0, 2.0))


def _tissues():
    """Return liver below 50 mm of z, fat above it, and muscle above 70 mm."""
    tissues = np.full((SIDE,) * 3, Tissue.LIVER, np.uint8)
    tissues[25:] = Tissue.FAT
    tissues[35:] = Tissue.MUSCLE
    return tissues


def _bulged(tissues, z_mm, radius_mm):
    hu = np.where(tissues == Tissue.LIVER, 100, -100).astype(np.float32)
    liver, fat = tissues == Tissue.LIVER, tissues == Tissue.FAT
    radii = (radius_mm,) * 3
    tumour = Tumour((z_mm, 49.0, 49.0), radii, -60.0, roughness=0.0, edge=0.05)
    rng = np.random.default_rng(3)
    grown = bulge(tumour, hu, liver, fat, AXES, rng)
    return grown, hu, liver, fat, plant(tumour, hu, liver, AXES, rng)


def test_a_tumour_at_the_border_bulges_into_the_fat():
    tissues = _tissues()
    grown, hu, liver, fat, mask = _bulged(tissues, 44.0, 12.0)
    assert grown.any()
    assert (tissues[grown] == Tissue.FAT).all()
    np.testing.assert_array_equal(liver, (tissues == Tissue.LIVER) | grown)
    np.testing.assert_array_equal(fat, (tissues == Tissue.FAT) & ~grown)
    assert (mask & grown).sum() > 0.8 * grown.sum()
    assert hu[mask & grown].mean() == pytest.approx(40, abs=8)
    assert (hu[fat] == -100).all()


def test_a_bulge_is_no_longer_than_it_may_be_and_stays_off_the_wall():
    grown, *_ = _bulged(_tissues(), 48.0, 20.0)
    assert grown[25:].any()
    reach = min(BULGE * 20, MOST_MM)
    highest = np.flatnonzero(grown.any((1, 2))).max()
    assert (highest - 24) * 2.0 < reach <= (highest - 23) * 2.0
    grown, *_ = _bulged(_tissues(), 48.0, 45.0)
    assert not grown[35:].any()


def test_what_lies_inside_or_away_from_the_liver_does_not_bulge():
    assert not _bulged(_tissues(), 20.0, 12.0)[0].any()
    tissues = np.full((SIDE,) * 3, Tissue.FAT, np.uint8)
    assert not _bulged(tissues, 44.0, 12.0)[0].any()


@pytest.mark.parametrize("seed", range(12))
def test_a_hollow_organ_dents_the_liver_and_spares_the_wall(seed):
    tissues = _tissues()
    before = tissues.copy()
    organ = press_organ(tissues, AXES, np.random.default_rng(seed))
    assert organ.any()
    np.testing.assert_array_equal(tissues[~organ], before[~organ])
    assert np.isin(before[organ], YIELDING).all()
    taken = {Tissue.FAT, Tissue.STOMACH, Tissue.BOWEL, Tissue.FLUID, Tissue.GAS}
    assert set(np.unique(tissues[organ])) <= taken
    dent = organ & (before == Tissue.LIVER)
    assert 0 < dent.sum() < 0.7 * organ.sum()


def test_gas_lies_in_front_of_what_fills_an_organ():
    seen = 0
    for seed in range(30):
        tissues = _tissues()
        press_organ(tissues, AXES, np.random.default_rng(seed))
        rows = [np.nonzero(tissues == t)[1] for t in (Tissue.GAS, Tissue.FLUID)]
        if all(r.size for r in rows):
            assert rows[0].max() < rows[1].max()
            assert rows[0].mean() < rows[1].mean()
            seen += 1
    assert seen > 2


def test_without_a_liver_beside_fat_nothing_is_laid():
    for tissue in (Tissue.LIVER, Tissue.FAT):
        tissues = np.full((SIDE,) * 3, tissue, np.uint8)
        assert not press_organ(tissues, AXES, np.random.default_rng(1)).any()
        assert (tissues == tissue).all()


def test_an_organ_spares_what_it_is_told_to():
    tissues = _tissues()
    free = press_organ(tissues.copy(), AXES, np.random.default_rng(4))
    for spared, left in ((free, False), (~free, True)):
        pressed = tissues.copy()
        organ = press_organ(pressed, AXES, np.random.default_rng(4), spared)
        assert organ.any() == (pressed != tissues).any() == left


def test_an_organ_is_drawn_into_a_ct_and_nothing_else_is():
    tissues = _tissues()
    organ = press_organ(tissues, AXES, np.random.default_rng(2))
    hu = np.full(tissues.shape, 100, np.float32)
    fill_in(hu, tissues, organ, np.random.default_rng(2))
    assert (hu[~organ] == 100).all()
    for tissue, mean in ((Tissue.FLUID, 8), (Tissue.FAT, -102)):
        inside = organ & (tissues == tissue)
        if inside.any():
            assert hu[inside].mean() == pytest.approx(mean, abs=6)


@pytest.mark.parametrize("with_ct", [False, True])
def test_in_samples_an_organ_is_no_liver_and_looked_at_closely(monkeypatch, with_ct):
    sample = "napari_liverseg.synthesis.sample."
    grid = PatchGrid((48, 48, 48), (2.0, 2.0, 2.0))
    hu = np.where(_tissues() == Tissue.LIVER, 100, -100).astype(np.float32)
    body = Body(_tissues(), (2.0, 2.0, 2.0), hu if with_ct else None)
    monkeypatch.setattr(sample + "TUMOUR_COUNTS", (1.0,))
    monkeypatch.setattr(sample + "weigh_mimics", lambda *_: None)
    found = []
    for share in (0.0, 1.0):
        monkeypatch.setattr(sample + "PRESSED_SHARE", share)
        drawn = [
            draw_sample(body, grid, np.random.default_rng(s), 1.0) for s in range(6)
        ]
        labels, close = ([d.labels for d in drawn], [d.weights > 1 for d in drawn])
        found.append((np.sum(labels), np.sum(close)))
    (liver, close), (less_liver, closer) = found
    assert less_liver < 0.98 * liver
    assert close == 0 < closer

"""Phantoms and training samples: anatomy in its place, truth that fits the image."""

import numpy as np
import pytest
from scipy import ndimage

from napari_liverseg.synthesis.abdomen import draw_abdomen
from napari_liverseg.synthesis.appearance import (
    Palette,
    add_liver_vessels,
    draw_palette,
    fatten_vessels,
    mix_veins,
    recolour,
    with_trees,
)
from napari_liverseg.synthesis.body import Body
from napari_liverseg.synthesis.canvas import Canvas
from napari_liverseg.synthesis.completion import complete_upwards
from napari_liverseg.synthesis.effusion import THIN_FLUID, flood_chest
from napari_liverseg.synthesis.emphasis import LEAST, weigh_borders, weigh_mimics
from napari_liverseg.synthesis.field import grid_axes, smooth_field
from napari_liverseg.synthesis.mimics import CYST_HU, SHARES, draw_mimics
from napari_liverseg.synthesis.phantom import (
    AT_VEINS,
    VEIN_MM,
    _place_lesions,
    make_phantom,
)
from napari_liverseg.synthesis.relabel import relabel, split_by_hu
from napari_liverseg.synthesis.sample import (
    PatchGrid,
    draw_sample,
)
from napari_liverseg.synthesis.scanner import (
    breathe,
    cut_field,
    degrade,
    starved_band,
    thicken,
)
from napari_liverseg.synthesis.shape import ellipsoid, tube
from napari_liverseg.synthesis.tissue import Tissue
from napari_liverseg.synthesis.torso import draw_torso
from napari_liverseg.synthesis.tumour import DARKEST_HU
from napari_liverseg.synthesis.vessel_tree import (
    WHOLE_ML,
    Tree,
    add_vessel_trees,
    grow,
    render_tree,
)

AXES = grid_axes((75, 70, 82), (4.5, 5.0, 5.0), (-280.0, -170.0, -205.0))
GRID = PatchGrid((32, 48, 40), (6.0, 6.0, 6.0))


@pytest.fixture(scope="module")
def tissues():
    return draw_abdomen(AXES, np.random.default_rng(3))


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(11, (60, 80, 100), (4.8, 4.4, 4.0), (-90.0, 7.0, -33.0))


def _centre_mm(mask):
    axes = (a[i].mean() for a, i in zip(AXES, np.nonzero(mask), strict=True))
    return dict(zip("zyx", axes, strict=True))


@pytest.mark.parametrize("tissue", [t for t in Tissue if t != Tissue.TABLE])
def test_every_tissue_is_somewhere(tissue):
    drawn = [draw_abdomen(AXES, np.random.default_rng(seed)) for seed in (3, 4)]
    assert any((d == tissue).any() for d in drawn)


def test_organs_lie_where_anatomy_puts_them(tissues):
    centre = {t: _centre_mm(tissues == t) for t in np.unique(tissues)}
    liver, spine = centre[Tissue.LIVER], centre[Tissue.CARTILAGE]
    assert liver["x"] < 0 < centre[Tissue.SPLEEN]["x"], "LPS: right is -x"
    assert centre[Tissue.HEART]["z"] > liver["z"] > centre[Tissue.KIDNEY]["z"]
    assert centre[Tissue.LUNG]["z"] > liver["z"]
    assert centre[Tissue.AORTA]["y"] > liver["y"]
    assert centre[Tissue.VEIN]["x"] < centre[Tissue.AORTA]["x"]
    assert spine["y"] > -60


def test_no_lung_lies_below_the_liver(tissues):
    columns = tissues.reshape(tissues.shape[0], -1)
    liver, lung = columns == Tissue.LIVER, columns == Tissue.LUNG
    both = liver.any(axis=0) & lung.any(axis=0)
    assert both.sum() > 50
    lowest_lung = lung[:, both].argmax(axis=0)
    assert (lowest_lung > liver[:, both].argmax(axis=0)).all()


def test_a_seed_gives_the_same_phantom_and_another_a_different_one(phantom):
    again = make_phantom(11, (60, 80, 100), (4.8, 4.4, 4.0), (-90.0, 7.0, -33.0))
    other = make_phantom(12, (60, 80, 100), (4.8, 4.4, 4.0), (-90.0, 7.0, -33.0))
    np.testing.assert_array_equal(phantom.volume.hu, again.volume.hu)
    np.testing.assert_array_equal(phantom.truth.labels, again.truth.labels)
    assert (phantom.truth.labels != other.truth.labels).mean() > 0.01


def test_phantom_has_the_size_and_the_densities_of_an_abdomen(phantom):
    hu, labels = phantom.volume.hu, phantom.truth.labels
    assert 700 < phantom.truth.liver_ml < 3000
    assert 10 < phantom.truth.tumour_ml < 120
    assert 70 < np.median(hu[labels == 1]) < 150
    assert hu.min() >= -1024
    assert -130 < np.median(hu[(hu > -200) & (hu < -60)]) < -70
    assert phantom.volume.geometry.matches(phantom.truth.geometry)


def test_the_truth_has_its_volume_whatever_the_slices():
    thin = make_phantom(5, (200, 50, 60), (1.25, 6.0, 6.0)).truth.liver_ml
    for thickness in (2.5, 3.125, 5.0):
        shape = (round(250 / thickness), 50, 60)
        thick = make_phantom(5, shape, (thickness, 6.0, 6.0)).truth.liver_ml
        assert thick == pytest.approx(thin, rel=0.01)


def test_tumours_differ_from_the_liver_around_them(phantom):
    hu, labels = phantom.volume.hu.astype(float), phantom.truth.labels
    darker = np.median(hu[labels == 2]) - np.median(hu[labels == 1])
    assert darker < -20


def test_a_phantom_may_be_without_tumours(phantom):
    grid = (60, 80, 100), (4.8, 4.4, 4.0), (-90.0, 7.0, -33.0)
    healthy = make_phantom(11, *grid, lesions=()).truth
    assert healthy.tumour_ml == 0
    np.testing.assert_array_equal(healthy.labels > 0, phantom.truth.labels > 0)


def test_lesions_at_veins_lie_beside_one():
    axes = grid_axes((50, 50, 50), (2.0, 2.0, 2.0))
    tissues = np.full((50, 50, 50), Tissue.FAT, np.uint8)
    tissues[5:45, 5:45, 5:45] = Tissue.LIVER
    tissues[5:45, 36:45, 20:30] = Tissue.VEIN
    placed = _place_lesions(AT_VEINS, tissues, axes, np.random.default_rng(0))
    assert len(placed) == len(AT_VEINS)
    vein = np.argwhere(tissues == Tissue.VEIN) * 2.0
    for tumour, lesion in zip(placed, AT_VEINS, strict=True):
        far = np.linalg.norm(vein - tumour.centre_mm, axis=1).min()
        if lesion.at_vein:
            assert far < lesion.radius_mm + VEIN_MM + 2


def test_smooth_field_is_standardised_and_belongs_to_space():
    fine = grid_axes((40, 60, 80), (2.0, 2.0, 2.0))
    coarse = (fine[0][::2], *fine[1:])
    one = smooth_field(fine, 9.0, np.random.default_rng(0))
    two = smooth_field(coarse, 9.0, np.random.default_rng(0))
    assert abs(one.mean()) < 0.2
    assert 0.8 < one.std() < 1.2
    np.testing.assert_allclose(two, one[::2], atol=1e-4)


def test_ellipsoid_and_tube_have_their_sizes_in_mm():
    axes = grid_axes((40, 44, 48), (2.0, 1.5, 1.0), (-40.0, -33.0, -24.0))
    voxel_ml = 2.0 * 1.5 * 1.0 / 1000
    ball = np.count_nonzero(ellipsoid(axes, (0, 0, 0), (18, 12, 9)) < 1) * voxel_ml
    assert ball == pytest.approx(4 / 3 * np.pi * 18 * 12 * 9 / 1000, rel=0.03)
    rod = tube(axes, [(-20, 0, 0), (20, 0, 0)], 8.0) < 1
    assert rod[:, 22, 24].sum() * 2.0 == pytest.approx(56, abs=2.5)
    assert rod[20, 22, :].sum() * 1.0 == pytest.approx(16, abs=1.5)


def test_ellipsoid_turns_about_z_from_left_to_front():
    axes = grid_axes((3, 61, 61), (1.0, 1.0, 1.0), (-1.0, -30.0, -30.0))
    inside = ellipsoid(axes, (0, 0, 0), (5, 5, 25), (45.0, 0.0, 0.0)) < 1
    assert inside[1, 30 - 12, 30 + 12]
    assert not inside[1, 30 + 12, 30 + 12]


@pytest.mark.parametrize("factor", [2, 3])
def test_thick_slices_stay_in_place(factor):
    ramp = np.arange(40, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), "f4")
    inner = thicken(ramp, factor)[5:-5]
    np.testing.assert_allclose(inner, ramp[5:-5], atol=1e-4)


def test_samples_are_reproducible_and_labelled_inside_the_image(tissues):
    body = Body(tissues, (4.5, 5.0, 5.0))
    sample, again = (
        draw_sample(body, GRID, np.random.default_rng(5)) for _ in range(2)
    )
    np.testing.assert_array_equal(sample.hu, again.hu)
    assert sample.hu.dtype == np.float32
    assert sample.hu.shape == sample.labels.shape == sample.weights.shape == GRID.shape
    assert set(np.unique(sample.labels)) <= {0, 1, 2}
    assert not np.any(sample.labels[sample.hu == -1000])
    assert np.isfinite(sample.hu).all()


def test_what_lies_between_the_liver_and_what_looks_like_it_counts_more():
    tissues = np.full((30, 30, 60), Tissue.FAT, np.uint8)
    tissues[:, :, 10:30] = Tissue.LIVER
    tissues[:, :, 30:34] = Tissue.VEIN
    tissues[:, :, 50:54] = Tissue.VEIN
    weights = weigh_borders(tissues, np.zeros(tissues.shape, bool), (3.0, 3.0, 3.0))
    assert set(np.unique(weights)) == {1, LEAST}
    columns = (weights == LEAST).all((0, 1))
    assert np.flatnonzero(columns).tolist() == list(range(27, 33))


def test_a_vessel_is_looked_at_as_closely_as_a_small_tumour_and_plain_liver_is_not():
    axes = grid_axes((60, 60, 60), (2.0, 2.0, 2.0))
    hu = np.random.default_rng(6).normal(100, 10, (60, 60, 60)).astype(np.float32)
    hu[:, 25:35, 25:35] -= 60
    weights = np.ones(hu.shape, np.uint8)
    weigh_mimics(weights, hu, hu < 1e3, axes, np.random.default_rng(0))
    assert (weights[:, 30, 30] > LEAST).mean() > 0.3
    assert (weights[:, :6] == 1).all(), "far from it"
    no_liver = np.zeros(hu.shape, bool)
    weigh_mimics(weights, hu, no_liver, axes, np.random.default_rng(0))


def test_real_ct_can_be_kept_and_recoloured():
    rng = np.random.default_rng(1)
    tissues = np.full((12, 14, 16), Tissue.FAT, np.uint8)
    tissues[3:9, 3:11, 3:12] = Tissue.LIVER
    hu = np.where(tissues == Tissue.LIVER, 50, -100).astype(np.float32)
    palette = draw_palette(rng, "portal venous")
    changed = recolour(hu, tissues, palette)
    core = changed[5:7, 6:8, 6:9].mean()
    assert core == pytest.approx(palette.hu[Tissue.LIVER], abs=2)


def test_names_become_tissues_and_the_rest_is_named_by_hu():
    labels = np.zeros((6, 20, 20), np.uint8)
    labels[2:4, 8:12, 8:12] = 5
    labels[2:4, 4:6, 4:6] = 9
    hu = np.full(labels.shape, -1000, np.float32)
    hu[:, 2:18, 2:18] = -100
    hu[:, 14:16, 14:16] = 60
    hu[2:4, 8:12, 8:12] = 55
    hu[2:4, 4:6, 4:6] = 30
    tissues, known = relabel(labels, {5: "liver", 9: "adrenal_gland_left"})
    full = split_by_hu(tissues, known, hu.clip(-100) * (hu > -500) + hu * (hu <= -500))
    assert full[3, 10, 10] == Tissue.LIVER
    assert full[3, 5, 5] == Tissue.GLAND, "adrenal is not renal"


def test_a_truncated_scan_gets_domes_lungs_and_a_heart(tissues):
    cut = int(np.searchsorted(AXES[0], -45.0))
    body = Body(tissues[:cut], (4.5, 5.0, 5.0))
    whole = complete_upwards(body, np.random.default_rng(0))
    added = whole.tissues[cut:]
    np.testing.assert_array_equal(whole.tissues[:cut], tissues[:cut])
    areas = (added == Tissue.LIVER).sum(axis=(1, 2))
    assert areas[0] > 0.5 * (tissues[cut - 1] == Tissue.LIVER).sum()
    assert areas[-1] == 0
    assert np.all(np.diff(areas) <= 0)
    assert (added == Tissue.LUNG).any()
    assert (added == Tissue.HEART).any()


@pytest.mark.parametrize("seed", range(4))
def test_the_heart_lies_on_a_saddle_and_not_on_a_table(seed):
    # A flat floor would put a whole lobe's face into one slice.
    axes = grid_axes((20, 120, 140), (6.0, 2.5, 2.5), (-100.0, -150.0, -175.0))
    torso = draw_torso(Canvas(axes, np.random.default_rng(seed)))
    inside = torso.cavity.any(axis=0)
    heights = torso.dome_mm[0][inside]
    counts, _ = np.histogram(heights, bins=np.arange(-200, 5, 1.0))
    assert counts.max() * 2.5**2 / 100 < 30  # cm2 within a millimetre of height


def test_effusions_lie_on_the_liver_and_leave_the_rest_of_the_anatomy():
    axes = grid_axes((28, 60, 70), (12.0, 6.0, 5.0), (-270.0, -177.0, -175.0))
    ill = 0
    for seed in range(12):
        before, other = (
            draw_abdomen(axes, np.random.default_rng(seed), effusions=with_them)
            for with_them in (False, True)
        )
        changed = before != other
        ill += changed.any()
        assert np.isin(other[changed], [THIN_FLUID, Tissue.SOFT]).all()
        assert np.isin(before[changed], [Tissue.LUNG, Tissue.FAT]).all()
    assert 1 <= ill <= 8


def _scanned(seed, spacing_mm=(6.0, 5.0, 5.0)):
    """Return an abdomen with a CT of it, blurred as a CT is."""
    axes = grid_axes((56, 72, 70), spacing_mm, (-270.0, -177.0, -175.0))
    tissues = draw_abdomen(axes, np.random.default_rng(seed))
    hu = np.where(tissues == Tissue.LUNG, -800.0, 50.0).astype(np.float32)
    hu[tissues == Tissue.GAS] = -900.0
    return Body(tissues, spacing_mm, ndimage.gaussian_filter(hu, 0.5))


def test_fluid_in_the_chest_of_a_scan_takes_the_place_of_lung_in_its_ct_too():
    healthy = _scanned(5)
    lung = healthy.tissues == Tissue.LUNG
    gas, beside_lung = healthy.tissues == Tissue.GAS, ndimage.binary_dilation(lung)
    ill = 0
    for seed in range(24):
        body = flood_chest(healthy, np.random.default_rng(seed))
        changed = body.tissues != healthy.tissues
        ill += changed.any()
        assert np.isin(body.tissues[changed], [THIN_FLUID, Tissue.SOFT]).all()
        assert (lung | (gas & beside_lung))[changed].all()
        far = ~ndimage.binary_dilation(changed, iterations=3)
        np.testing.assert_allclose(body.hu[far], healthy.hu[far], atol=0.1)
        fluid = changed & (body.tissues == THIN_FLUID)
        left = ndimage.binary_dilation(body.tissues == Tissue.LUNG, iterations=2)
        on_liver = ndimage.binary_dilation(body.tissues == Tissue.LIVER)
        touching = fluid & on_liver & ~left
        if touching.sum() > 30:
            # No rim as dark as lung or fat, which would tell fluid from tumour.
            assert -10 < body.hu[touching].mean() < 25
            beside = ndimage.binary_dilation(touching) & ~changed & on_liver & ~left
            assert body.hu[beside].mean() > 25
    assert 3 <= ill <= 12


def test_fluid_without_a_ct_and_chests_without_a_liver():
    healthy = _scanned(5)
    plain = Body(healthy.tissues, healthy.spacing_mm)
    drawn = [flood_chest(plain, np.random.default_rng(seed)) for seed in range(12)]
    assert all(body.hu is None for body in drawn)
    assert any((body.tissues != plain.tissues).any() for body in drawn)
    lungs = np.full((6, 6, 6), Tissue.LUNG, np.uint8)
    empty = Body(lungs, healthy.spacing_mm)
    drawn = [flood_chest(empty, np.random.default_rng(seed)) for seed in range(12)]
    assert all(body is empty for body in drawn)


def test_fluid_of_one_lung_stays_there_and_lies_low_and_behind():
    healthy = _scanned(7)
    lung = healthy.tissues == Tissue.LUNG
    middle, behind = healthy.tissues.shape[2] // 2, healthy.tissues.shape[1] // 2
    one_sided, lower, posterior = 0, [], []
    for seed in range(60):
        body = flood_chest(healthy, np.random.default_rng(seed))
        fluid = body.tissues != healthy.tissues
        if not fluid.any():
            continue
        right = fluid[..., : middle - 2].any()
        one_sided += right != fluid[..., middle + 2 :].any()
        lower.append(np.nonzero(fluid)[0].mean() < np.nonzero(lung)[0].mean())
        posterior.append(fluid[:, behind:].sum() / fluid.sum())
    assert one_sided > len(lower) / 2
    assert np.mean(lower) > 0.8
    assert np.mean(posterior) > 0.55


def test_noise_of_thick_slices_lies_across_all_of_each():
    axes = grid_axes((40, 50, 50), (1.5, 1.5, 1.5))
    alike = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        hu = degrade(np.zeros((40, 50, 50), np.float32), axes, rng, synthetic=True)
        # Along x, shading and bands hardly change: what is left is noise.
        noise = np.diff(hu, axis=2)
        alike.append((noise[3:] * noise[:-3]).mean() / (noise**2).mean())
    assert 0.1 < np.mean(np.array(alike) > 0.15) < 0.5
    assert np.median(np.abs(alike)) < 0.1


def test_drunk_contrast_is_drawn_for_training_and_not_for_a_given_phase():
    for phase, most in ((None, 0.35), ("portal venous", 0.0)):
        drawn = [
            draw_palette(np.random.default_rng(s), phase).hu[Tissue.FLUID]
            for s in range(200)
        ]
        dense = np.mean(np.array(drawn) > 90)
        assert dense <= most
        assert (dense > 0.08) == (phase is None)


def test_fluid_is_no_clear_water_in_training():
    drawn = [draw_palette(np.random.default_rng(s)).hu for s in range(200)]
    bile = np.array([hu[Tissue.GALLBLADDER] for hu in drawn])
    assert bile.min() < 2
    assert bile.max() > DARKEST_HU + 15


@pytest.mark.parametrize("phase", ["unenhanced", "portal venous"])
def test_fat_vessels_are_bright_in_every_phase_and_take_more_of_the_liver(phase):
    axes = grid_axes((40, 40, 40), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    liver = np.full((40, 40, 40), Tissue.LIVER, np.uint8)
    shares = {"thin": [], "fat": []}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        palettes = {"thin": draw_palette(rng, phase)}
        palettes["fat"] = fatten_vessels(palettes["thin"], rng)
        for kind, palette in palettes.items():
            hu = np.zeros(liver.shape, np.float32)
            add_liver_vessels(hu, liver, axes, palette, np.random.default_rng(seed))
            shares[kind].append(np.count_nonzero(np.abs(hu) > 10) / hu.size)
            if kind == "fat":
                assert hu.min() >= 0
                assert hu.max() > 14, "at least 20 HU at three quarters"
    assert np.mean(shares["fat"]) > 1.5 * np.mean(shares["thin"])


def test_arms_at_the_sides_darken_a_band_with_streaks_along_x():
    axes = grid_axes((6, 120, 80), (3.0, 3.0, 3.0), (0.0, -180.0, -120.0))
    for seed in range(5):
        band = starved_band(axes, np.random.default_rng(seed))
        assert band.shape == (6, 120, 80)
        rows = band.mean(axis=(0, 2))
        assert rows.min() < -3
        assert abs(rows).min() < 1  # far from the band nothing changes
        row = band[:, int(rows.argmin())]
        # A streak changes slowly along x and from row to row.
        assert np.abs(np.diff(row, axis=1)).mean() < np.abs(np.diff(band, axis=0)).max()


def test_streaks_of_some_images_run_through_several_slices():
    axes = grid_axes((24, 40, 30), (2.0, 2.0, 2.0))
    alike = []
    for seed in range(12):
        streaks = np.diff(starved_band(axes, np.random.default_rng(seed)), axis=1)
        alike.append(np.corrcoef(streaks[:-1].ravel(), streaks[1:].ravel())[0, 1])
    assert min(alike) < 0.5 < max(alike)


# Lowest and highest HU that a kind reaches in some of the livers of 100 HU below.
MIMICS = {
    "_second_tree": ((60, 85), (125, 320)),
    "_clefts": ((-115, 20), (99, 101)),
    "_ducts": ((0, 18), (99, 101)),
    "_cysts": ((CYST_HU[0] - 0.1, CYST_HU[1]), (99, 101)),
    "_uneven": ((81, 95), (105, 119)),
}


@pytest.mark.parametrize("kind", SHARES, ids=lambda draw: draw.__name__)
def test_what_mimics_tumours_is_drawn_into_the_liver_alone(kind, monkeypatch):
    axes = grid_axes((40, 44, 48), (2.0, 2.0, 2.0))
    liver = np.zeros((40, 44, 48), np.bool_)
    liver[4:36, 4:40, 4:44] = True
    monkeypatch.setattr("napari_liverseg.synthesis.mimics.SHARES", {kind: 1.0})
    drawn = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        hu = np.full(liver.shape, 100, np.float32)
        draw_mimics(hu, liver, axes, ("arterial", "portal venous")[seed % 2], rng)
        assert (hu[~liver] == 100).all()
        drawn.append(hu)
    dark, bright = MIMICS[kind.__name__]
    assert dark[0] <= np.min(drawn) <= dark[1]
    assert bright[0] <= np.max(drawn) <= bright[1]
    changed = np.mean([np.mean(np.abs(hu[liver] - 100) > 5) for hu in drawn])
    assert 0.001 < changed < 0.5


def test_mimics_stay_liver_and_an_image_without_liver_stays_as_it_is(monkeypatch):
    monkeypatch.setattr(
        "napari_liverseg.synthesis.mimics.SHARES", dict.fromkeys(SHARES, 1.0)
    )
    axes = grid_axes((4, 5, 6), (2.0, 2.0, 2.0))
    hu = np.full((4, 5, 6), -100, np.float32)
    rng = np.random.default_rng(1)
    draw_mimics(hu, np.zeros(hu.shape, np.bool_), axes, "late", rng)
    assert (hu == -100).all()
    monkeypatch.setattr("napari_liverseg.synthesis.sample.TUMOUR_COUNTS", (1.0,))
    tissues = np.full((60, 60, 60), Tissue.LIVER, np.uint8)
    sample = draw_sample(Body(tissues, (4.0, 4.0, 4.0)), GRID, rng, inside_share=1.0)
    assert sample.hu[sample.labels > 0].min() < 40
    assert set(np.unique(sample.labels)) <= {0, 1}


def test_some_scans_are_thin_slabs():
    axes = grid_axes((96, 8, 8), (1.5, 4.0, 4.0))
    hu = np.zeros((96, 8, 8), np.float32)
    left = [
        np.count_nonzero(~cut_field(hu, axes, np.random.default_rng(s))[:, 4, 4]) * 1.5
        for s in range(200)
    ]
    assert min(left) < 40
    assert np.mean(np.array(left) < 48) < 0.25
    assert np.median(left) == 96 * 1.5


def test_some_veins_are_as_dense_as_the_liver_each_for_itself():
    tissues = np.full((20, 30, 40), Tissue.FAT, np.uint8)
    tissues[:, 3:15, 5:35] = Tissue.LIVER
    tissues[:, 20:27, 5:12] = tissues[:, 20:27, 25:32] = Tissue.VEIN
    cava, portal = np.s_[:, 23, 8], np.s_[:, 23, 28]
    drawn = np.zeros(len(Tissue), np.float32)
    drawn[[Tissue.FAT, Tissue.LIVER, Tissue.VEIN]] = -100, 110, 170
    means = []
    for seed in range(60):
        hu = drawn[tissues]
        mix_veins(hu, tissues, np.random.default_rng(seed))
        assert (hu[:, :16] == drawn[tissues[:, :16]]).all()
        means.append((hu[cava].mean(), hu[portal].mean()))
    alike = np.array(means) < 150
    assert 0.15 < alike.mean() < 0.45
    assert (alike[:, 0] != alike[:, 1]).any()
    assert np.array(means)[alike].mean() == pytest.approx(110, abs=8)


@pytest.fixture(scope="module")
def dense_liver():
    """A liver of 1 l with the cava behind its top and the portal vein in front."""
    tissues = np.full((50, 50, 60), Tissue.FAT, np.uint8)
    tissues[5:45, 5:45, 5:50] = Tissue.LIVER
    tissues[:, 40:48, 20:28] = Tissue.VEIN
    tissues[18:26, :12, 24:30] = Tissue.VEIN
    return tissues


TREE_AXES = grid_axes((50, 50, 60), (2.5, 2.5, 2.5))


def test_a_tree_is_one_and_thins_by_murrays_law(dense_liver):
    inside = np.argwhere(dense_liver == Tissue.LIVER)
    rng = np.random.default_rng(1)
    tree = grow(np.array([20, 12, 26]), inside, TREE_AXES, (6.0, 6.0), rng)
    numbers = np.arange(1, len(tree.parents))
    assert (tree.parents[1:] < numbers).all(), "every way leads to the root"
    assert len(numbers) > 60
    trunk = tree.radii_mm[1:][tree.parents[1:] == 0]
    whole = 6.0**3 * len(inside) * 2.5**3 / 1000 / WHOLE_ML
    assert (trunk**3).sum() == pytest.approx(whole)
    # What begins at a joint supplies what the vessel to it does, but for its end.
    for joint in numbers[:20]:
        branches = tree.radii_mm[1:][tree.parents[1:] == joint]
        own = whole / len(numbers)
        total = (branches**3).sum() + own
        assert tree.radii_mm[joint] ** 3 == pytest.approx(total)


def test_a_tree_fills_what_its_radii_say():
    tree = Tree(
        np.array([[20.0, 20, 20], [20, 20, 60], [20, 20, 300]]),
        np.array([0, 0, 1]),
        np.array([6.0, 6.0, 0.3]),
    )
    level = render_tree(tree, grid_axes((40, 40, 80), (1.0, 1.0, 1.0)))
    assert level.sum() == pytest.approx(np.pi * 36 * 40 + 4 / 3 * np.pi * 216, rel=0.03)
    assert level[20, 20, 40] == 1
    assert level[20, 27, 40] == 0
    assert not level[:, :, 70:].any(), "thinner than is seen"


def test_portal_veins_come_from_the_front_and_hepatic_veins_from_the_top(dense_liver):
    means = np.zeros(len(Tissue), np.float32)
    means[[Tissue.LIVER, Tissue.VEIN]] = 70, 130
    for seed in range(6):
        hu = means[dense_liver]
        rng = np.random.default_rng(seed)
        palette = Palette("arterial", means)
        add_vessel_trees(hu, dense_liver, TREE_AXES, palette, rng)
        other = dense_liver != Tissue.LIVER
        assert (hu[other] == means[dense_liver][other]).all()
        bright = np.argwhere((dense_liver == Tissue.LIVER) & (hu > 105))
        assert bright[:, 1].min() <= 12, "at the portal vein"
        share = np.mean((dense_liver == Tissue.LIVER) & (hu > 90)) / 0.5
        assert 0.002 < share < 0.2


def test_late_arterial_portal_veins_are_bright_and_other_phases_stay():
    palettes = [draw_palette(np.random.default_rng(s), "arterial") for s in range(40)]
    rng = np.random.default_rng(0)
    filled = [with_trees(palette, rng) for palette in palettes]
    contrast = [p.hu[Tissue.VEIN] - p.hu[Tissue.LIVER] for p in filled]
    assert min(contrast) < 10
    assert max(contrast) > 60
    late = draw_palette(np.random.default_rng(1), "late")
    assert (with_trees(late, rng).hu == late.hu).all()


def test_a_patch_without_veins_or_with_little_liver_has_its_trees_or_none(dense_liver):
    palette = draw_palette(np.random.default_rng(1), "portal venous")
    without = np.where(dense_liver == Tissue.VEIN, Tissue.FAT, dense_liver)
    few = np.full_like(dense_liver, Tissue.FAT)
    few[2, 2, :40] = Tissue.LIVER
    for tissues, drawn in ((without, True), (few, False)):
        hu = np.zeros(tissues.shape, np.float32)
        add_vessel_trees(hu, tissues, TREE_AXES, palette, np.random.default_rng(2))
        assert hu.any() == drawn


def test_a_phantom_may_have_vessels_that_are_trees():
    grid = ((40, 60, 70), (6.0, 5.6, 5.6))
    tubes, trees = (make_phantom(11, *grid, lesions=(), trees=t) for t in (False, True))
    assert (tubes.truth.labels == trees.truth.labels).all()
    assert (tubes.volume.hu != trees.volume.hu).any()


def test_a_dome_that_breathes_is_darker_at_its_top_and_the_rest_stays():
    axes = grid_axes((60, 30, 30), (2.0, 2.0, 2.0))
    z = np.arange(60)[:, None, None]
    height = 40 - np.hypot(*np.ogrid[-15:15, -15:15])
    liver = z < height[None]
    for seed in range(8):
        hu = np.where(liver, 100, -800).astype(np.float32)
        still = hu.copy()
        unseen = breathe(hu, liver, axes, np.random.default_rng(seed))
        changed = np.flatnonzero((hu != still).any((1, 2)))
        assert changed.min() >= 39 - 45 / 2 - 4
        dark = liver & (hu < 95)
        assert dark.any()
        assert not (unseen & ~liver).any()
        assert unseen.sum() < 0.3 * liver.sum()
        assert hu[liver & ~unseen].min() >= -1
    nothing = np.zeros_like(liver)
    assert not breathe(still, nothing, axes, np.random.default_rng(1)).any()

"""Where a network looks: the liver's box or the body, and the same masks there."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_liverseg.core.errors import CancelledError
from napari_liverseg.core.geometry import Geometry, Reorientation
from napari_liverseg.core.volume import CTVolume
from napari_liverseg.inference import pipeline
from napari_liverseg.inference.decision import decide
from napari_liverseg.inference.doubts import doubts
from napari_liverseg.inference.look import (
    LIVER_MARGIN_MM,
    at_least,
    body_mask,
    box_on_image,
    mask_on_image,
    widen,
)
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.inference.pipeline import CUT_LIVER, NO_COARSE_LIVER
from napari_liverseg.inference.placement import filled
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.inference.prepare import prepare, prepare_around
from napari_liverseg.models.contract import Input, Normalisation, Windows
from napari_liverseg.models.kinds import read_model
from napari_liverseg.models.spec import read_spec
from tiny_model import write_threshold_model, write_two_stage

SHAPE, SPACING = (60, 70, 80), (3.0, 3.0, 3.0)
LIVER = (slice(28, 47), slice(20, 40), slice(12, 44))
TUMOUR = (slice(34, 39), slice(25, 31), slice(20, 27))
FEW = Windows((4, 4, 4))


def _volume(with_liver=True):
    hu = np.full(SHAPE, -1000, np.int16)
    hu[:, 8:62, 6:74] = 0
    if with_liver:
        hu[LIVER] = 100
        hu[TUMOUR] = 190
    grid = Geometry(SHAPE, SPACING, (-100.0, 5.0, 9.0))
    return CTVolume(hu, grid, grid, Reorientation(), "case", "0f")


@pytest.fixture
def predictor(tmp_path):
    """A fine model, and a coarse one that finds the liver for it."""
    fine = write_threshold_model(
        tmp_path / "fine", spacing_mm=(1.5, 3.0, 3.0), patch=(16, 24, 24)
    )
    coarse = write_threshold_model(tmp_path / "coarse", spacing_mm=(6.0, 6.0, 6.0))
    made = Predictor(read_spec(fine), "cpu")
    made.__dict__["coarse"] = Predictor(read_spec(coarse), "cpu")
    return made


def _run(predictor, volume, look):
    windows = []
    hook = predictor.networks[0].register_forward_pre_hook(
        lambda _, a: windows.append(1) if a[0].device.type != "meta" else None
    )
    found = predictor.predict(volume, options=RunOptions(look=look))
    hook.remove()
    return found, len(windows)


def test_the_box_of_the_liver_costs_less_and_gives_the_same_masks(predictor):
    volume = _volume()
    liver, few = _run(predictor, volume, "liver")
    everywhere, all_of_them = _run(predictor, volume, "everywhere")
    assert few < all_of_them / 2
    np.testing.assert_array_equal(decide(liver).labels, decide(everywhere).labels)
    assert decide(liver).tumour_ml > 0
    assert liver.run.look == "liver"
    assert liver.run.margin_mm == LIVER_MARGIN_MM
    for side, truth, spacing in zip(liver.run.box, LIVER, SPACING, strict=True):
        assert side.start <= truth.start - 0.8 * LIVER_MARGIN_MM / spacing
        assert side.stop >= truth.stop + 0.8 * LIVER_MARGIN_MM / spacing


def test_the_body_leaves_out_air_and_gives_the_same_masks(predictor, tmp_path):
    volume = _volume()
    volume.hu[:24, :, 30:] = -1000  # nothing beside a narrow part of the patient
    body, few = _run(predictor, volume, "body")
    everywhere, all_of_them = _run(predictor, volume, "everywhere")
    assert few < all_of_them
    np.testing.assert_array_equal(decide(body).labels, decide(everywhere).labels)
    assert body.run.look == "body"


def test_a_coarse_pass_that_finds_nothing_is_told_and_costs_no_liver(predictor):
    volume = _volume()
    predictor.__dict__["coarse"] = Predictor(predictor.coarse.model, "cpu")
    for parameter in predictor.coarse.networks[0].parameters():
        parameter.zero_()
    found, _ = _run(predictor, volume, "liver")
    assert found.run.look == "everywhere"
    assert found.run.notes == (NO_COARSE_LIVER, *doubts(found))
    assert decide(found).liver_ml > 0


@pytest.mark.parametrize("too_small", [True, False])
def test_a_box_that_cannot_hold_the_liver_is_told(predictor, monkeypatch, too_small):
    volume = _volume()
    if too_small:
        # The liver of some 330 ml is no liver any more.
        monkeypatch.setattr("napari_liverseg.inference.pipeline.LEAST_LIVER_ML", 900.0)
        found, _ = _run(predictor, volume, "liver")
        assert found.run.look == "everywhere"
        assert found.run.notes == (NO_COARSE_LIVER, *doubts(found))
        return
    narrow = tuple(slice(side.start + 4, side.stop - 4) for side in LIVER)
    monkeypatch.setattr("napari_liverseg.inference.pipeline.widen", lambda *_: narrow)
    found, _ = _run(predictor, volume, "liver")
    assert found.run.notes == (CUT_LIVER, *doubts(found))


def test_only_a_first_pass_over_the_body_says_where_the_body_is(tmp_path, monkeypatch):
    known = []

    def prepared(*arguments):
        known.append(arguments[4])
        return prepare_around(*arguments)

    monkeypatch.setattr(pipeline, "prepare_around", prepared)
    for name, spacing in (("first", (6.0, 6.0, 6.0)), ("second", (1.5, 3.0, 3.0))):
        write_threshold_model(tmp_path / name, spacing_mm=spacing, patch=(16, 24, 24))
    folder = write_two_stage(tmp_path / "two", "first", "second")
    two = Predictor(read_model(folder), "cpu")
    two.predict(_volume())
    assert known.pop() is not None
    # A first stage so fine that a liver is found for it: it saw no more than a box.
    of_first = Predictor(two.coarse.model, "cpu")
    two.coarse.__dict__["coarse"] = of_first
    two.predict(_volume())
    assert known[0] is not None
    assert known[1] is None


def test_a_coarse_model_needs_no_coarser_one(tmp_path):
    folder = write_threshold_model(tmp_path / "own", spacing_mm=(3.0, 2.0, 2.0))
    assert Predictor(read_spec(folder), "cpu").coarse is None
    fine = write_threshold_model(tmp_path / "fine", spacing_mm=(3.0, 1.0, 1.0))
    assert Predictor(read_spec(fine), "cpu").coarse.model.name == "starter-3mm"


@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1)])
@pytest.mark.parametrize("orientation", ["LPS", "RAS"])
def test_regions_and_cuts_lie_where_the_voxels_do(orientation, transpose):
    wanted = Input(
        (2.0, 4.0, 3.0), Normalisation(), orientation, transpose, crop="none"
    )
    volume = _volume()
    prepared = prepare(volume, wanted)
    box = widen(LIVER, SPACING, SHAPE)
    region = prepared.image[box_on_image(box, prepared.frame)]
    assert (region > 50).sum() == (prepared.image > 50).sum()
    assert region.numel() < 0.5 * prepared.image.numel()
    reach = prepared.cut(box_on_image(box, prepared.frame)).frame.covered
    for of_image, of_ct in zip(reach, box, strict=True):
        assert of_ct.start - 4 <= of_image.start <= of_ct.start
        assert of_ct.stop <= of_image.stop <= of_ct.stop + 4
    body = mask_on_image(body_mask(volume, lambda: False), prepared.frame, SHAPE)
    assert body[(prepared.image > -500).numpy()].all()
    cut = (slice(5, 25), slice(3, 30), slice(2, 20))
    part = prepared.cut(cut)
    assert torch.equal(part.image, prepared.image[cut])
    back = part.frame.to_volume_axes(part.image[None])[0]
    whole = prepared.frame.to_volume_axes(prepared.image[None])[0]
    assert torch.equal(back, whole[part.frame.grid_box])


def test_few_voxels_of_a_fine_ct_show_all_of_the_body():
    # Sides that no step divides, noise, and a body that reaches the last voxels.
    shape, spacing = (61, 143, 129), (1.0, 0.8, 0.8)
    body = np.zeros(shape, np.bool_)
    body[7:, 40:, 31:128] = True
    noise = np.random.default_rng(0).normal(0, 60, shape)
    hu = (np.where(body, 40, -1000) + noise).astype(np.int16)
    grid = Geometry(shape, spacing, (0.0, 0.0, 0.0))
    volume = CTVolume(hu, grid, grid, Reorientation(), "case", "0f")
    prepared = prepare(volume, Input(None, Normalisation(), crop="none"))
    found = mask_on_image(body_mask(volume, lambda: False), prepared.frame, shape)
    assert found[body].all()
    apart_mm = ndimage.distance_transform_edt(~body, sampling=spacing)[found]
    assert apart_mm.max() < 20, "two coarse voxels, along three axes"


@pytest.mark.parametrize("statistics", ["fixed", "mean-sd", "min-max"])
@pytest.mark.parametrize("resampling", ["averaging", "nnunet"])
@pytest.mark.parametrize("orientation", ["LPS", "RAS"])
@pytest.mark.parametrize("beyond", [0, 30])
def test_a_part_is_prepared_as_it_would_be_cut_from_the_whole(
    orientation, resampling, statistics, beyond
):
    wanted = Input(
        (2.0, 4.0, 3.0), Normalisation(statistics=statistics), orientation, (2, 0, 1),
        resampling=resampling, crop="none",
    )  # fmt: skip
    volume, windows = _volume(), Windows((16, 8, 8), 0.25)
    z, y, x = widen(LIVER, SPACING, SHAPE)
    box = (slice(z.start, min(z.stop + beyond, SHAPE[0])), y, x)
    part = prepare_around(volume, wanted, box, windows)
    whole = prepare(volume, wanted)
    inside = box_on_image(box, whole.frame)
    sides = (side.stop - side.start for side in inside)
    least = [filled(n, p, windows) for n, p in zip(sides, windows.patch, strict=True)]
    expected = whole.cut(at_least(inside, least, whole.image.shape))
    assert part.frame == expected.frame
    assert part.image.numel() < 0.8 * whole.image.numel()
    torch.testing.assert_close(part.image, expected.image, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("knows_body", [True, False])
@pytest.mark.parametrize("orientation", ["LPS", "RAS"])
def test_a_model_of_bodies_is_not_shown_a_table(orientation, knows_body):
    wanted = Input((3.0, 3.0, 3.0), Normalisation(), orientation)
    volume = _volume()
    volume.hu[:, 66:70] = 300  # below the patient, with air between
    body = prepare(volume, wanted).frame.covered
    assert body[1].stop <= 66
    windows = Windows((60, 70, 80))  # one would reach all of it
    known = body if knows_body else None
    part = prepare_around(volume, wanted, LIVER, windows, known)
    assert part.image.max() < 250
    expected = prepare(volume, wanted).frame.grid_box
    for found, wished in zip(part.frame.grid_box, expected, strict=True):
        assert wished.start - 1 <= found.start <= wished.start
        assert wished.stop <= found.stop <= wished.stop + 1


@pytest.mark.parametrize("resampling", ["averaging", "nnunet"])
def test_preparing_a_part_stops_when_asked(resampling):
    wanted = Input((2.0, 4.0, 3.0), Normalisation(), resampling=resampling, crop="none")
    with pytest.raises(CancelledError):
        prepare_around(_volume(), wanted, LIVER, FEW, is_cancelled=lambda: True)


def test_what_a_models_own_crop_leaves_out_is_not_prepared():
    wanted = Input(
        (2.0, 4.0, 3.0), Normalisation(), resampling="nnunet", crop="nonzero"
    )
    volume = _volume()
    volume.hu[:4] = 0
    corner = (slice(0, 1), slice(0, 2), slice(0, 2))
    assert prepare_around(volume, wanted, corner, FEW) is None


def test_a_box_grows_to_a_window_inside_of_the_image():
    box = (slice(50, 58), slice(0, 4), slice(10, 40))
    grown = at_least(box, (16, 16, 16), (60, 12, 80))
    assert grown == (slice(44, 60), slice(0, 12), slice(10, 40))

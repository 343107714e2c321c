"""Resampling keeps every structure where it is, at any spacing, either way."""

import tracemalloc

import numpy as np
import pytest
import torch

from napari_liverseg.core.errors import CancelledError
from napari_liverseg.inference import preprocessing
from napari_liverseg.inference.beliefs import believe_plane, decide_plane
from napari_liverseg.inference.body import body_box
from napari_liverseg.inference.frame import Frame
from napari_liverseg.inference.native_grid import (
    LOWEST_THRESHOLD,
    box_that_matters,
    settle_planes,
    to_native_grid,
)
from napari_liverseg.inference.preprocessing import (
    axis_operator,
    model_shape,
    normalise,
    resample,
    to_model_grid,
)
from napari_liverseg.models.contract import Output

SHAPE, SPACING, TARGET = (21, 58, 47), (2.5, 0.8, 0.9), (3.0, 3.0, 3.0)


def _blob(shape, centre, radii):
    grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    parts = (((g - c) / r) ** 2 for g, c, r in zip(grid, centre, radii, strict=True))
    return np.exp(-sum(parts)).astype(np.float32)


def _centroid(array):
    weights = np.asarray(array, dtype=float)
    total = weights.sum()
    grid = np.meshgrid(*(np.arange(n) for n in array.shape), indexing="ij")
    return np.array([(g * weights).sum() / total for g in grid])


def test_normalise_clips_and_maps_the_window():
    hu = torch.tensor([-1000, -160, 40, 240, 3000], dtype=torch.int16)
    expected = torch.tensor([-1.0, -1.0, 0.0, 1.0, 1.0])
    torch.testing.assert_close(normalise(hu), expected)
    assert normalise(hu).dtype == torch.float32
    assert hu[0] == -1000
    other = normalise(torch.tensor([0.0, 25.0, 100.0]), (0.0, 100.0))
    torch.testing.assert_close(other, torch.tensor([-1.0, -0.5, 1.0]))


@pytest.mark.parametrize(
    ("n_in", "n_out"), [(7, 7), (50, 13), (13, 50), (9, 1), (1, 9)]
)
def test_an_operator_averages_and_mirrors(n_in, n_out):
    operator = axis_operator(n_in, n_out)
    assert operator.shape == (n_out, n_in)
    torch.testing.assert_close(operator.sum(dim=1), torch.ones(n_out))
    assert torch.equal(operator, operator.flip(0, 1))
    assert bool((operator >= 0).all())
    if n_in == n_out:
        assert torch.equal(operator, torch.eye(n_in))


@pytest.mark.parametrize(("n_in", "n_out"), [(64, 17), (17, 64), (40, 39), (40, 20)])
def test_a_ramp_in_millimetres_survives_on_every_axis(n_in, n_out):
    ramp = torch.arange(n_in) + 0.5
    moved = axis_operator(n_in, n_out) @ ramp
    expected = (torch.arange(n_out) + 0.5) * n_in / n_out
    reach = int(np.ceil(n_out / n_in)) if n_out > n_in else 1
    inner = slice(reach, -reach)
    torch.testing.assert_close(moved[inner], expected[inner], rtol=1e-5, atol=1e-4)


def test_a_ramp_survives_there_and_back():
    z, y, x = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij")
    hu = (3.0 * z - 1.5 * y + 2.0 * x).astype(np.float32)
    there = to_model_grid(hu, SPACING, TARGET)
    back = resample(there, SHAPE).numpy()
    inside = (slice(4, -4), slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(back[inside], hu[inside], atol=2e-3)


def test_the_model_grid_covers_the_same_extent_at_the_nearest_spacing():
    shape = model_shape(SHAPE, SPACING, TARGET)
    assert shape == (18, 15, 14)
    assert model_shape((1, 1, 1), (0.1, 0.1, 0.1), TARGET) == (1, 1, 1)
    assert model_shape((10, 20, 30), TARGET, TARGET) == (10, 20, 30)


def test_the_same_spacing_changes_no_voxel():
    hu = np.random.default_rng(0).integers(-1000, 2000, SHAPE).astype(np.int16)
    np.testing.assert_array_equal(to_model_grid(hu, TARGET, TARGET).numpy(), hu)


@pytest.mark.parametrize("target", [TARGET, (1.0, 2.0, 0.5)])
def test_centroids_agree_below_a_twentieth_of_a_voxel(target):
    centre = np.array([11.3, 24.6, 20.2])
    hu = 100 * _blob(SHAPE, centre, (3.0, 8.0, 7.0))
    there = to_model_grid(hu, SPACING, target).numpy()
    ratio = np.array(SHAPE) / there.shape
    found = (_centroid(there) + 0.5) * ratio - 0.5
    np.testing.assert_allclose(found, _centroid(hu), atol=0.05)
    back = resample(torch.from_numpy(there), SHAPE).numpy()
    np.testing.assert_allclose(_centroid(back), _centroid(hu), atol=0.05)


@pytest.mark.parametrize("chunk", [1, 5000, 10**9])
def test_chunks_change_nothing(monkeypatch, chunk):
    hu = np.random.default_rng(1).normal(0, 200, SHAPE).astype(np.float32)
    whole = resample(torch.from_numpy(hu), model_shape(SHAPE, SPACING, TARGET))
    monkeypatch.setattr(preprocessing, "CHUNK_VOXELS", chunk)
    chunked = to_model_grid(hu, SPACING, TARGET)
    torch.testing.assert_close(chunked, whole, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("target", [TARGET, (1.0, 2.0, 0.5), SPACING])
def test_a_part_of_the_grid_is_that_of_the_whole_and_costs_no_more(target):
    hu = np.random.default_rng(5).integers(-500, 500, SHAPE).astype(np.float32)
    whole = to_model_grid(hu, SPACING, target)
    z, y, x = whole.shape
    box = (slice(z // 3, z // 3 + 4), slice(0, y // 2), slice(x - 5, x))
    part = to_model_grid(hu, SPACING, target, within=box)
    torch.testing.assert_close(part, whole[box], rtol=1e-5, atol=1e-3)
    # What has no share in the part is not touched.
    hu[: SHAPE[0] // 6] = hu[:, -4:] = hu[:, :, :4] = np.nan
    again = to_model_grid(hu, SPACING, target, within=box)
    assert torch.equal(again, part)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(0,), (1, 2), (0, 1, 2)])
def test_turned_input_gives_turned_output(axes, flips):
    hu = np.random.default_rng(2).integers(-1000, 1000, SHAPE).astype(np.int16)
    straight = to_model_grid(hu, SPACING, TARGET).numpy()
    turned = np.flip(np.transpose(hu, axes), flips)
    spacing = tuple(SPACING[a] for a in axes)
    found = to_model_grid(turned, spacing, TARGET).numpy()
    expected = np.flip(np.transpose(straight, axes), flips)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_fine_structure_is_averaged_not_aliased():
    stripes = np.zeros(SHAPE, np.float32)
    stripes[:, :, ::2] = 100.0
    coarse = to_model_grid(stripes, (3.0, 3.0, 0.75), TARGET).numpy()
    np.testing.assert_allclose(coarse[:, :, 1:-1], 50.0, atol=3.5)


def test_fillers_outside_the_scan_do_not_bleed():
    hu = np.full(SHAPE, 40, np.int16)
    hu[:, :20] = -3024
    coarse = to_model_grid(hu, SPACING, TARGET)
    assert float(coarse.min()) == pytest.approx(-1024, abs=1e-2)


@pytest.mark.parametrize("dtype", [">i2", np.uint8, np.float64, np.int32])
def test_any_real_type_and_memory_order_is_read(dtype):
    hu = np.random.default_rng(3).integers(0, 200, SHAPE)
    expected = to_model_grid(hu.astype(np.int16), SPACING, TARGET)
    found = to_model_grid(np.asfortranarray(hu.astype(dtype)), SPACING, TARGET)
    torch.testing.assert_close(found, expected)


def test_resampling_stops_when_asked(monkeypatch):
    monkeypatch.setattr(preprocessing, "CHUNK_VOXELS", 1)
    asked = []
    hu = np.zeros(SHAPE, np.int16)
    with pytest.raises(CancelledError):
        to_model_grid(hu, SPACING, TARGET, lambda: asked.append(1) or len(asked) > 3)
    assert len(asked) == 4


OUTPUT = Output(3, (1,), (2,))


def _logits(seed=4):
    """Logits on the model's grid with an off-centre liver and a tumour in it."""
    shape = model_shape(SHAPE, SPACING, TARGET)
    liver = np.minimum(1.4 * _blob(shape, (8.2, 6.1, 5.3), (3, 2, 2)), 0.99)
    tumour = np.minimum(0.97 * liver, 0.9 * _blob(shape, (9.0, 5.0, 6.0), (2, 2, 3)))
    noise = np.random.default_rng(seed).uniform(0.9, 1.0, shape).astype(np.float32)
    a, t = liver * noise, tumour * noise
    return torch.from_numpy(np.log(np.maximum([1 - a, a - t, t], 1e-5))).float()


def _frame(grid, native, kept=None):
    whole = tuple(slice(0, n) for n in native)
    inside = kept or tuple(slice(0, n) for n in grid)
    return Frame((0, 1, 2), (False, False, False), whole, tuple(grid), inside)


def _back(logits, shape, **settings):
    frame = _frame(logits.shape[1:], shape)
    settings = {"largest_only": True, **settings}
    return to_native_grid(logits, OUTPUT, frame, **settings)


@pytest.mark.parametrize("shape", [SHAPE, (9, 8, 40), (18, 15, 14)])
def test_the_way_back_is_exact_inside_its_box(shape):
    logits = _logits()
    belief = _back(logits, shape)
    native = torch.stack([resample(channel, shape) for channel in logits])
    by_label = native.softmax(0).numpy()
    a, t = 1 - by_label[0], by_label[2]
    rounding = 0.5 / 255 + 1e-5
    np.testing.assert_allclose(belief.liver / 255.0, a[belief.box], atol=rounding)
    np.testing.assert_allclose(belief.tumour / 255.0, t[belief.box], atol=rounding)
    outside = np.ones(shape, bool)
    outside[belief.box] = False
    assert a[outside].max() < 1.3 * LOWEST_THRESHOLD
    ordered = np.sort(by_label, axis=0)
    clear = (ordered[2] - ordered[1])[belief.box] > 1e-5
    expected = by_label.argmax(axis=0)[belief.box]
    np.testing.assert_array_equal(belief.decision[clear], expected[clear])
    assert set(np.unique(belief.decision)) == {0, 1, 2}


def test_beliefs_of_a_mirrored_case_are_mirrored():
    logits = _logits()
    straight, mirrored = _back(logits, SHAPE), _back(logits.flip(1, 3), SHAPE)
    full, turned = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    full[straight.box], turned[mirrored.box] = straight.decision, mirrored.decision
    np.testing.assert_array_equal(np.flip(full, (0, 2)), turned)


def test_logits_of_a_part_of_the_grid_land_where_the_whole_would():
    logits = _logits()
    grid = logits.shape[1:]
    kept = (slice(2, grid[0]), slice(1, grid[1] - 1), slice(0, grid[2] - 2))
    whole = _back(logits, SHAPE)
    part = to_native_grid(
        logits[:, kept[0], kept[1], kept[2]],
        OUTPUT,
        _frame(grid, SHAPE, kept),
        largest_only=True,
    )
    full, other = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    full[whole.box], other[part.box] = whole.decision, part.decision
    inner = (slice(8, 40), slice(9, 40), slice(0, 30))
    np.testing.assert_array_equal(full[inner], other[inner])
    assert full[inner].any()


def test_planes_that_are_finished_show_what_the_whole_will():
    logits = _logits()
    unfinished = logits.clone()
    unfinished[:, :6] = float("nan")
    frame = _frame(logits.shape[1:], SHAPE)
    settled = settle_planes(unfinished, OUTPUT, frame, 6, logits.shape[1])
    belief = _back(logits, SHAPE)
    full = np.zeros(SHAPE, np.uint8)
    full[belief.box] = belief.decision
    assert settled.box[0].start >= 7
    np.testing.assert_array_equal(settled.decision, full[settled.box])
    assert settled.decision.any()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_model_without_tumours_and_regions_are_decided(activation):
    output = Output(2, (1,), (), activation=activation)
    planes = list(np.float32([[[2.0, -1.0, 0.5]], [[1.0, 3.0, -2.0]]]))
    expected = [[0, 1, 0]] if activation == "softmax" else [[1, 1, 0]]
    np.testing.assert_array_equal(decide_plane(planes, output), expected)
    liver, tumour = believe_plane(planes, output)
    by_label = torch.tensor(np.stack(planes))
    wanted = (
        by_label.softmax(0)[1] if activation == "softmax" else by_label[1].sigmoid()
    )
    np.testing.assert_allclose(liver, wanted.numpy(), rtol=1e-5)
    assert not tumour.any()


def test_regions_overlap_and_the_tumour_wins():
    output = Output(2, (0,), (1,), activation="sigmoid")
    planes = list(np.float32([[[2.0, -1.0, 0.5, -3.0]], [[1.0, 3.0, -2.0, -3.0]]]))
    np.testing.assert_array_equal(decide_plane(planes, output), [[2, 2, 1, 0]])
    liver, tumour = believe_plane(planes, output)
    assert (liver >= tumour).all()


def test_only_parts_that_can_lead_need_room():
    liver = np.zeros((20, 22, 24), np.float32)
    liver[2:8, 3:9, 4:10] = 0.9
    liver[15, 18, 20] = 0.8
    box = box_that_matters(liver, largest_only=True)
    assert box == (slice(1, 9), slice(2, 10), slice(3, 11))
    both = box_that_matters(liver, largest_only=False)
    assert both == (slice(1, 17), slice(2, 20), slice(3, 22))
    liver[2:8, 3:9, 4:10] = 0.4
    assert box_that_matters(liver, largest_only=True) == both
    assert box_that_matters(np.full((3, 4, 5), 0.01), largest_only=True) is None


def test_memory_stays_with_the_chunk_and_the_slice(monkeypatch):
    shape = (60, 200, 220)
    plane = shape[1] * shape[2]
    monkeypatch.setattr(preprocessing, "CHUNK_VOXELS", 4 * plane)
    hu = np.zeros(shape, np.int16)
    tracemalloc.start()
    to_model_grid(hu, (3.0, 1.5, 1.5), TARGET)
    assert tracemalloc.get_traced_memory()[1] < hu.size  # a quarter of it as float32
    tracemalloc.reset_peak()
    logits = torch.tensor([0.0, 2.0, -1.0])[:, None, None, None]
    logits = logits.expand(3, 60, 100, 110)
    before = tracemalloc.get_traced_memory()[0]
    belief = _back(logits, shape)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    coarse_labels = 60 * 100 * 110 * 8
    assert belief.liver.size == np.prod(shape)
    assert peak < 3 * belief.liver.size + coarse_labels + 10 * plane * 4


def test_nothing_believed_is_an_empty_answer_not_an_error():
    logits = torch.zeros((3, *model_shape(SHAPE, SPACING, TARGET)))
    logits[0] = 9.0
    belief = _back(logits, SHAPE)
    assert belief.liver.shape == (1, 1, 1)
    assert not belief.decision.any()


def test_the_box_of_a_fine_body_holds_that_of_the_coarse_one(monkeypatch):
    hu = np.full((60, 80, 90), -1000, np.int16)
    hu[11:47, 23:61, 17:74] = 30
    exact = body_box(hu)
    monkeypatch.setattr("napari_liverseg.inference.body.FINE_VOXELS", 1000)
    wide = body_box(hu)
    for inner, outer, n in zip(exact, wide, hu.shape, strict=True):
        assert outer.start <= inner.start
        assert outer.stop >= inner.stop
        assert outer.stop - outer.start <= inner.stop - inner.start + 12
        assert 0 <= outer.start < outer.stop <= n


def test_the_body_is_boxed_without_the_table():
    hu = np.full((20, 40, 50), -1000, np.int16)
    hu[:, 6:25, 10:42] = 30
    hu[3:9, 10:15, 15:22] = -850
    hu[:, 32:35, 2:48] = 200
    assert body_box(hu) == (slice(0, 20), slice(4, 27), slice(8, 44))
    assert body_box(np.full((3, 4, 5), -1000)) == (
        slice(0, 3),
        slice(0, 4),
        slice(0, 5),
    )

"""Windows: the same numbers as MONAI's, in any order, and after any interruption."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from monai.inferers import sliding_window_inference

from napari_liverseg.core.errors import CancelledError
from napari_liverseg.inference.blending import window_weights
from napari_liverseg.inference.groups import SURE, Groups
from napari_liverseg.inference.placement import (
    axis_starts,
    centre_out,
    filled,
    lay_out,
)
from napari_liverseg.inference.runner import Recipe, Runner
from napari_liverseg.inference.sums import DISK, Sums
from napari_liverseg.inference.windows import Step, Sweep, Tally, slide
from napari_liverseg.models.contract import Output, Windows
from napari_liverseg.models.network import build_network
from napari_liverseg.models.spec import NetworkSpec

ONE = Step("cpu", 1, "cpu")
THREE = Groups(Output(3, (1,), (2,)))
PATCH = (16, 24, 32)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    spec = NetworkSpec(channels=(4, 8), strides=(2,), num_res_units=1)
    return build_network(spec).eval().requires_grad_(requires_grad=False)


def _image(shape=(50, 60, 70)):
    return torch.from_numpy(np.random.default_rng(0).normal(0, 1, shape)).float()


def _sweep(network, windows, tally=None, image=None, **settings):
    sweep = Sweep(_image() if image is None else image, windows, THREE, **settings)
    return sweep, sweep.go(network, ONE, tally or _tally())


def _tally(is_cancelled=lambda: False):
    return Tally(lambda *_: None, is_cancelled, total=99)


@pytest.mark.parametrize("blend", ["gaussian", "constant"])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.7])
def test_logits_equal_monais(network, blend, overlap):
    image = _image()
    ours = slide(network, image, Windows(PATCH, overlap, blend=blend), THREE, ONE)
    theirs = sliding_window_inference(
        image[None, None], PATCH, 4, network, overlap, mode=blend
    )
    torch.testing.assert_close(ours, theirs[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(16, 24, 32), (5, 9, 3), (17, 60, 33), (70, 24, 41)])
def test_small_and_odd_volumes_equal_monais(network, shape):
    image = _image(shape)
    ours = slide(network, image, Windows(PATCH, 0.5, padding=-1.0), THREE, ONE)
    theirs = sliding_window_inference(
        image[None, None], PATCH, 1, network, 0.5, mode="gaussian", cval=-1.0
    )
    torch.testing.assert_close(ours, theirs[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("image", "patch"),
    [
        ((200, 200, 200), (128, 144, 160)),
        ((81, 144, 129), (96, 144, 144)),
        ((27, 1, 64), (64, 80, 80)),  # half of each side, and multiples of 16
    ],
)
def test_windows_are_no_larger_than_an_image_needs(image, patch):
    whole = Windows((128, 144, 160), 0.25, step=16)
    assert whole.for_image(image) == replace(whole, patch=patch)
    assert replace(whole, step=None).for_image(image).patch == whole.patch


def test_a_thin_image_is_padded_no_further_than_its_windows(network):
    image, windows = _image((9, 60, 70)), Windows((32, 24, 32), 0.5, step=4)
    thin = _sweep(network, replace(windows, patch=(16, 24, 32), step=None), image=image)
    sweep, logits = _sweep(network, windows, image=image)
    assert sweep.sample(1).shape[2:] == (16, 24, 32)
    assert torch.equal(logits, thin[1])


@pytest.mark.parametrize(
    ("size", "window", "expected"),
    [
        (100, 40, (0, 20, 40, 60)),
        (90, 40, (0, 17, 33, 50)),
        (40, 40, (0,)),
        (9, 40, (0,)),
    ],
)
def test_nnunets_windows_are_spread_evenly(size, window, expected):
    windows = Windows((window,) * 3, 0.5, placement="nnunet")
    assert axis_starts(size, window, windows) == expected


@pytest.mark.parametrize("placement", ["monai", "nnunet"])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.7])
@pytest.mark.parametrize("size", [9, 40, 41, 77, 100, 133])
def test_an_axis_is_filled_when_one_more_voxel_needs_another_window(
    placement, overlap, size
):
    windows = Windows((40,) * 3, overlap, placement=placement)
    most = filled(size, 40, windows)
    assert most >= size
    count = len(axis_starts(size, 40, windows))
    assert len(axis_starts(most, 40, windows)) == count
    assert len(axis_starts(most + 1, 40, windows)) == count + 1


def test_nnunets_weights_peak_in_the_middle_and_never_vanish():
    weights = window_weights(Windows((16, 20, 24), blend="nnunet"))
    assert float(weights.max()) == 10.0
    assert weights.argmax() == np.ravel_multi_index((8, 10, 12), (16, 20, 24))
    assert float(weights.min()) > 0


@pytest.mark.parametrize("overlap", [0.25, 0.5, 0.7])
def test_the_order_of_the_windows_changes_no_bit(network, overlap):
    windows = Windows(PATCH, overlap)
    results = [_sweep(network, windows, focus=f)[1] for f in (None, 0.0, 20.0, 49.0)]
    for other in results[1:]:
        assert torch.equal(results[0], other)


def test_the_slice_on_the_screen_comes_first_and_is_final_when_told(network):
    windows, told = Windows(PATCH, 0.5), []
    sweep = Sweep(_image(), windows, THREE, focus=44.0)

    def on_planes(logits, start, stop):
        told.append((start, stop, logits[:, start:stop].clone()))

    logits = sweep.go(network, ONE, _tally(), on_planes)
    seen = [z for a, b, _ in told[:2] for z in range(a, b)]
    assert 44 in seen
    assert 0 not in seen
    assert sorted(z for a, b, _ in told for z in range(a, b)) == list(range(50))
    for start, stop, early in told:
        assert torch.equal(early, logits[:, start:stop])


def test_rows_go_outwards_from_the_focus():
    rows = lay_out((100, 24, 32), Windows(PATCH, 0.5))
    distances = [abs(row.z + 8 - 60) for row in centre_out(rows, PATCH, 60)]
    assert distances == sorted(distances)


@pytest.mark.parametrize("count", [1, 4, 7, 10**6])
def test_a_sample_of_windows_is_spread_and_begins_in_the_middle(count):
    shape = (48, 72, 96)
    image = torch.arange(float(np.prod(shape))).reshape(shape)
    sweep = Sweep(image, Windows(PATCH, 0.0, padding=-1.0), THREE)
    found = sweep.sample(count)
    assert found.shape == (min(count, sweep.count), 1, *PATCH)
    first = {int(window[0, 0, 0, 0]) for window in found}
    assert len(first) == len(found), "each is another window"
    z, y, x = np.unravel_index(int(found[0, 0, 0, 0, 0]), shape)
    assert (z, y, x) == (sweep.rows[0].z, 24, 32)
    if count >= 4:
        assert len({number // (72 * 96) for number in first}) == len(sweep.rows)


def test_windows_outside_of_a_region_are_left_out_and_the_rest_do_not_change(
    network,
):
    windows = Windows(PATCH, 0.5)
    region = np.zeros((50, 60, 70), bool)
    region[30:41, 5:20, 40:60] = True
    whole, everywhere = _sweep(network, windows)
    part, found = _sweep(network, windows, region=region)
    assert part.count < whole.count / 2
    assert torch.equal(found[:, region], everywhere[:, region])
    assert torch.equal(found[:, 0, 0, 0], torch.tensor([SURE, -SURE, -SURE]))


class _Failing:
    """Fails at some calls, once each, and counts what was computed."""

    def __init__(self, network, at):
        self.network, self.at, self.calls, self.windows = network, set(at), 0, 0

    def __call__(self, windows):
        self.calls += 1
        if self.calls in self.at:
            raise torch.OutOfMemoryError
        self.windows += windows.shape[0]
        return self.network(windows)


@pytest.mark.parametrize("at", [(1,), (7,), (3, 4, 11)])
def test_an_interrupted_sweep_goes_on_and_runs_no_window_twice(network, at):
    windows = Windows(PATCH, 0.5)
    clean = _sweep(network, windows)[1]
    failing = _Failing(network, at)
    sweep, tally = Sweep(_image(), windows, THREE), _tally()
    for _ in at:
        with pytest.raises(torch.OutOfMemoryError):
            sweep.go(failing, ONE, tally)
    logits = sweep.go(failing, ONE, tally)
    assert torch.equal(logits, clean)
    assert failing.windows == sweep.count == tally.done


@pytest.mark.parametrize("dtype", [torch.float32, torch.half])
def test_sums_that_move_to_the_disk_half_way_are_the_same(network, dtype):
    windows = Windows(PATCH, 0.5)
    sweep = Sweep(_image(), windows, THREE)
    clean = sweep.go(network, ONE, _tally(), dtype=dtype).clone()
    failing = _Failing(network, (7,))
    sweep = Sweep(_image(), windows, THREE)
    with pytest.raises(torch.OutOfMemoryError):
        sweep.go(failing, ONE, _tally(), dtype=dtype)
    logits = sweep.go(failing, Step("cpu", 1, DISK), _tally())
    assert torch.equal(logits, clean)
    assert failing.windows == sweep.count


def test_a_full_disk_is_no_place_for_sums(network, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    _no_room(network)


def test_a_disk_that_refuses_is_no_place_for_sums(network, monkeypatch):
    def refuse(**_):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    _no_room(network)


def _no_room(network):
    sweep = Sweep(_image(), Windows(PATCH, 0.5), THREE)
    with pytest.raises(MemoryError, match="disk has no room"):
        sweep.go(network, Step("cpu", 1, DISK), _tally())


@pytest.mark.parametrize("at", range(1, 6))
def test_lack_of_memory_while_a_row_is_finished_leaves_no_hole(
    network, at, monkeypatch
):
    windows = Windows(PATCH, 0.25)
    clean = _sweep(network, windows)[1]
    write, calls = Sums._write, []

    def failing(*given):
        calls.append(given)
        if len(calls) == at:
            raise torch.OutOfMemoryError
        write(*given)

    monkeypatch.setattr(Sums, "_write", failing)
    sweep = Sweep(_image(), windows, THREE)
    with pytest.raises(torch.OutOfMemoryError):
        sweep.go(network, ONE, _tally())
    assert torch.equal(sweep.go(network, ONE, _tally()), clean)


def test_batches_change_nothing_that_counts(network):
    windows = Windows(PATCH, 0.5)
    clean = _sweep(network, windows)[1]
    sweep = Sweep(_image(), windows, THREE)
    logits = sweep.go(network, Step("cpu", 4, "cpu"), _tally())
    torch.testing.assert_close(logits, clean, rtol=0, atol=1e-5)


def test_cancel_stops_before_the_next_batch(network):
    counting = _Failing(network, ())
    sweep = Sweep(_image(), Windows(PATCH, 0.5), THREE)
    with pytest.raises(CancelledError):
        sweep.go(counting, ONE, _tally(lambda: counting.windows == 5))
    assert counting.windows == 5


def test_half_precision_sums_stay_close(network):
    windows = Windows(PATCH, 0.5)
    clean = _sweep(network, windows)[1]
    sweep = Sweep(_image(), windows, THREE)
    halved = sweep.go(network, ONE, _tally(), dtype=torch.half)
    assert halved.dtype == torch.half
    torch.testing.assert_close(halved.float(), clean, rtol=1e-3, atol=1e-3)


def test_many_channels_are_merged_as_soon_as_planes_are_finished():
    output = Output(9, liver=(5,), tumour=(7,))
    groups = Groups(output)
    logits = torch.randn(9, 2, 3, 4)
    reduced = groups.reduce(logits)
    assert groups.kept == Output(3, (1,), (2,))
    others = [0, 1, 2, 3, 4, 6, 8]
    torch.testing.assert_close(reduced[0], logits[others].amax(0))
    assert torch.equal(reduced[1], logits[5])
    is_liver = logits.argmax(0) == 5
    assert torch.equal(reduced.argmax(0) == 1, is_liver)
    bare = Groups(Output(9, liver=(2, 3), tumour=()))
    assert bare.kept == Output(2, (1,), ())
    assert bare.reduce(logits).shape[0] == 2
    regions = Groups(Output(8, (0,), (1,), activation="sigmoid"))
    assert regions.kept == Output(2, (0,), (1,), activation="sigmoid")
    assert torch.equal(regions.reduce(logits[:8]), logits[:2])
    assert float(regions.clear(torch.empty(2, 1, 1, 1)).max()) == -SURE


@pytest.mark.parametrize("channels", [3, 9])
def test_a_weight_that_a_loss_gave_tumours_is_taken_back(channels):
    torch.manual_seed(2)
    logits = torch.randn(channels, 2, 3, 4)
    output = Output(channels, (1,), (2,), tumour_weight=2.0)
    plain = Groups(replace(output, tumour_weight=1.0)).reduce(logits)
    found, before = Groups(output).reduce(logits), plain.clone()
    odds = (found[2] - plain[2]).exp()
    torch.testing.assert_close(odds, torch.full_like(odds, 0.5))
    assert torch.equal(found[:2], plain[:2])
    assert torch.equal(plain, before)


def test_folds_and_mirror_images_are_averaged(network):
    torch.manual_seed(1)
    other = build_network(NetworkSpec(channels=(4, 8), strides=(2,), num_res_units=1))
    other.eval().requires_grad_(requires_grad=False)
    runner = Runner((network, other), mirror_axes=(0, 2))
    window = torch.randn(1, 1, *PATCH)
    looks = [
        net(window.flip(dims)).flip(dims) if dims else net(window)
        for net in (network, other)
        for dims in ((), (2,), (4,), (2, 4))
    ]
    assert runner.passes == len(looks) == 8
    torch.testing.assert_close(runner(window), torch.stack(looks).mean(0))


def test_channels_last_changes_nothing_that_counts(network):
    window = torch.randn(1, 1, *PATCH)
    plain = Runner((network,))(window)
    other = Runner((network,), recipe=Recipe(channels_last=True)).to("cpu")
    torch.testing.assert_close(other(window), plain, rtol=0, atol=1e-5)
    assert str(other.recipe) == "float32, channels last"


def test_a_recipe_leaves_no_trace_in_the_networks_that_it_shares(network):
    window = torch.randn(1, 1, *PATCH)
    before = Runner((network,)).to("cpu")(window)
    Runner((network,), recipe=Recipe(channels_last=True)).to("cpu")(window)
    after = Runner((network,)).to("cpu")(window)
    assert torch.equal(before, after)
    assert all(p.is_contiguous() for p in network.parameters())


def test_sums_take_windows_as_a_network_leaves_them(network):
    image = torch.randn(20, 30, 40)
    windows, step = Windows(PATCH, 0.5), Step("cpu", 2, "cpu")

    def near(batch):
        return network(batch).bfloat16()

    def as_it_is(batch):
        return near(batch).contiguous(memory_format=torch.channels_last_3d)

    plain = slide(lambda w: near(w).float(), image, windows, THREE, step)
    assert torch.equal(slide(as_it_is, image, windows, THREE, step), plain)


def test_what_float16_cannot_hold_is_computed_in_float32(network):
    window = torch.randn(1, 1, *PATCH)
    half = Recipe("float16")
    near = Runner((network,), recipe=half)(window)
    plain = Runner((network,))(window)
    assert not torch.equal(near, plain), "float16 rounds"
    torch.testing.assert_close(near.float(), plain, rtol=0, atol=0.05)
    # Beyond 65504 float16 has no numbers; a voxel without one would be background.
    loud = torch.nn.Conv3d(1, 3, 1)
    torch.nn.init.constant_(loud.weight, 1e5)
    found = Runner((loud,), recipe=half)(window)
    assert torch.equal(found, Runner((loud,))(window))
    assert torch.isfinite(found).all()

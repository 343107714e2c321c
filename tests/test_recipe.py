"""The way of computing: measured once, kept, and never at the price of a mask."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_liverseg.core.data_folder import data_folder
from napari_liverseg.core.errors import CancelledError
from napari_liverseg.core.geometry import Geometry, Reorientation
from napari_liverseg.core.probabilities import PostProcessing
from napari_liverseg.core.volume import CTVolume
from napari_liverseg.inference import recipe as recipes
from napari_liverseg.inference.groups import Groups
from napari_liverseg.inference.live_memory import network_bytes
from napari_liverseg.inference.options import Listener, RunOptions
from napari_liverseg.inference.plan import make_plan
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.inference.prepare import prepare
from napari_liverseg.inference.recipe import FILE, LOOKED_AT, SWITCH
from napari_liverseg.inference.runner import Recipe
from napari_liverseg.inference.trial import Trial, agree, labels
from napari_liverseg.inference.windows import Sweep
from napari_liverseg.models.contract import Output
from napari_liverseg.models.spec import read_spec
from napari_liverseg.models.store import find_model
from napari_liverseg.training.segmentation_recipe import TUMOUR_WEIGHT
from tiny_model import write_random_model, write_threshold_model

SHAPE, SPACING = (24, 40, 48), (3.0, 3.0, 3.0)


@pytest.fixture(autouse=True)
def _on(monkeypatch):
    monkeypatch.delenv(SWITCH)


def _volume(liver_hu=100):
    hu = np.random.default_rng(0).integers(-20, 20, SHAPE).astype(np.int16)
    hu[6:18, 10:30, 12:36] = liver_hu
    grid = Geometry(SHAPE, SPACING, (0.0, 0.0, 0.0))
    return CTVolume(hu, grid, grid, Reorientation(), "case", "0f")


@pytest.fixture
def predictor(tmp_path):
    return Predictor(read_spec(write_threshold_model(tmp_path / "bands")), "cpu")


def _kept():
    return json.loads((data_folder() / FILE).read_text())


def test_a_recipe_is_measured_once_and_read_afterwards(predictor, monkeypatch):
    first = predictor.predict(_volume())
    assert len(_kept()) == 1
    assert predictor.model.sha256 in next(iter(_kept()))

    def measured_again(*_):
        raise AssertionError

    monkeypatch.setattr(recipes, "_measure", measured_again)
    second = predictor.predict(_volume())
    assert first.run.recipe == second.run.recipe
    np.testing.assert_array_equal(first.liver, second.liver)
    np.testing.assert_array_equal(first.decision, second.decision)


def test_another_computer_that_shares_the_folder_measures_for_itself(
    predictor, monkeypatch
):
    predictor.predict(_volume())
    monkeypatch.setattr("platform.node", lambda: "another")
    predictor.predict(_volume())
    assert len(_kept()) == 2


def test_the_wait_for_measuring_is_told_once(predictor):
    told = []
    predictor.predict(_volume(), lambda *report: told.append(report[2]))
    assert told.count(recipes.TRYING) == 1
    predictor.predict(_volume(), lambda *report: told.append(report[2]))
    assert told.count(recipes.TRYING) == 1


def test_the_run_that_measures_gives_the_bits_of_later_ones(tmp_path):
    folder = write_random_model(tmp_path / "random", spacing_mm=(3, 3, 3))
    one, other = (Predictor(read_spec(folder), "cpu") for _ in range(2))
    first, second = one.predict(_volume()), other.predict(_volume())
    np.testing.assert_array_equal(first.liver, second.liver)
    np.testing.assert_array_equal(first.tumour, second.tumour)


def test_a_window_without_liver_proves_nothing_and_is_not_kept(predictor):
    found = predictor.predict(_volume(liver_hu=0))
    assert found.run.recipe == str(Recipe())
    assert not (data_folder() / FILE).exists()


@pytest.mark.parametrize("way", ["variable", "option"])
def test_one_setting_switches_it_off(predictor, monkeypatch, way):
    options = RunOptions()
    if way == "variable":
        monkeypatch.setenv(SWITCH, "off")
    else:
        options = RunOptions(tune=False)
    found = predictor.predict(_volume(), options=options)
    assert found.run.recipe == "float32"
    assert not (data_folder() / FILE).exists()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"key": {"precision": 3}}'])
def test_a_broken_file_is_measured_anew(predictor, content):
    path = data_folder() / FILE
    path.parent.mkdir(parents=True)
    path.write_text(content)
    predictor.predict(_volume())
    assert any(predictor.model.sha256 in key for key in _kept())


def test_measuring_can_be_cancelled(predictor):
    ran = []
    predictor.networks[0].register_forward_hook(
        lambda _, arguments, __: ran.append(arguments[0].device.type)
    )
    with pytest.raises(CancelledError):
        predictor.predict(_volume(), is_cancelled=lambda: ran.count("cpu") >= 1)
    assert ran.count("cpu") == 1


def test_it_is_measured_with_as_many_windows_as_the_run_takes_at_once(predictor):
    model, volume = predictor.model, _volume()
    image = prepare(volume, model.input).image
    windows = Sweep(image, model.windows, Groups(model.output)).sample(LOOKED_AT)
    assert len(windows) > 1
    held = network_bytes(model, lambda: predictor.networks)
    device = predictor.fresh_device()
    plan = make_plan(model, held, device, SHAPE, 8, 1, volume.hu.size)
    seen = []
    predictor.networks[0].register_forward_hook(
        lambda _, given, __: seen.append(len(given[0]))
    )
    for batch in (1, 3):
        wanted = replace(plan, batch=batch)
        recipes.choose_recipe(predictor, windows, wanted, lambda: False)
        assert seen[0] == 1, "whether there is liver to compare by"
        assert set(seen[1:]) == {batch}
        seen.clear()
    assert len(_kept()) == 2, "each batch has a recipe of its own"


def test_agreement_is_of_labels_and_of_the_rare_ones_too():
    softmax = Output(3, (1,), (2,))
    logits = torch.zeros(1, 3, 10, 20, 20)
    logits[:, 0] = 1.0
    logits[:, 1, 4:6, 5:9, 5:9] = 3.0
    reference = labels(logits, softmax)
    assert agree(labels(logits + 0.1, softmax), reference)
    few = logits.clone()
    few[:, 1, 4, 5, 5:8] = 0.0  # 3 of 32 foreground voxels, 3 of 4000 in all
    assert not agree(labels(few, softmax), reference)
    assert labels(logits * float("nan"), softmax) is None


def test_a_way_has_to_agree_on_other_windows_than_the_first(predictor):
    model, volume = predictor.model, _volume()
    image = prepare(volume, model.input).image
    first = Sweep(image, model.windows, Groups(model.output)).sample(1)
    never = lambda: False  # noqa: E731
    alike = Trial(predictor, torch.cat([first, first.clone()]), 1, never)
    _, reference = alike.run(Recipe())
    assert reference is not None
    assert reference.shape == (2, *model.windows.patch)
    torch.testing.assert_close(reference[0], reference[1], rtol=0, atol=0)
    other = Trial(predictor, torch.cat([first, first.flip(4)]), 1, never)
    _, found = other.run(Recipe())
    assert agree(found[:1], reference[:1])
    assert not agree(found, reference)
    seconds, nothing = other.run(Recipe(), worth=0.0)
    assert nothing is None, "what is no faster need not be compared"
    assert seconds > 0


@pytest.mark.parametrize(("windows", "batch"), [(1, 3), (3, 2), (4, 4)])
def test_windows_fill_batches_and_each_is_labelled_once(predictor, windows, batch):
    model, volume = predictor.model, _volume()
    image = prepare(volume, model.input).image
    some = Sweep(image, model.windows, Groups(model.output)).sample(windows)
    never = lambda: False  # noqa: E731
    _, found = Trial(predictor, some, batch, never).run(Recipe())
    expected = [labels(predictor.networks[0](w[None]), model.output) for w in some]
    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=0)


def test_where_both_halves_are_there_the_more_exact_one_comes_first(monkeypatch):
    monkeypatch.setattr(recipes, "multiplies_bf16", lambda _: True)
    found = list(recipes._candidates("cuda:0", Recipe()))
    precisions = [recipe.precision for recipe in found]
    assert precisions == ["float32"] + 2 * ["float16"] + 2 * ["bfloat16"]
    assert "float16" not in {r.precision for r in recipes._candidates("cpu", Recipe())}


def test_regions_agree_by_their_own_decision():
    regions = Output(2, (0,), (1,), activation="sigmoid")
    logits = torch.full((1, 2, 4, 8, 8), -3.0)
    logits[:, 0, 1:3, 2:6, 2:6] = 2.0
    reference = labels(logits, regions)
    assert int((reference == 1).sum()) == 32
    assert agree(labels(logits, regions), reference)
    assert not agree(labels(-logits, regions), reference)


def test_the_weight_of_a_spec_reaches_slices_early_and_late(tmp_path):
    tumours = {}
    for weight in (1.0, 20.0):
        folder = write_random_model(
            tmp_path / f"x{weight:g}", spacing_mm=(3, 3, 3), tumour_weight=weight,
            post_processing=PostProcessing(largest_component=False, fill_holes_cm2=0),
        )  # fmt: skip
        shown = np.zeros(SHAPE, np.uint8)

        def show(labels, box, shown=shown):
            shown[box] = labels

        listener = Listener(on_partial=show)
        predictor = Predictor(read_spec(folder), "cpu")
        found = predictor.predict(_volume(), listener=listener)
        late = np.zeros(SHAPE, np.uint8)
        late[found.box] = found.decision
        np.testing.assert_array_equal(shown, late)
        tumours[weight] = int((late == 2).sum())
    assert tumours[20.0] < tumours[1.0]


def test_the_bundled_stages_say_what_their_loss_weighed():
    starter = find_model("starter")
    stages = starter.finder, starter.detail
    assert [s.output.tumour_weight for s in stages] == [TUMOUR_WEIGHT] * 2


def test_a_recipe_that_is_asked_for_is_not_measured(predictor):
    wanted = Recipe(channels_last=True)
    found = predictor.predict(_volume(), options=RunOptions(recipe=wanted))
    assert found.run.recipe == "float32, channels last"
    assert not (data_folder() / FILE).exists()


def test_the_fastest_way_has_a_second_chance_once_translated(predictor, monkeypatch):
    model, volume = predictor.model, _volume()
    image = prepare(volume, model.input).image
    window = Sweep(image, model.windows, Groups(model.output)).sample(1)
    held = network_bytes(model, lambda: predictor.networks)
    device = predictor.fresh_device()
    plan = make_plan(model, held, device, SHAPE, 10**6, 1, volume.hu.size)
    right = labels(predictor.networks[0](window), model.output)
    wrong = 2 - right
    half = "bfloat16"
    compiled = Recipe(half, channels_last=True, is_compiled=True)
    timed = {
        Recipe(): (1.0, right),
        Recipe(channels_last=True): (0.95, right),
        Recipe(half): (0.3, wrong),
        Recipe(half, channels_last=True): (0.4, wrong),
        Recipe(channels_last=True, is_compiled=True): (0.8, right),
        compiled: (0.2, right),
    }
    # Seconds of this computer would make the test a matter of luck.
    monkeypatch.setattr(recipes, "multiplies_bf16", lambda _: True)

    def run(_trial, recipe, worth=float("inf")):
        seconds, found = timed[recipe]
        return seconds, found if seconds < worth else None

    monkeypatch.setattr(Trial, "run", run)
    never = lambda: False  # noqa: E731
    assert recipes.choose_recipe(predictor, window, plan, never) == compiled
    assert recipes._measure(predictor, window, plan, never) == compiled
    short = replace(plan, windows=1)
    assert recipes._measure(predictor, window, short, never) == Recipe()
    timed[compiled] = (0.2, wrong)
    translated = Recipe(channels_last=True, is_compiled=True)
    assert recipes._measure(predictor, window, plan, never) == translated

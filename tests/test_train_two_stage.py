"""Retraining of a two-stage model: its second stage learns, its first stays."""

import json
import shutil

import numpy as np
import pytest
import torch

from napari_liverseg.cli import main
from napari_liverseg.core.errors import ModelError
from napari_liverseg.inference.decision import decide
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.io.label_map import read_label_map
from napari_liverseg.io.labelled_set import find_labelled
from napari_liverseg.io.open import open_ct
from napari_liverseg.measure.case import measure_case
from napari_liverseg.models.kinds import read_model
from napari_liverseg.models.network import build_network, load_network
from napari_liverseg.models.proof import prove
from napari_liverseg.models.spec import read_spec
from napari_liverseg.models.store import find_model, user_folder
from napari_liverseg.models.two_stage import TwoStage
from napari_liverseg.models.two_stage_folder import save_two_stage
from napari_liverseg.training.alter import room_for
from napari_liverseg.training.card import draft
from napari_liverseg.training.compute import Place
from napari_liverseg.training.held_out import read_results
from napari_liverseg.training.order import Order
from napari_liverseg.training.prepared_case import Reading, prepare_case
from napari_liverseg.training.recipe import changed, read_recipe
from napari_liverseg.training.start import start_of, trained_part
from nnunet_case import write_folder
from tiny_model import (
    tiny_spec,
    write_own_two_stage,
    write_random_model,
    write_threshold_model,
    write_two_stage,
)
from training_case import Told, make_set, run_tiny

ITS_OWN = {"spacing_mm": None, "patch": None, "network": None, "overlap": None}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("set") / "set")


@pytest.fixture
def two(tmp_path):
    return read_model(write_own_two_stage(tmp_path / "models" / "two"))


def run_two(data, out, told=None, **changes):
    short = {"epochs": 1, "steps_per_epoch": 2, "folds": 2, **ITS_OWN}
    return run_tiny(data, out, told, start="two", **{**short, **changes})


def test_the_second_stage_gives_a_training_all_that_it_is(two):
    start = start_of(changed(read_recipe("quick"), start="two"))
    assert start.model.name == "two"
    assert start.network.name == "close"
    spec = draft(read_recipe("quick"), start)
    wanted = ("spacing_mm", "patch", "network", "hu_window", "overlap")
    for field in (*wanted, "post_processing"):
        assert getattr(spec, field) == getattr(two.detail, field)
    # A recipe that says otherwise is asked, but not for other layers.
    fine = changed(read_recipe("quick"), overlap=0.1)
    assert draft(fine, start).overlap == 0.1
    with pytest.raises(ModelError, match="has other layers"):
        start_of(changed(read_recipe("unet3d"), start="two"))


def test_the_bundled_starter_is_what_quick_begins_from():
    start = start_of(read_recipe("quick"))
    assert start.model.name == "starter"
    assert start.network is start.model.detail
    assert start.has_finder


def test_stages_of_other_kinds_are_refused_in_a_sentence(tmp_path):
    home = tmp_path / "models"
    write_threshold_model(home / "own")
    write_folder(home / "nnunet")
    for number, stages in enumerate((("own", "nnunet"), ("nnunet", "own"))):
        folder = write_two_stage(home / f"mixed{number}", *stages)
        assert trained_part(read_model(folder)) is None
        with pytest.raises(ModelError, match="A stage of the model 'mixed") as no:
            start_of(changed(read_recipe("quick"), start=f"mixed{number}"))
        assert "Begin from 'starter'" in no.value.next_step
        with pytest.raises(ModelError, match="another maker's kind"):
            save_two_stage(torch.nn.Identity(), read_model(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_written_needs_nothing_beside_it(tmp_path, two):
    spec = tiny_spec("new", figures=[])
    whole = two.with_detail(spec, tmp_path / "new")
    network = build_network(spec.network)
    written = save_two_stage(network, whole, tmp_path / "new")
    shutil.rmtree(two.folder)
    moved = read_model((tmp_path / "new").rename(tmp_path / "elsewhere"))
    assert (moved.name, moved.sha256) == ("new", written.sha256)
    assert (moved.finder.name, moved.finder.sha256) == ("coarse", two.finder.sha256)
    assert moved.detail.name == "new-detail"
    assert prove(moved).networks == 2
    # It may be written again, but never over something else.
    save_two_stage(network, written_from(moved, spec), moved.folder)
    (moved.folder / "notes.txt").write_text("mine")
    with pytest.raises(ModelError, match="no model folder"):
        save_two_stage(network, written_from(moved, spec), moved.folder)


def written_from(model, spec):
    return model.with_detail(spec, model.folder)


def test_a_damaged_first_stage_leaves_nothing_behind(tmp_path, two):
    weights = two.finder.weights_file
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    spec = tiny_spec("new")
    whole = two.with_detail(spec, tmp_path / "new")
    with pytest.raises(ModelError, match="are not those"):
        save_two_stage(build_network(spec.network), whole, tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"models"}


def test_cases_of_a_second_stage_are_the_livers_surroundings(data, tmp_path):
    case = find_labelled(data).cases[0]
    spacing, least = (13.0, 13.0, 13.0), room_for((4, 4, 8))
    whole, near = (
        prepare_case(case, Reading({1: 1, 2: 2}, (0, 1, 2), spacing, part), tmp_path)
        for part in (None, least)
    )
    assert whole.folder != near.folder
    assert near.labels.size < 0.5 * whole.labels.size
    assert all(a >= b for a, b in zip(near.labels.shape, least, strict=True))
    for value in (1, 2):
        assert (near.labels == value).sum() == (whole.labels == value).sum()
    organ = np.argwhere(near.labels)
    margin = round(20 / 13)
    assert (organ.min(0) >= margin).all()
    assert near.hu.shape == near.labels.shape
    assert set(near.labels.flat[near.lesion]) == {2}


def test_folds_of_the_second_stage_become_a_model_of_both(data, tmp_path, two, capsys):
    out = tmp_path / "out"
    stopped = run_two(data, out, Told(stop_after=1))
    assert stopped.was_stopped
    trained = run_two(data, out, order={"resume": True})
    model = read_model(out / "model")
    assert isinstance(model, TwoStage)
    assert model.finder.sha256 == two.finder.sha256
    assert model.detail.networks == 2
    assert model.detail.sha256 != two.detail.sha256
    assert "begun from two 1, whose first stage is kept" in model.detail.training_data
    assert "not for clinical use" in model.notice
    assert not model.detail.figures
    assert any("4 held-out cases" in figure.source for figure in model.figures)
    assert trained.figures == tuple(figure.line for figure in model.figures)
    assert "Finds the liver:" in (out / "report.html").read_text()
    _check_measures(data, out, two)
    _check_commands(trained.name, out, data, capsys)


def _check_measures(data, out, two):
    """Each fold is measured with its own network behind the first stage."""
    folder = out / "fold_1"
    own = two.with_detail(read_spec(folder / "model"), folder)
    for model, kept in ((two, folder / "start"), (own, folder)):
        for result in read_results(kept):
            case = {c.name: c for c in find_labelled(data).cases}[result.case]
            volume = open_ct(case.image)
            options = RunOptions(look="liver", tune=False)
            found = Predictor(model, "cpu").predict(volume, options=options)
            truth = read_label_map(case.label, volume)
            wanted = measure_case(decide(found), truth)
            assert result.organ_dice == pytest.approx(wanted.liver.agreement.dice)


def _check_commands(name, out, data, capsys):
    again = find_model(name)
    assert again.folder == user_folder() / name
    capsys.readouterr()
    assert main(["models", "list"]) == 0
    assert name in capsys.readouterr().out
    assert main(["models", "info", name]) == 0
    assert "Looks closely there:" in capsys.readouterr().out
    assert main(["models", "info", name, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["figures"][0]["what"] == "liver Dice"
    assert main(["models", "check", name]) == 0
    assert "3 networks" in capsys.readouterr().out
    page = ("compare", out, "two", "--data", data, "-o", out / "compared")
    assert main([*map(str, page), "--device", "cpu", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["models"]
    assert all(case["is_seen"] for case in first["cases"])
    assert not any(case["is_seen"] for case in second["cases"])
    assert (first["networks"], second["networks"]) == (3, 2)
    assert main(["models", "remove", name, "--yes"]) == 0
    assert not (user_folder() / name).exists()


def test_a_model_of_one_stage_stays_one_of_one(data, tmp_path):
    write_random_model(tmp_path / "models" / "one", spacing_mm=(18, 18, 18))
    fields = {**ITS_OWN, "epochs": 1, "steps_per_epoch": 1, "start": "one"}
    run_tiny(data, tmp_path / "out", **fields)
    assert read_spec(tmp_path / "out" / "model").overlap == 0.25
    kept = tmp_path / "out" / "fold_1" / "start"
    assert len(read_results(kept)) == 1


def test_a_name_that_no_model_can_have_is_refused_at_once(data, tmp_path, capsys):
    with pytest.raises(ModelError, match="cannot be called 'My model'"):
        Order(data, tmp_path, Place("cpu"), name="My model")
    given = ("train", "quick", "--data", data, "-o", tmp_path / "o", "--name", "a/b")
    assert main([*map(str, given)]) == 1
    assert "cannot be called 'a/b'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_second_stage_learns_what_it_is_shown(data, tmp_path, two):
    told = Told()
    plain = {"augmentation": {}, "epochs": 3, "steps_per_epoch": 12, "folds": 1}
    run_two(data, tmp_path / "out", told, **plain, optimiser={"rate": 0.02})
    losses = [epoch.loss for epoch in told.epochs]
    assert losses[-1] < 0.85 * losses[0]
    model = read_model(tmp_path / "out" / "model")
    pairs = zip(
        load_network(two.detail).parameters(),
        load_network(model.detail).parameters(),
        strict=True,
    )
    assert max(float((a - b).abs().max()) for a, b in pairs) > 0.01

"""The command `train` leaves a model that the plugin lists and that predicts."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from napari_liverseg.cli import main
from napari_liverseg.core.errors import ExportError, ModelError
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.io.labelled_set import find_labelled
from napari_liverseg.io.open import open_ct
from napari_liverseg.models.network import load_network
from napari_liverseg.models.spec import read_spec
from napari_liverseg.models.store import find_model, list_models
from napari_liverseg.training import segmentation
from napari_liverseg.training.caseload import check_cases
from napari_liverseg.training.compute import Place
from napari_liverseg.training.curves import read_curves
from napari_liverseg.training.folds import Folds
from napari_liverseg.training.held_out import CaseResult
from napari_liverseg.training.order import Order, open_run
from napari_liverseg.training.recipe import read_recipe
from napari_liverseg.training.report import _pictures
from tiny_model import write_random_model
from training_case import (
    Told,
    make_set,
    run_tiny,
    tiny_recipe,
    write_datalist,
    write_recipe,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("set") / "set")


def words(*given):
    return ["train", *map(str, given), "--workers", "0", "--device", "cpu"]


def test_folds_become_one_model_that_is_listed_and_predicts(data, tmp_path, capsys):
    out = tmp_path / "out"
    recipe = write_recipe(tmp_path / "r.yaml", steps_per_epoch=2, epochs=2)
    assert main(words(recipe, "--data", data, "-o", out, "--folds", 2)) == 0
    said = capsys.readouterr()
    assert "liver Dice" in said.out
    assert "Fold 2 of 2, epoch 2 of 2: loss" in said.err
    assert "left of this fold at most" in said.err
    assert "left at most" not in said.err
    model = read_spec(out / "model")
    assert model.networks == 2
    assert [m.name for m in list_models()].count(model.name) == 1
    assert find_model(model.name).sha256 == model.sha256
    _check_card(model)
    _check_prediction(model, out, data)
    _check_report(out)
    # What is done is told again, and nothing is listed twice.
    again = words(recipe, "--data", data, "-o", out, "--folds", 2, "--resume")
    assert main(again) == 0
    assert model.name in capsys.readouterr().out
    assert len([m for m in list_models() if m.name.startswith("tiny")]) == 1


def _check_card(model):
    assert "not for clinical use" in model.card
    assert "4 labelled CTs of 3 patients" in model.training_data
    assert "2 folds by patient" in model.training_data
    assert "recipe tiny" in model.training_data
    assert "torch" in model.training_data
    assert "liver_P" not in model.model_dump_json()
    assert yaml.safe_load(model.recipe)["epochs"] == 2
    dice = next(f for f in model.figures if f.what == "liver Dice")
    assert "4 held-out cases, sd" in dice.source


def _check_prediction(model, out, data):
    """The ensemble is the mean of its folds, through the plugin's own Predictor."""
    volume = open_ct(find_labelled(data).cases[0].image)
    options = RunOptions(look="body", tune=False)
    folds = [read_spec(out / f"fold_{k}" / "model") for k in (1, 2)]
    found = Predictor(model, "cpu").predict(volume, options=options)
    assert found.liver.any()
    window = torch.zeros(1, 1, *model.patch)
    own = [load_network(fold)(window) for fold in folds]
    together = [network(window) for network in model.load_networks()]
    for one, other in zip(own, together, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def _check_report(out):
    page = (out / "report.html").read_text()
    assert 'src="http' not in page
    assert "Plotly.newPlot" in page
    assert page.count("<img ") == 4
    assert "liver_P003_01" in page
    rows = read_curves(out / "curves.csv")
    assert [(row.fold, row.epoch) for row in rows] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert list((out / "fold_1" / "tensorboard").glob("events*"))
    assert read_recipe(out / "recipe.yaml").folds == 2


def test_folds_can_be_trained_one_by_one(data, tmp_path, capsys):
    out = tmp_path / "out"
    recipe = write_recipe(tmp_path / "r.yaml", steps_per_epoch=1, epochs=1)
    given = words(recipe, "--data", data, "-o", out, "--folds", 2)
    assert main([*given, "--fold", "2"]) == 0
    assert "still to be trained: 1." in capsys.readouterr().out
    assert not (out / "model").exists()
    learnt = read_spec(out / "fold_2" / "model").training_data
    assert learnt.startswith("4 labelled CTs of 3 patients")
    assert main([*given, "--fold", "2"]) == 1
    assert "holds a training already" in capsys.readouterr().err
    assert main([*given, "--fold", "3"]) == 1
    assert "no fold 3" in capsys.readouterr().err
    assert main([*given, "--fold", "1"]) == 0
    assert read_spec(out / "model").networks == 2


def test_folds_of_two_recipes_are_not_mixed(data, tmp_path, monkeypatch):
    out = tmp_path / "out"
    other = Order(data, out, Place("cpu"), fold=1)

    def check(*given):
        # The job of another fold begins while this one still prepares its cases.
        open_run(other, tiny_recipe(folds=2, batch=1), follows=False)
        return check_cases(*given)

    monkeypatch.setattr(segmentation, "check_cases", check)
    with pytest.raises(ModelError, match="was begun with another recipe"):
        run_tiny(data, out, order={"fold": 0}, folds=2, batch=2)
    assert not list(out.glob("fold_*"))


def test_the_clock_is_shared_by_folds_that_are_left_alone(data, tmp_path, monkeypatch):
    out, minutes = tmp_path / "out", []
    for fold in ("fold_2", "fold_3"):
        (out / fold / "model").mkdir(parents=True)
    (out / "recipe.yaml").write_text(tiny_recipe(folds=3).as_yaml())

    def note(_run, _fold, given):
        minutes.append(given)
        return True

    monkeypatch.setattr(segmentation, "_train_fold", note)
    monkeypatch.setattr(segmentation, "_measure_fold", lambda *_: True)
    run_tiny(data, out, order={"resume": True}, folds=3, minutes=60)
    assert minutes[0] > 50


def test_measuring_a_fold_takes_none_of_the_next_ones_minutes(
    data, tmp_path, monkeypatch
):
    minutes = []

    def note(_run, _fold, given):
        minutes.append(given)
        return True

    def measure(*_):
        time.sleep(0.5)
        return True

    monkeypatch.setattr(segmentation, "_train_fold", note)
    monkeypatch.setattr(segmentation, "_measure_fold", measure)
    run_tiny(data, tmp_path / "out", folds=3, minutes=0.03)
    assert minutes == pytest.approx([0.03 / 3, 0.03 / 2, 0.03], rel=0.1)


def test_all_processes_of_a_training_refuse_its_folder(data, tmp_path):
    out = tmp_path / "out"
    run_tiny(data, out, Told(stop_after=1))
    order = Order(data, out, Place("cpu"))
    for follows in (False, True):
        with pytest.raises(ExportError, match="holds a training already"):
            open_run(order, tiny_recipe(), follows=follows)
    fresh = replace(order, out=tmp_path / "fresh")
    open_run(fresh, tiny_recipe(), follows=True)
    assert not fresh.out.exists()


def test_hidden_files_do_not_make_a_folder_foreign(data, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".DS_Store").write_bytes(b"")
    # Another job of the same training is writing its recipe just now.
    (out / ".0a1b2c3d.recipe.yaml").write_text("kind: ")
    short = {"epochs": 1, "steps_per_epoch": 1, "folds": 2}
    assert run_tiny(data, out, order={"fold": 1}, **short).missing == (0,)


def test_retraining_begins_from_a_model_and_leaves_it(data, tmp_path, capsys):
    first = write_random_model(
        tmp_path / "models" / "first", spacing_mm=(18, 18, 18), patch=(8, 12, 16)
    )
    before = read_spec(first).sha256
    given = ("quick", "--data", data, "-o", tmp_path / "out", "--from", "first")
    assert main(words(*given, "--max-minutes", "0.02")) == 0
    model = read_spec(tmp_path / "out" / "model")
    assert "begun from first 1.2" in model.training_data
    # What it began from may have learnt from them in an earlier round.
    said = "which did not train it, but perhaps first, from which it began"
    assert said in model.figures[0].source
    # Of one case there is no spread.
    assert model.figures[0].source.startswith("one held-out case, ")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "from which it began, has learnt from these cases" in page
    assert "±" not in page.partition("Held-out cases")[2].partition("</table>")[0]
    assert read_spec(first).sha256 == before
    start, now = load_network(read_spec(first)), load_network(model)
    apart = [
        float((a - b).abs().max())
        for a, b in zip(start.parameters(), now.parameters(), strict=True)
    ]
    assert 0 < max(apart) < 0.1


def test_a_training_learns_what_it_is_shown(data, tmp_path):
    told = Told()
    plain = {"augmentation": {}, "epochs": 3, "steps_per_epoch": 12}
    run_tiny(data, tmp_path / "out", told, **plain, optimiser={"rate": 0.02})
    losses = [epoch.loss for epoch in told.epochs]
    assert losses[-1] < 0.85 * losses[0]
    assert any("left" in text for text in told.progress)


def test_what_cannot_be_trained_is_refused_in_a_sentence(data, tmp_path, capsys):
    out = tmp_path / "out"
    for given, said in (
        (("nonsense", "--data", data, "-o", out), "no recipe 'nonsense'"),
        (("unet3d", "--data", data, "-o", out), "3 patients cannot make 5"),
        (("quick", "--data", tmp_path, "-o", out), "holds no labelled cases"),
        (("quick", "--data", data, "-o", tmp_path), "holds something else"),
        (("quick", "--data", data, "-o", out, "--from", "x"), "no model 'x'"),
    ):
        (tmp_path / "other.txt").write_text("")
        assert main(words(*given)) == 1
        error = capsys.readouterr().err
        assert said in error
        assert "Traceback" not in error


def test_a_missing_extra_names_what_installs_it(data, tmp_path, capsys, monkeypatch):
    # Python takes None for a module that is not there.
    monkeypatch.setitem(sys.modules, "lightning", None)
    assert main(words("quick", "--data", data, "-o", tmp_path / "out")) == 1
    assert 'pip install "napari-liverseg[train]"' in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_train_one_network(data, tmp_path):
    out = tmp_path / "out"
    recipe = write_recipe(tmp_path / "r.yaml", steps_per_epoch=2, epochs=2)
    given = words(recipe, "--data", data, "-o", out, "--folds", 2, "--devices", 2)
    given += ["--max-minutes", "60"]  # by the clock of the first of both
    command = [sys.executable, "-m", "napari_liverseg.cli", *given]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("It is listed as") == 1
    assert done.stderr.count("Fold 2 of 2, epoch 2 of 2") == 1
    model = read_spec(out / "model")
    assert model.networks == 2
    rows = read_curves(out / "curves.csv")
    assert [row.step for row in rows] == [2, 4, 2, 4]
    # Two patches a step on each of two processes are four of one process.
    alone = run_tiny(
        data, tmp_path / "alone", folds=2, batch=4, steps_per_epoch=2, epochs=2
    )
    lone = read_curves(tmp_path / "alone" / "curves.csv")
    assert np.isclose(rows[0].loss, lone[0].loss, rtol=0.05)
    assert json.loads((out / "folds.json").read_text()) == json.loads(
        (alone.report.parent / "folds.json").read_text()
    )


@pytest.mark.slow
def test_unet3d_learns_another_organ_from_a_decathlon_datalist(tmp_path, capsys):
    data = tmp_path / "set"
    phantoms = ["phantoms", "-o", data, "--count", 3, "--voxel-mm", 5]
    assert main([str(word) for word in phantoms]) == 0
    names = [case.name for case in find_labelled(data).cases]
    items = [
        {"image": f"imagesTr/{n}_0000.nii.gz", "label": f"labelsTr/{n}.nii.gz"}
        for n in names
    ]
    labels = {"0": "background", "1": "spleen", "2": "cyst"}
    listed = write_datalist(data / "decathlon.json", items, labels=labels)
    recipe = tmp_path / "spleen.yaml"
    asked = {"organ": ["spleen"], "lesion": ["cyst"]}
    bundled = read_recipe("unet3d").model_dump(mode="json")
    recipe.write_text(yaml.safe_dump({**bundled, "labels": asked}))
    few = "folds=1 epochs=2 steps_per_epoch=3 batch=1 validate_every=2 patch=[32,96,96]"
    settings = [word for setting in few.split() for word in ("--set", setting)]
    done = main(words(recipe, "--data", listed, "-o", tmp_path / "out", *settings))
    assert done == 0, capsys.readouterr().err
    model = read_spec(tmp_path / "out" / "model")
    assert "what is shown as liver is spleen" in model.notice
    scan = data / items[0]["image"]
    out = tmp_path / "seen"
    where = ["segment", scan, "-o", out, "--model", tmp_path / "out" / "model"]
    assert main([str(word) for word in where]) == 0, capsys.readouterr().err
    assert (out / "labels.nii.gz").is_file()


def test_a_report_does_without_a_picture_that_was_not_copied(tmp_path):
    result = CaseResult("a", 1, 0.5, None, None, None, None, "held_out_001.png")
    folds = Folds((("a",),), ("a", "b"), 2, "")
    assert "case 1: organ 0.500" in _pictures([result], folds, tmp_path)


def test_lesions_where_none_are_make_a_bad_case(tmp_path):
    names = [f"c{number}" for number in range(8)]
    ordinary = CaseResult("", 1, 0.95, 0.85, None, None, None, "none.png")
    results = [replace(ordinary, case=name) for name in names]
    healthy = {"organ_dice": 0.97, "lesion_dice": None}
    results[5] = replace(results[5], **healthy, false_lesion_ml=480.0)
    results[6] = replace(results[6], **healthy, false_lesion_ml=0.0)
    folds = Folds((tuple(names),), tuple(names), 8, "")
    page = _pictures(results, folds, tmp_path)
    first = page.index("<figcaption>")
    told = "case 6: organ 0.970, 480.0 ml of lesions where none are"
    assert page.index(told, first) < page.index("case 1: ", first)
    assert "case 7" not in page

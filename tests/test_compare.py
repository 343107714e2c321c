"""Models on the same cases: one table, one page, and what was seen in training."""

import csv
import json
import shutil
from dataclasses import dataclass

import pytest
import SimpleITK as sitk

from cli_cases import refused
from napari_liverseg.cli.app import main
from napari_liverseg.inference.decision import decide
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.io.grid import to_image
from napari_liverseg.io.label_map import read_label_map, write_label_map
from napari_liverseg.io.labelled_set import find_labelled
from napari_liverseg.io.open import open_ct
from napari_liverseg.measure.case import measure_case
from napari_liverseg.models.store import find_model
from napari_liverseg.synthesis.phantom import make_phantom
from napari_liverseg.training import comparison
from napari_liverseg.training.compared import Compared, OnCase
from napari_liverseg.training.comparison_report import _parts
from tiny_bundle import RANGE, UNET, transforms, unet_bundle
from tiny_model import write_random_model, write_threshold_model
from training_case import (
    SHAPE,
    SPACING,
    make_set,
    run_tiny,
    write_datalist,
    write_dicom_set,
    write_turned,
)

REPORT = ["comparison.csv", "comparison.html"]

COARSE = {"spacing_mm": (18.0, 18.0, 18.0), "patch": (16, 16, 16)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("set") / "set")


def words(*given):
    return ["compare", *map(str, given), "--device", "cpu"]


def test_one_table_of_models_and_trainings(data, tmp_path, capsys):
    run_tiny(data, tmp_path / "run", epochs=1, steps_per_epoch=1)
    bands = write_threshold_model(tmp_path / "models" / "bands")
    capsys.readouterr()
    given = words(tmp_path / "run", "bands", "--data", data, "-o", tmp_path / "out")
    assert main([*given, "--json"]) == 0
    trained, plain = json.loads(capsys.readouterr().out)["models"]
    assert plain["name"] == "bands"
    assert [case["is_seen"] for case in trained["cases"]] == [True] * 4
    assert [case["is_seen"] for case in plain["cases"]] == [None] * 4
    network = find_model(str(bands)).load_networks()[0]
    assert plain["parameters"] == sum(p.numel() for p in network.parameters())
    _check_figures(plain["cases"], data)
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "their figures are too good" in page
    assert page.count("Plotly.newPlot") >= 4
    assert 'src="http' not in page
    with (tmp_path / "out" / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["trained_on_it"] for row in rows] == ["1"] * 4 + [""] * 4
    assert main([*given, "--overwrite"]) == 0
    said = capsys.readouterr().out
    assert "lesion recall" in said
    assert said.split("trained on")[1].split()[:4] == ["4", "of", "4", "unknown"]
    # The model of a training is known by the folder around it.
    out = tmp_path / "inner"
    assert main([*words(tmp_path / "run" / "model", "--data", data), "-o", out]) == 0
    assert "4 of 4" in capsys.readouterr().out


def test_a_ct_is_seen_whatever_file_and_name_it_comes_in(tmp_path, capsys):
    learnt = write_dicom_set(tmp_path / "set", ("p1", "p2", "p3"))
    run_tiny(learnt, tmp_path / "run", epochs=1, steps_per_epoch=1)
    (tmp_path / "new").mkdir()
    unseen = make_phantom(7, SHAPE, SPACING)
    write_label_map(tmp_path / "new" / "other.nii.gz", unseen.truth, unseen.volume)
    image = to_image(unseen.volume.hu, unseen.volume.geometry)
    sitk.WriteImage(image, str(tmp_path / "new" / "ct0.nii.gz"))
    items = [{"image": "ct0.nii.gz", "label": "other.nii.gz"}]
    for case in find_labelled(learnt).cases[1:]:
        copy = write_turned(case.image, tmp_path / "new" / f"of-{case.name}.nii.gz")
        items.append({"image": copy.name, "label": str(case.label)})
    labels = {"background": 0, "liver": 1, "tumour": 2}
    listed = write_datalist(tmp_path / "new" / "list.json", items, labels=labels)
    capsys.readouterr()
    out = tmp_path / "out"
    (model,) = _compared(capsys, tmp_path / "run", "--data", listed, "-o", out)
    assert [case["is_seen"] for case in model["cases"]] == [False, True, True]
    shutil.rmtree(tmp_path / "run" / "cache")
    given = ("--data", listed, "-o", out, "--overwrite")
    (model,) = _compared(capsys, tmp_path / "run", *given)
    # The first has the name of another that was learnt, which counts now.
    assert [case["is_seen"] for case in model["cases"]] == [True, True, True]


def test_what_the_start_of_a_training_has_seen_is_not_called_unseen(
    data, tmp_path, capsys
):
    run, out = tmp_path / "run", tmp_path / "out"
    write_random_model(run / "model", recipe="start: starter", **COARSE)
    first, *_ = names = sorted(case.name for case in find_labelled(data).cases)
    folds = {"cases": [first, "other"], "held_out": [["other"]]}
    kept = json.dumps({**folds, "patients": 2, "note": ""})
    (run / "folds.json").write_text(kept)
    (model,) = _compared(capsys, run, "--data", data, "-o", out)
    seen = {case["case"]: case["is_seen"] for case in model["cases"]}
    assert seen == {name: True if name == first else None for name in names}
    assert "1 of 4, 3 unknown" in (out / "comparison.html").read_text()


def _check_figures(cases, data):
    """What is told of a case is what `measure` says of the plugin's own masks."""
    first = find_labelled(data).cases[0]
    volume = open_ct(first.image)
    believed = Predictor(find_model("bands"), "cpu").predict(
        volume, options=RunOptions(look="body", tune=False)
    )
    truth = read_label_map(first.label, volume)
    wanted = measure_case(decide(believed), truth)
    assert cases[0]["case"] == first.name == "liver_P001_01"
    assert cases[0]["liver_dice"] == pytest.approx(wanted.liver.agreement.dice)
    assert cases[0]["tumour_iou"] == pytest.approx(wanted.tumour.agreement.jaccard)
    accuracy = wanted.tumour.agreement.accuracy
    assert cases[0]["tumour_accuracy"] == pytest.approx(accuracy)
    assert cases[0]["lesion_recall"] == pytest.approx(wanted.lesions.recall_any)


def _liver_alone(data, folder):
    """Write a list of two of the cases, whose tumours are labelled as liver."""
    items = []
    for case in find_labelled(data).cases[:2]:
        label = sitk.ReadImage(str(case.label))
        path = folder / f"{case.name}.nii.gz"
        sitk.WriteImage(sitk.Minimum(label, 1), str(path))
        items.append({"image": str(case.image), "label": path.name})
    labels = {"background": 0, "liver": 1}
    return write_datalist(folder / "list.json", items, labels=labels)


def _compared(capsys, *given):
    assert main([*words(*given), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["models"]


def test_tumours_that_nobody_labelled_are_not_called_invented(data, tmp_path, capsys):
    write_threshold_model(tmp_path / "models" / "bands", **COARSE)
    listed, out = _liver_alone(data, tmp_path), tmp_path / "out"
    (model,) = _compared(capsys, "bands", "--data", listed, "-o", out)
    for case in model["cases"]:
        assert case["liver_dice"] > 0.1
        assert case["false_tumour_ml"] is None
        assert case["tumour_accuracy"] is None
    assert "liver Dice" in (out / "comparison.html").read_text()


def test_a_model_that_knows_no_tumours_has_no_figures_of_them(data, tmp_path, capsys):
    write_threshold_model(tmp_path / "models" / "bands", **COARSE)
    network = {**UNET, "out_channels": 2}
    given = {"network": network, "channels": ["background", "liver"]}
    given["steps"] = transforms(RANGE, pixdim=(18, 18, 18))
    livers = unet_bundle(tmp_path / "livers", **given)
    given = ("bands", livers, "--data", data, "-o", tmp_path / "out")
    both, liver = _compared(capsys, *given)
    assert all(case["tumour_dice"] is not None for case in both["cases"])
    for case in liver["cases"]:
        assert case["liver_dice"] is not None
        for name in ("tumour_dice", "tumour_iou", "lesion_recall", "tumour_accuracy"):
            assert case[name] is None


def test_models_of_one_name_are_told_apart(data, tmp_path, capsys):
    for folder in ("first", "second"):
        write_random_model(tmp_path / folder / "one", name="same", **COARSE)
    write_random_model(tmp_path / "models" / "other", **COARSE)
    runs = (tmp_path / "first" / "one", "other", tmp_path / "second" / "one")
    models = _compared(capsys, *runs, "--data", data, "-o", tmp_path / "out")
    wanted = ["same (run 1)", "other", "same (run 3)"]
    assert [model["name"] for model in models] == wanted
    with (tmp_path / "out" / "comparison.csv").open() as file:
        assert [row["model"] for row in csv.DictReader(file)][::4] == wanted


def test_files_named_after_patients_are_not_told(data, tmp_path, capsys):
    for name in ("a", "b"):
        write_random_model(tmp_path / "models" / name)
    found = find_labelled(data).cases[:2]
    items = []
    for number, case in enumerate(found):
        image = tmp_path / f"Jane_Doe_{number}.nii.gz"
        image.write_bytes(case.image.read_bytes())
        items.append({"image": image.name, "label": str(case.label)})
    listed = write_datalist(tmp_path / "list.json", items)
    assert main(words("a", "b", "--data", listed, "-o", tmp_path / "out")) == 0
    for file in (tmp_path / "out").iterdir():
        assert "Jane_Doe" not in file.read_text()
        assert "case 2" in file.read_text()
    assert "Jane_Doe" not in capsys.readouterr().out


@pytest.fixture
def begun(monkeypatch):
    """Return the models that were begun with, from now on."""
    names = []

    class Noted(Predictor):
        def __init__(self, model, device):
            names.append(model.name)
            super().__init__(model, device)

    monkeypatch.setattr(comparison, "Predictor", Noted)
    return names


@dataclass
class Measuring:
    """How many cases were measured, and at which of them Ctrl-C is pressed."""

    count: int = 0
    stop_at: int | None = None

    def __call__(self, found, truth):
        self.count += 1
        if self.count == self.stop_at:
            raise KeyboardInterrupt
        return measure_case(found, truth)


@pytest.fixture
def measuring(monkeypatch):
    measuring = Measuring()
    monkeypatch.setattr(comparison, "measure_case", measuring)
    return measuring


def _figures(models):
    return [[{**case, "seconds": None} for case in model["cases"]] for model in models]


def test_a_comparison_that_was_stopped_goes_on(data, tmp_path, capsys, measuring):
    write_threshold_model(tmp_path / "models" / "a", **COARSE)
    write_random_model(tmp_path / "models" / "b", **COARSE)
    whole = _compared(capsys, "a", "b", "--data", data, "-o", tmp_path / "whole")
    out = tmp_path / "out"
    given = ("a", "b", "--data", data, "-o", out)
    measuring.count, measuring.stop_at = 0, 6
    assert main(words(*given)) == 130
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("Finished cases are kept in")
    assert not (out / "comparison.html").exists()
    measuring.count, measuring.stop_at = 0, None
    models = _compared(capsys, *given)
    assert measuring.count == 3
    assert _figures(models) == _figures(whole)
    assert sorted(p.name for p in out.iterdir()) == REPORT


def test_what_was_kept_counts_for_the_same_labels_and_model(
    data, tmp_path, capsys, measuring
):
    copy = shutil.copytree(data, tmp_path / "copy")
    write_random_model(tmp_path / "models" / "a", seed=1, **COARSE)
    given = words("a", "--data", copy, "-o", tmp_path / "out")

    def measured(stop_at=None):
        measuring.count, measuring.stop_at = 0, stop_at
        assert main(given) == (130 if stop_at else 0)
        return measuring.count

    measured(stop_at=3)
    label = str(find_labelled(copy).cases[0].label)
    sitk.WriteImage(sitk.Minimum(sitk.ReadImage(label), 1), label)
    assert measured(stop_at=2) == 2
    shutil.rmtree(tmp_path / "models" / "a")
    write_random_model(tmp_path / "models" / "a", seed=2, **COARSE)
    assert measured(stop_at=2) == 2
    (kept,) = (tmp_path / "out").iterdir()
    kept.write_text("{")
    assert measured() == 4
    capsys.readouterr()


def test_a_comparison_is_replaced_on_demand_alone(data, tmp_path, capsys, begun):
    write_random_model(tmp_path / "models" / "a", **COARSE)
    out = tmp_path / "out"
    given = words("a", "--data", data, "-o", out)
    assert main(given) == 0
    before = (out / "comparison.html").stat().st_mtime_ns
    capsys.readouterr()
    assert main(given) == 1
    assert "replace them with --overwrite" in refused(capsys)
    assert begun == ["a"]
    assert (out / "comparison.html").stat().st_mtime_ns == before
    assert main([*given, "--overwrite"]) == 0
    assert begun == ["a", "a"]
    assert sorted(p.name for p in out.iterdir()) == REPORT


def test_no_model_runs_for_a_report_that_cannot_be_written(
    data, tmp_path, capsys, begun
):
    write_random_model(tmp_path / "models" / "a")
    out = tmp_path / "out"
    out.write_text("a file")
    assert main(words("a", "--data", data, "-o", out)) == 1
    assert "cannot be written to" in refused(capsys)
    assert begun == []
    assert out.read_text() == "a file"


def test_no_model_runs_where_the_last_case_is_no_good(data, tmp_path, capsys, begun):
    write_random_model(tmp_path / "models" / "a")
    first, *_, last = find_labelled(data).cases
    (tmp_path / "cut.nii.gz").write_bytes(last.image.read_bytes()[:300])
    images = (first.image, tmp_path / "cut.nii.gz")
    items = [{"image": str(image), "label": str(last.label)} for image in images]
    items[0]["label"] = str(first.label)
    listed = write_datalist(tmp_path / "list.json", items)
    assert main(words("a", "--data", listed, "-o", tmp_path / "out")) == 1
    said = refused(capsys)
    assert "1 of 2 cases cannot be used; no model was run." in said
    assert "cut.nii.gz" in said
    assert begun == []
    assert not (tmp_path / "out").exists()


def test_a_ct_that_is_listed_twice_does_not_count_twice(data, tmp_path, capsys, begun):
    write_random_model(tmp_path / "models" / "a")
    first, other, *_ = find_labelled(data).cases
    shutil.copy(first.image, tmp_path / "copy.nii.gz")
    images = (first.image, other.image, tmp_path / "copy.nii.gz")
    labels = (first.label, other.label, first.label)
    items = [
        {"image": str(image), "label": str(label)}
        for image, label in zip(images, labels, strict=True)
    ]
    listed = write_datalist(tmp_path / "list.json", items)
    assert main(words("a", "--data", listed, "-o", tmp_path / "out")) == 1
    said = refused(capsys)
    assert "1 of 3 cases cannot be used" in said
    assert "It is the same CT as '" in said
    assert begun == []


@pytest.mark.parametrize("damaged", ["model/model.safetensors", "folds.json"])
def test_no_model_runs_where_the_last_run_is_damaged(
    data, tmp_path, capsys, begun, damaged
):
    write_random_model(tmp_path / "models" / "a", **COARSE)
    write_random_model(tmp_path / "run" / "model", **COARSE)
    (tmp_path / "run" / damaged).write_bytes(b"{")
    given = ("a", tmp_path / "run", "--data", data, "-o", tmp_path / "out")
    assert main(words(*given)) == 1
    refused(capsys)
    assert begun == []


def test_figures_are_told_be_it_that_they_cannot_be_written(
    data, tmp_path, capsys, begun, monkeypatch
):
    write_random_model(tmp_path / "models" / "a")
    out = tmp_path / "out"

    def in_the_way(found, truth):
        shutil.rmtree(out, ignore_errors=True)
        out.write_text("a file")
        return measure_case(found, truth)

    monkeypatch.setattr(comparison, "measure_case", in_the_way)
    given = words("a", "--data", data, "-o", out)
    assert main([*given, "--json"]) == 1
    said = capsys.readouterr()
    (model,) = json.loads(said.out)["models"]
    assert (model["name"], len(model["cases"]), begun) == ("a", 4, ["a"])
    assert "could not be written" in said.err
    out.unlink()
    assert main(given) == 1
    assert "lesion recall" in capsys.readouterr().out


def test_models_that_call_liver_and_tumour_otherwise_are_compared(
    data, tmp_path, capsys
):
    recipe = "labels: {organ: [Liver], lesion: [cancer]}"
    write_random_model(tmp_path / "models" / "own", recipe=recipe, **COARSE)
    write_random_model(tmp_path / "models" / "plain", **COARSE)
    for runs in (("own", "plain"), ("own",)):
        out = tmp_path / f"out {len(runs)}"
        assert main(words(*runs, "--data", data, "-o", out)) == 0
    with (tmp_path / "out 2" / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    both = [
        [r["tumour_dice"] for r in rows if r["model"] == m] for m in ("own", "plain")
    ]
    assert both[0] == both[1]


def test_what_cannot_be_compared_is_refused_in_a_sentence(data, tmp_path, capsys):
    out = tmp_path / "out"
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "folds.json").write_text("{}")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "classifier.json").write_text("{}")
    write_random_model(tmp_path / "models" / "a")
    recipe = "labels: {organ: [pancreas]}"
    write_random_model(tmp_path / "models" / "b", recipe=recipe)
    write_random_model(tmp_path / "models" / "c", recipe="{")
    for given, said in (
        (("nobody",), "no model 'nobody'"),
        ((tmp_path / "begun",), "has not come to a model yet"),
        ((tmp_path / "pictures",), "is a classifier of pictures"),
        (("a", "b"), "for different labels"),
        (("b",), "names the label 'pancreas'"),
        (("c",), "The recipe that the model 'c' holds cannot be read"),
    ):
        assert main(words(*given, "--data", data, "-o", out)) == 1
        assert said in capsys.readouterr().err
    assert not out.exists()


def test_one_case_has_no_spread_of_differences():
    def reached(name, dice):
        case = OnCase("a", dice, 0.5, 0.9, None, None, None, None, None, 1.0, None)
        return Compared(name, name, 1, 1, "cpu", (case,))

    page = "".join(_parts([reached("one", 0.5), reached("two", 0.75)]))
    assert "<td>+0.250</td><td>–</td><td>1</td><td>0</td>" in page  # noqa: RUF001
    assert "unknown" in page

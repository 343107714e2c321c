"""Models on the same cases: one table, one page, and what was seen in training."""

import csv
import json
import shutil

import pytest

from cli_cases import refused
from napari_liverseg.cli.app import main
from napari_liverseg.inference.decision import decide
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.io.label_map import read_label_map
from napari_liverseg.io.labelled_set import find_labelled
from napari_liverseg.io.open import open_ct
from napari_liverseg.measure.case import measure_case
from napari_liverseg.models.store import find_model
from napari_liverseg.training import comparison
from tiny_model import write_random_model, write_threshold_model
from training_case import make_set, run_tiny, write_datalist


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
    assert not any(case["is_seen"] for case in plain["cases"])
    network = find_model(str(bands)).load_networks()[0]
    assert plain["parameters"] == sum(p.numel() for p in network.parameters())
    _check_figures(plain["cases"], data)
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert "their figures are too good" in page
    assert page.count("Plotly.newPlot") >= 4
    assert 'src="http' not in page
    with (tmp_path / "out" / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["trained_on_it"] for row in rows] == ["1"] * 4 + ["0"] * 4
    assert main(given) == 0
    said = capsys.readouterr().out
    assert "lesion recall" in said
    assert "4 of 4" in said


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


def test_what_cannot_be_compared_is_refused_in_a_sentence(data, tmp_path, capsys):
    out = tmp_path / "out"
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "folds.json").write_text("{}")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "classifier.json").write_text("{}")
    write_random_model(tmp_path / "models" / "a")
    recipe = "labels: {organ: [pancreas]}"
    write_random_model(tmp_path / "models" / "b", recipe=recipe)
    for given, said in (
        (("nobody",), "no model 'nobody'"),
        ((tmp_path / "begun",), "has not come to a model yet"),
        ((tmp_path / "pictures",), "is a classifier of pictures"),
        (("a", "b"), "for different labels"),
        (("b",), "names the label 'pancreas'"),
    ):
        assert main(words(*given, "--data", data, "-o", out)) == 1
        assert said in capsys.readouterr().err
    assert not out.exists()

"""Numbers that break end a training with the model of what was kept, and say so."""

import json

import pytest
import torch

from napari_liverseg.cli import main
from napari_liverseg.models.classifier_spec import find_classifier
from napari_liverseg.models.network import load_network
from napari_liverseg.models.spec import read_spec
from napari_liverseg.models.store import find_model
from napari_liverseg.training.breakdown import (
    BREAKDOWN_FILE,
    Breakdown,
    BrokeDownError,
    note_breakdown,
)
from napari_liverseg.training.compute import Place
from napari_liverseg.training.curves import read_curves
from picture_case import make_pictures, train_tiny
from training_case import Told, make_set, run_tiny, write_recipe

# Each step multiplies the weights by -99,999: the eighth or so is too much for float32.
WILD = {"type": "adamw", "rate": 1.0, "weight_decay": 1e5}
BREAKS = {"optimiser": WILD, "schedule": {"type": "plateau"}, "epochs": 9}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("set") / "set")


def kept(out, fold=1):
    path = out / f"fold_{fold}" / "last.ckpt"
    return torch.load(path, "cpu", weights_only=True)


def test_the_best_network_from_before_becomes_the_model(data, tmp_path, capsys):
    out = tmp_path / "out"
    recipe = write_recipe(tmp_path / "wild.yaml", **BREAKS)
    words = ["train", recipe, "--data", data, "-o", out]
    words = [*map(str, words), "--workers", "0", "--device", "cpu"]
    assert main(words) == 0
    said = capsys.readouterr()
    done = len(read_curves(out / "curves.csv"))
    assert 0 < done < BREAKS["epochs"]
    clause = f"ts training broke down in epoch {done + 1} (the loss is no number)"
    assert f"I{clause}: it is the best one from before." in said.err
    assert "lower the learning rate" in said.err
    assert "It is listed as" in said.out
    model = read_spec(out / "model")
    assert f"not for clinical use; i{clause}" in model.notice
    assert find_model(model.name).sha256 == model.sha256
    for place in ("report.html", "fold_1/model/model.json"):
        assert clause in (out / place).read_text()
    assert [line for line in said.out.splitlines() if line.startswith("liver Dice")]
    best = kept(out)["callbacks"]["Watch"]["best"]
    for name, tensor in load_network(model).state_dict().items():
        assert torch.equal(tensor, best[name]), name
    # What is over is told again, and nothing is trained on.
    assert main([*words, "--resume"]) == 0
    assert clause in capsys.readouterr().err
    assert len(read_curves(out / "curves.csv")) == done


# After an epoch with a look at held-out cases, and within one without any.
@pytest.mark.parametrize(("step", "looks"), [(4, True), (2, False)])
def test_going_on_makes_the_model_of_a_fold_that_another_process_saw_break(
    data, tmp_path, step, looks
):
    out = tmp_path / "out"
    run_tiny(data, out, Told(stop_after=step), epochs=50, folds=2)
    before = kept(out)
    assert bool(before["callbacks"]["Watch"]["best"]) == looks
    note_breakdown(out / "fold_1", Breakdown(2, "the loss is no number"))
    again = {"epochs": 50, "folds": 2, "minutes": 0.01}
    trained = run_tiny(data, out, order={"resume": True}, **again)
    assert trained.broke_down[0] == (
        "The training of fold 1 broke down in epoch 2 (the loss is no number): its "
        "network is the best one from before."
    )
    network = load_network(read_spec(out / "fold_1" / "model")).state_dict()
    state = before["state_dict"]
    last = {n: state[f"average.{n}"] for n in network}
    wanted = before["callbacks"]["Watch"]["best"] if looks else last
    assert all(torch.equal(network[name], wanted[name]) for name in network)
    assert kept(out)["global_step"] == step
    assert "fold 1 broke down" in read_spec(out / "model").notice


def test_one_of_several_processes_notes_it_and_ends(data, tmp_path, monkeypatch):
    out = tmp_path / "out"
    run_tiny(data, out, Told(stop_after=3), **BREAKS)
    monkeypatch.setattr(Place, "world", 2)
    with pytest.raises(BrokeDownError, match="broke down in epoch") as refusal:
        run_tiny(data, out, order={"resume": True}, **BREAKS)
    assert "--resume: it makes a model" in refusal.value.next_step
    assert json.loads((out / "fold_1" / BREAKDOWN_FILE).read_text())["epoch"] > 1
    assert run_tiny(data, out, order={"resume": True}, **BREAKS).model is not None


def test_a_classifier_too_is_the_best_one_from_before(tmp_path):
    pictures = make_pictures(tmp_path / "pictures")
    result = train_tiny(pictures, tmp_path / "out", optimiser=WILD)
    clause = "ts training broke down in epoch "
    assert result.broke_down[0].startswith(f"I{clause}")
    spec = find_classifier(result.name)
    assert f"not for clinical use; i{clause}" in spec.notice
    assert clause in (tmp_path / "out" / "report.html").read_text()
    again = train_tiny(
        pictures, tmp_path / "out", order={"resume": True}, optimiser=WILD
    )
    assert again.broke_down == result.broke_down
    assert again.name == result.name

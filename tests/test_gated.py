"""Two stages in one model: the gate, the U-Net behind it, and how both are judged."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_liverseg.cli.app import main
from napari_liverseg.core.errors import ModelError
from napari_liverseg.io.labelled_set import find_labelled
from napari_liverseg.measure import roc
from napari_liverseg.models.backbone import build_backbone
from napari_liverseg.models.classifier_spec import ResNetSpec
from napari_liverseg.models.gated_spec import GatedSpec
from napari_liverseg.models.network import build_network, load_network, save_model
from napari_liverseg.models.spec import read_spec
from napari_liverseg.models.store import find_model, user_folder
from napari_liverseg.training import segmentation
from napari_liverseg.training.card import draft
from napari_liverseg.training.caseload import check_cases
from napari_liverseg.training.compute import Place
from napari_liverseg.training.folds import Folds
from napari_liverseg.training.gate_exam import CaseSlices, slice_probabilities
from napari_liverseg.training.gate_findings import GateFindings, gate_figures
from napari_liverseg.training.gate_report import gate_parts
from napari_liverseg.training.objective import gate_loss, make_loss
from napari_liverseg.training.order import Order
from napari_liverseg.training.planar_recipe import PlanarRecipe
from napari_liverseg.training.prepared_case import Reading
from napari_liverseg.training.pretrained import pretrained
from napari_liverseg.training.recipe import changed, read_recipe
from napari_liverseg.training.start import start_of
from napari_liverseg.training.train import train
from test_resnet_unet import TINY_NET
from test_unet2d import TINY2D
from tiny_model import tiny_spec, write_own_two_stage
from training_case import Told, make_set

GATED = {**TINY_NET, "type": "gated-resunet", "gate_depth": 10, "gate_width": 0.125}
TINY_GATED = {**TINY2D, "name": "tiny-gated", "patch": [1, 32, 32], "network": GATED}
FEW = {"folds": 2, "epochs": 2, "steps_per_epoch": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("set") / "set")


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_LIVERSEG_MODELS", str(out.parent / "models"))
        patch.setattr(roc, "DRAWS", 50)
        run(data, out, **FEW)
    return out


def run(data, out, told=None, *, order=None, **changes):
    recipe = PlanarRecipe.model_validate({**TINY_GATED, **changes})
    order = Order(data, out, Place("cpu", workers=0), **(order or {}))
    return train(recipe, order, (told or Told()).ears)


def gated(bias, **changes):
    """Return a network whose gate says the same of every slice."""
    network = build_network(GatedSpec.model_validate({**GATED, **changes})).eval()
    with torch.no_grad():
        head = network.net.gate.head
        head.weight.zero_()
        head.bias.fill_(bias)
    return network


def test_an_open_gate_gives_what_the_unet_gives():
    network, windows = gated(bias=5.0), torch.rand(2, 1, 3, 32, 64) * 2 - 1
    with torch.no_grad():
        found = network(windows)
        alone = network.net.unet(network.slices(windows))
    assert found.shape == (2, 3, 3, 32, 64)
    wanted = alone.reshape(2, 3, 3, 32, 64).transpose(1, 2)
    assert torch.equal(found, wanted)
    with torch.no_grad():
        never = gated(bias=-5.0, cut_off=0.0)
        never.load_state_dict(
            {**network.state_dict(), "net.gate.head.bias": torch.tensor([-5.0])}
        )
        assert torch.equal(never(windows), wanted)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_a_closed_gate_leaves_the_liver_and_takes_the_tumour(kind):
    network, windows = gated(bias=-5.0), torch.rand(1, 1, 2, 32, 32) * 2 - 1
    network.net.unet.head.bias.data[2] += 5  # tumour nearly everywhere
    with torch.no_grad(), torch.autocast("cpu", kind, enabled=kind != torch.float32):
        closed = network(windows).float()
        network.net.cut_off = 0.0
        opened = network(windows).float()
    assert bool((opened.argmax(1) == 2).any())
    assert not bool((closed.argmax(1) == 2).any())
    assert bool(torch.isfinite(closed).all())
    before, after = opened.softmax(1), closed.softmax(1)
    assert float(after[:, 2].max()) * 255 < 0.5
    loose = 1e-4 if kind == torch.float32 else 0.05
    inside = before[:, 1:].sum(1)
    torch.testing.assert_close(after[:, 1:].sum(1), inside, rtol=0, atol=loose)


def test_each_slice_has_its_own_gate():
    network = gated(bias=0.0)
    windows = torch.rand(1, 1, 4, 32, 32) * 2 - 1
    with torch.no_grad():
        network.net.gate.head.weight.normal_()
        shares = network.net.probability(network.slices(windows))
        network.net.cut_off = float(shares.median())
        opened = shares >= network.net.cut_off
        found = network(windows)
        alone = network.net.unet(network.slices(windows)).transpose(0, 1)
    assert 0 < int(opened.sum()) < 4
    assert torch.equal(found[0][:, opened], alone[:, opened])
    assert not bool((found[0][:, ~opened].argmax(0) == 2).any())


def test_one_closed_window_does_not_outvote_an_open_one_that_is_sure():
    sure = torch.tensor([0.0, 0.0, 12.0])
    closed = torch.tensor([0.0, 12.0, 2.0])
    assert int((0.7 * sure + 0.3 * closed).argmax()) == 2
    assert int((0.3 * sure + 0.7 * closed).argmax()) == 1


def spots(count=8):
    """Return windows and labels; half of the slices bear a bright tumour."""
    rng = torch.Generator().manual_seed(0)
    windows = 0.1 * torch.randn(count, 1, 1, 32, 32, generator=rng)
    labels = torch.zeros(count, 1, 1, 32, 32, dtype=torch.uint8)
    labels[..., 4:28, 4:28] = 1
    labels[::2, ..., 8:14, 16:22] = 2
    return windows + 0.5 * (labels == 2), labels


def test_both_stages_learn_from_the_same_patches_and_neither_through_the_other():
    recipe = PlanarRecipe.model_validate(TINY_GATED)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = build_network(recipe.network)
    loss, (windows, labels) = make_loss(recipe, recipe.network), spots()
    alone = make_loss(recipe, changed(recipe, network=TINY_NET).network)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        given = network(windows)
        assert given.shape == (8, 4, 1, 32, 32)
        both = loss(given, labels)
        where, whether = (
            alone(given[:, :3], labels),
            gate_loss(given[:, 3, :, 0, 0], labels),
        )
        torch.testing.assert_close(both, where + whether)
        losses.append((where.item(), whether.item()))
        optimiser.zero_grad()
        both.backward()
        optimiser.step()
    assert losses[-1][0] < losses[0][0]
    assert losses[-1][1] < 0.7 * losses[0][1]
    network.zero_grad()
    gate_loss(network(windows)[:, 3, :, 0, 0], labels).backward()
    assert all(
        p.grad is None or not p.grad.any() for p in network.net.unet.parameters()
    )
    assert any(p.grad.any() for p in network.net.gate.parameters())


def test_a_patch_bears_tumour_when_any_voxel_does():
    labels = torch.zeros(2, 1, 3, 4, 4)
    labels[0, 0, 1, 2, 3] = 2
    labels[1, 0, 2] = 1
    said = torch.full((2, 3), -20.0)
    said[0, 1] = 20.0
    assert float(gate_loss(said, labels)) < 1e-6
    assert float(gate_loss(-said, labels)) > 10


def test_it_trains_by_folds_and_predicts_as_any_model(data, trained, monkeypatch):
    monkeypatch.setenv("NAPARI_LIVERSEG_MODELS", str(trained.parent / "models"))
    (name,) = (folder.name for folder in (trained.parent / "models").iterdir())
    model = find_model(name)
    assert isinstance(model.network, GatedSpec)
    assert (model.networks, model.network.cut_off) == (2, 0.5)
    assert "looks for tumour only in slices" in model.notice
    image = str(find_labelled(data).cases[0].image)
    out = str(trained.parent / "mask")
    assert main(["segment", image, "-o", out, "--model", name, "--device", "cpu"]) == 0


def test_both_stages_are_judged_on_the_held_out_cases(trained):
    held_out = json.loads((trained / "folds.json").read_text())["held_out"]
    shown = 0
    for number, names in enumerate(held_out, start=1):
        folder = trained / f"fold_{number}"
        rows = json.loads((folder / "slices.json").read_text())
        assert [row["case"] for row in rows] == names
        for row in rows:
            assert len(row["probabilities"]) == len(row["bears"]) > 0
            assert all(0 < share < 1 for share in row["probabilities"])
            shown += len(row["bears"])
        left_open = json.loads((folder / "gate-open" / "held_out.json").read_text())
        assert [row["case"] for row in left_open] == names
    figures = {f.what: f for f in read_spec(trained / "model").figures}
    assert f"{shown} slices with liver" in figures["slice AUC"].source
    assert "cut-off 0.5" in figures["slice sensitivity"].source
    assert "95 % interval" in figures["slice specificity"].source
    assert {"tumour Dice", "tumour Dice, gate left open"} <= set(figures)
    page = (trained / "report.html").read_text()
    for text in ("does a slice bear tumour", "ROC", "Confidence in", "gate left open"):
        assert text in page


def test_a_fold_keeps_what_its_gate_says_of_each_slice(data, trained, tmp_path):
    model = read_spec(trained / "fold_1" / "model")
    reading = Reading({1: 1, 2: 2}, (0, 1, 2), model.spacing_mm)
    cases = check_cases(
        find_labelled(data), reading, tmp_path, lambda *_: None, lambda: False
    )
    rows = json.loads((trained / "fold_1" / "slices.json").read_text())
    case, network = cases[rows[0]["case"]], load_network(model)
    said = slice_probabilities(network, model, case)
    assert said.tolist() == rows[0]["probabilities"]
    # By hand: a slice that a window holds whole is one picture with air around it.
    shows = np.flatnonzero((case.labels >= 1).any(axis=(1, 2)))
    _, rows_, columns = case.labels.shape
    assert max(rows_, columns) <= 32
    low, high = model.hu_window
    hu = torch.from_numpy(np.array(case.hu[shows[0]])).float().clip(low, high)
    picture = torch.zeros(1, 1, 32, 32)
    top, left = (32 - rows_) // 2, (32 - columns) // 2
    picture[0, 0, top : top + rows_, left : left + columns] = (hu - low) / (high - low)
    with torch.no_grad():
        wanted = float(network.net.probability(picture))
    assert said[0] == pytest.approx(wanted, abs=1e-5)


def test_a_stopped_training_ends_as_an_uninterrupted_one(
    data, trained, tmp_path, monkeypatch
):
    # The model alone: measuring it takes longer.
    monkeypatch.setattr(segmentation, "_measure_fold", lambda *_: True)
    told, out = Told(stop_after=3), tmp_path / "out"
    assert run(data, out, told, order={"fold": 0}, **FEW).was_stopped
    run(data, out, order={"fold": 0, "resume": True}, **FEW)
    ours, theirs = (
        load_network(read_spec(one / "fold_1" / "model")).state_dict()
        for one in (out, trained)
    )
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name


def test_a_model_of_its_own_layers_is_a_start(trained):
    recipe = PlanarRecipe.model_validate(TINY_GATED)
    assert start_of(changed(recipe, start=str(trained / "model"))) is not None
    other = changed(recipe, network=TINY_NET, start=str(trained / "model"))
    with pytest.raises(ModelError, match="other layers"):
        start_of(other)


@pytest.mark.slow
def test_it_begins_from_a_model_of_its_own_and_is_compared(
    data, trained, tmp_path, capsys
):
    few = {"folds": 1, "epochs": 1, "steps_per_epoch": 1}
    run(data, tmp_path / "out", start=str(trained / "model"), **few)
    assert "begun from" in read_spec(tmp_path / "out" / "model").training_data
    words = [str(trained), str(tmp_path / "out"), "--data", str(data)]
    words += ["-o", str(tmp_path / "comparison"), "--device", "cpu"]
    assert main(["compare", *words]) == 0
    assert "tumour Dice" in capsys.readouterr().out


def test_what_a_gate_is_worth_is_measured_as_the_model_runs(data, trained, tmp_path):
    two = write_own_two_stage(user_folder() / "two")
    shutil.rmtree(two / "close")
    shutil.copytree(trained / "model", two / "close")
    spec = json.loads((two / "close" / "model.json").read_text())
    spec["network"]["cut_off"] = 0.0  # open, and so worth nothing
    (two / "close" / "model.json").write_text(json.dumps(spec))
    few = {"folds": 1, "epochs": 1, "steps_per_epoch": 1}
    few["network"] = {**GATED, "cut_off": 0.0}
    run(data, tmp_path / "out", start="two", **few)
    fold = tmp_path / "out" / "fold_1"
    with_gate, left_open = (
        json.loads((fold / name / "held_out.json").read_text())
        for name in ("", "gate-open")
    )
    assert with_gate == left_open


def test_both_encoders_begin_from_one_file_where_their_layers_are_the_same(tmp_path):
    given = build_backbone(ResNetSpec(depth=10, width=0.125)).net.state_dict()
    file = tmp_path / "weights.safetensors"
    save_file(given, file)
    recipe = PlanarRecipe.model_validate({**TINY_GATED, "weights": str(file)})
    net = pretrained(recipe, 0).net
    for encoder in (net.unet.encoder, net.gate.backbone):
        for name, value in encoder.net.state_dict().items():
            torch.testing.assert_close(value, given[name])
    other = changed(recipe, network={**GATED, "gate_width": 0.25})
    net = pretrained(other, 0).net
    assert torch.equal(net.unet.encoder.net.conv1.weight, given["conv1.weight"])


def test_a_file_of_another_network_is_refused_before_cases_are_read(data, tmp_path):
    file = tmp_path / "wide.safetensors"
    save_file(build_backbone(ResNetSpec(depth=10, width=0.25)).net.state_dict(), file)
    with pytest.raises(ModelError, match="do not fit"):
        run(data, tmp_path / "out", weights=str(file))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cut_off": 1.5}, "cut_off"),
        ({"gate_depth": 20}, "gate_depth"),
        ({"gate_width": 0}, "gate_width"),
        ({"channels": [4, 4]}, "strides"),
        ({"gate": "open"}, "gate"),
    ],
)
def test_what_does_not_fit_together_is_refused(change, said):
    recipe = PlanarRecipe.model_validate(TINY_GATED)
    with pytest.raises(ModelError, match=said):
        changed(recipe, network={**GATED, **change})


def test_a_spec_survives_its_file_and_a_cut_off_may_be_changed_there(tmp_path):
    network = GatedSpec.model_validate({**GATED, "cut_off": 0.25})
    spec = tiny_spec(network=network, patch=(1, 32, 32))
    save_model(build_network(network), spec, tmp_path / "model")
    assert read_spec(tmp_path / "model").network == network
    file = tmp_path / "model" / "model.json"
    content = json.loads(file.read_text())
    content["network"]["cut_off"] = 0.75
    file.write_text(json.dumps(content))
    assert load_network(read_spec(tmp_path / "model")).net.cut_off == 0.75


@pytest.mark.parametrize(
    ("bears", "said", "missing"),
    [
        ((True, True), "Every slice bears tumour", "slice specificity"),
        ((False, False), "No slice bears tumour", "slice sensitivity"),
    ],
)
def test_slices_of_one_kind_have_no_roc_and_are_told_in_words(bears, said, missing):
    slices = (CaseSlices("a", "a", 1, (0.2, 0.9), bears),)
    spec = draft(PlanarRecipe.model_validate(TINY_GATED), None)
    findings = GateFindings(spec, slices, ())
    page = "".join(gate_parts(findings, []))
    assert said in page
    assert "there is no ROC" in page
    whats = {f.what for f in gate_figures(findings, Folds((("a",),), ("a",), 1, ""))}
    assert missing not in whats
    assert "slice AUC" not in whats
    assert len(whats) == 1


def test_the_bundled_recipe_has_two_networks_of_the_same_layers():
    network = read_recipe("two-stage").network
    assert isinstance(network, GatedSpec)
    assert network.gate == network.encoder
    assert network.cut_off == 0.5


@pytest.mark.slow
def test_the_bundled_recipe_trains(data, tmp_path):
    recipe = read_recipe("two-stage").model_dump()
    few = {"folds": 1, "epochs": 1, "steps_per_epoch": 2, "batch": 2, "overlap": 0.0}
    few["network"] = {**recipe["network"], "width": 0.25, "gate_width": 0.25}
    result = run(data, tmp_path / "out", **{**recipe, **few})
    assert find_model(result.name).network.gate_depth == 34

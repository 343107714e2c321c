"""Two models as one: what they say together, how they run, and which are refused."""

import json
from pathlib import Path
from statistics import mean

import numpy as np
import pytest
import torch

from napari_liverseg.cli import main
from napari_liverseg.core.errors import CancelledError, ModelError
from napari_liverseg.core.geometry import Geometry, Reorientation
from napari_liverseg.core.progress import ignore_progress, never_cancelled
from napari_liverseg.core.volume import CTVolume
from napari_liverseg.inference import pipeline
from napari_liverseg.inference.decision import decide
from napari_liverseg.inference.doubts import NO_LIVER
from napari_liverseg.inference.joining import join, join_slices
from napari_liverseg.inference.native_grid import NativeBelief
from napari_liverseg.inference.options import Listener, RunOptions
from napari_liverseg.inference.pipeline import run_pipeline
from napari_liverseg.inference.plan import Plan, make_plan
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.inference.windows import Step
from napari_liverseg.models.kinds import read_model
from napari_liverseg.models.proof import prove
from napari_liverseg.models.store import find_model
from napari_liverseg.models.two_stage import TwoStage, in_liver_of, read_two_stage
from tiny_model import write_threshold_model, write_two_stage

SHAPE, SPACING = (40, 60, 70), (3.0, 3.0, 3.0)
LIVER = (slice(10, 30), slice(18, 40), slice(12, 44))
TUMOUR = (slice(16, 22), slice(25, 31), slice(20, 27))
ELSEWHERE = (slice(16, 22), slice(46, 52), slice(20, 27))


def _volume(with_liver=True):
    hu = np.full(SHAPE, -1000, np.int16)
    hu[:, 8:55, 6:64] = 0
    if with_liver:
        hu[LIVER] = 100
        hu[TUMOUR] = hu[ELSEWHERE] = 190
    grid = Geometry(SHAPE, SPACING, (-100.0, 5.0, 9.0))
    return CTVolume(hu, grid, grid, Reorientation(), "case", "0f")


def _write(folder, liver="both", **changes):
    """Write a finder of 6 mm and a second model of 1.5 mm that knows the tumour."""
    write_threshold_model(
        folder / "coarse",
        spacing_mm=(6.0, 6.0, 6.0),
    )
    write_threshold_model(
        folder / "close", spacing_mm=(1.5, 3.0, 3.0), patch=(16, 24, 24)
    )
    given = {"name": "two", "finder": "coarse", "detail": "close", "liver": liver}
    return write_two_stage(folder, **{**given, **changes})


@pytest.fixture(params=["both", "finder"])
def model(tmp_path, request):
    return read_model(_write(tmp_path / "two", request.param))


def test_the_plan_counts_what_the_first_stage_keeps(model, monkeypatch):
    plans = []

    def watched(*facts):
        plans.append(make_plan(*facts))
        return plans[-1]

    monkeypatch.setattr(pipeline, "make_plan", watched)
    predictor, options = Predictor(model, "cpu"), RunOptions()
    both = run_pipeline(predictor, _volume(), options, ignore_progress, never_cancelled)
    first = run_pipeline(
        predictor.coarse, _volume(), options, ignore_progress, never_cancelled
    )
    kept = 3 * first.belief.decision.size
    assert kept > 0
    assert both.plan.ram_bytes == plans[1].ram_bytes + 2 * kept


def test_two_models_are_joined_on_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("NAPARI_LIVERSEG_MODELS", str(tmp_path / "models"))
    _write(tmp_path / "by-hand")
    stages = [str(tmp_path / "by-hand" / name) for name in ("coarse", "close")]
    assert main(["models", "join", *stages, "--name", "ours"]) == 0
    assert "ours" in capsys.readouterr().out
    joined, by_hand = find_model("ours"), read_model(tmp_path / "by-hand")
    assert (joined.sha256, joined.liver) == (by_hand.sha256, "both")
    assert main(["models", "join", *stages, "--name", "ours"]) == 1
    assert "There is a model 'ours' already" in capsys.readouterr().err
    (tmp_path / "taken").mkdir()
    (tmp_path / "file").touch()
    for place in ("taken", "file/inside"):
        words = ["--name", "more", "-o", str(tmp_path / place)]
        assert main(["models", "join", *stages, *words]) == 1
        assert "Choose" in capsys.readouterr().err
    assert main(["models", "join", *stages, "--name", "../ours"]) == 1
    assert not (tmp_path / "ours").exists()
    capsys.readouterr()
    assert main(["models", "join", "ours", "starter-3mm", "--name", "more"]) == 1
    assert "of two stages already" in capsys.readouterr().err
    fine = tmp_path / "fine"
    write_threshold_model(fine, name="fine", spacing_mm=(1.0, 1.0, 1.0))
    swapped = [str(fine), "starter-3mm", "--name", "more"]
    assert main(["models", "join", *swapped]) == 1
    assert "Give the coarser model first" in capsys.readouterr().err
    assert not (tmp_path / "models" / "more").exists()


def _belief(box, liver, tumour, decision):
    shape = [side.stop - side.start for side in box]
    parts = (np.full(shape, value, np.uint8) for value in (liver, tumour, decision))
    return NativeBelief(*parts, box)


def test_the_liver_is_the_mean_of_both_and_holds_the_tumour():
    box = (slice(2, 4), slice(0, 3), slice(5, 6))
    # Where the finder sees no liver at all there is no tumour either.
    for first, second, label in (
        (0, 255, 0), (1, 255, 2), (50, 192, 0), (51, 192, 1), (255, 64, 0),
        (255, 65, 2),
    ):  # fmt: skip
        found = join(_belief(box, first, 0, 1), _belief(box, second, 255, 2), "both")
        closer, equal = (first + 2 * second) // 3, (first + second) // 2
        expected = closer if first >= 51 else min(equal, closer)
        assert found.liver.max() == expected
        assert found.tumour.max() == min(204, equal, closer)
        np.testing.assert_array_equal(found.decision, label)
    for first, second, label in ((0, 160, 2), (0, 159, 1), (255, 96, 1), (255, 97, 2)):
        found = join(_belief(box, 255, first, 1), _belief(box, 255, second, 1), "both")
        np.testing.assert_array_equal(found.decision, label)


def test_the_finders_liver_takes_the_tumours_of_the_second():
    box = (slice(2, 4), slice(0, 3), slice(5, 6))
    found = join(_belief(box, 30, 0, 0), _belief(box, 200, 200, 2), "finder")
    np.testing.assert_array_equal(found.decision, 2)
    np.testing.assert_array_equal(found.liver, 200)
    found = join(_belief(box, 140, 0, 1), _belief(box, 90, 90, 0), "finder")
    np.testing.assert_array_equal(found.decision, 1)
    np.testing.assert_array_equal(found.liver, 140)


def test_beliefs_in_boxes_that_differ_are_laid_where_they_belong():
    one = _belief((slice(0, 4), slice(2, 5), slice(1, 3)), 240, 0, 1)
    other = _belief((slice(2, 6), slice(3, 9), slice(0, 2)), 150, 0, 0)
    found = join(one, other, "both")
    assert found.box == (slice(0, 6), slice(2, 9), slice(0, 3))
    expected = np.zeros((6, 9, 3), int)
    expected[2:6, 3:9, 0:2] = 150 // 2
    expected[0:4, 2:5, 1:3] = 240 // 3
    expected[2:4, 3:5, 1:2] = (240 + 2 * 150) // 3
    np.testing.assert_array_equal(found.liver, expected[:, 2:])
    np.testing.assert_array_equal(found.decision, expected[:, 2:] > 127)
    assert set(np.unique(found.decision)) == {0, 1}
    part = join_slices(one, other, "both")
    assert part.box == (slice(2, 6), slice(2, 9), slice(0, 3))
    np.testing.assert_array_equal(part.liver, found.liver[2:])
    apart = _belief((slice(8, 9), slice(2, 5), slice(1, 3)), 240, 0, 1)
    assert not join_slices(apart, other, "both").decision.any()


@pytest.mark.parametrize("look", ["liver", "body", "everywhere"])
def test_the_second_looks_where_the_first_found_the_liver(model, look):
    predictor = Predictor(model, "cpu")
    found = predictor.predict(_volume(), options=RunOptions(look=look))
    labels = decide(found).labels
    truth = np.zeros(SHAPE, np.uint8)
    truth[LIVER], truth[TUMOUR] = 1, 2
    inner = (slice(None), slice(0, 44), slice(None))
    assert (labels[inner] == truth[inner]).mean() > 0.98
    assert set(np.unique(labels[TUMOUR])) == {2}
    assert not labels[ELSEWHERE].any()  # it does not touch the liver
    assert found.run.model_sha256 == model.sha256
    assert found.run.look == look


def test_without_a_liver_the_second_is_not_run(model):
    predictor = Predictor(model, "cpu")
    windows = []
    predictor.networks[0].register_forward_pre_hook(lambda *_: windows.append(1))
    found = predictor.predict(_volume(with_liver=False))
    assert found.run.notes == (NO_LIVER,)
    assert not decide(found).labels.any()
    assert windows == []
    assert found.run.model_sha256 == model.sha256


def test_slices_that_are_shown_early_are_those_of_both(model):
    shown = np.full(SHAPE, 9, np.uint8)

    def show(labels, box):
        shown[box] = labels

    listener = Listener(on_partial=show)
    found = Predictor(model, "cpu").predict(_volume(), listener=listener)
    final = np.zeros(SHAPE, np.uint8)
    final[found.box] = found.decision
    seen = shown != 9
    assert seen[LIVER].mean() > 0.9
    np.testing.assert_array_equal(shown[seen], final[seen])


class _Starved(torch.nn.Module):
    """A network for which memory runs out at its first window."""

    def __init__(self, network):
        super().__init__()
        self.network, self.calls = network, 0

    def forward(self, windows):
        self.calls += windows.device.type != "meta"
        if self.calls == 1 and windows.device.type != "meta":
            raise torch.OutOfMemoryError
        return self.network(windows)


def test_what_the_first_stage_has_to_say_is_told(model, monkeypatch):
    falling = (Step("cpu", 2, "cpu"), Step("cpu", 1, "cpu"))
    monkeypatch.setattr(Plan, "steps", lambda self: falling)
    predictor = Predictor(model, "cpu")
    predictor.coarse.networks = (_Starved(predictor.coarse.networks[0]),)
    found = predictor.predict(_volume())
    assert "ran out: windows were run one at a time" in found.run.notes[0]


def test_it_stops_in_either_stage(model):
    predictor = Predictor(model, "cpu")
    texts = []

    def note(done, total, text):
        texts.append(text)

    for part in ("Looking for the liver", "Segmenting"):
        texts.clear()
        with pytest.raises(CancelledError):
            predictor.predict(
                _volume(), note, lambda part=part: any(part in t for t in texts)
            )
        assert any(part in text for text in texts)


def test_both_models_are_proven_and_named(model, tmp_path):
    proof = prove(model)
    assert proof.networks == 2
    assert "Finds the liver:" in model.card
    assert model.detail.card in model.card
    assert isinstance(model, TwoStage)
    assert model.finder.name == "coarse"
    other = in_liver_of(model.finder, model.detail)
    assert (other.name, other.folder) == ("close", model.detail.folder)


def test_its_parts_may_lie_beside_it(tmp_path):
    folder = _write(tmp_path / "two")
    (folder / "coarse").rename(tmp_path / "coarse")
    assert read_two_stage(folder).finder.folder == tmp_path / "coarse"


def _nested(folder):
    _write(folder / "close2")
    return {"detail": "close2"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"detail": "../close"}, "detail"),
        ({"detail": "/etc"}, "detail"),
        ({"finder": "nobody"}, "neither in it nor beside"),
        ({"liver": "neither"}, "liver"),
        ({"more": 1}, "more"),
        ({"name": "No Name"}, "name"),
        (_nested, "two stages itself"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, change, reason):
    folder = tmp_path / "two"
    folder.mkdir()
    change = change(folder) if callable(change) else change
    with pytest.raises(ModelError, match=reason):
        read_model(_write(folder, **change))


def test_a_file_that_is_none_is_refused(tmp_path):
    folder = _write(tmp_path / "two")
    (folder / "two-stage.json").write_text("[" * 10_000)
    with pytest.raises(ModelError, match="not JSON"):
        read_model(folder)


def test_the_card_of_the_starter_tells_what_was_measured_of_it():
    results = Path(__file__).parent.parent / "benchmarks/results/starter.json"
    measured = json.loads(results.read_text(encoding="utf-8"))
    starter = find_model("starter")
    assert measured["model_sha256"] == starter.sha256
    cases = {case["case"]: case for case in measured["cases"]}
    phantoms = [case for name, case in cases.items() if name.startswith("phantom")]
    healthy = [case for name, case in cases.items() if name.startswith("healthy")]
    real = cases["abdomen-dicom-j2k"]
    livers = [case["liver_dice"] for case in phantoms]
    assert {figure.what: figure.value for figure in starter.figures} == {
        "liver Dice, mean": round(mean(livers), 3),
        "liver Dice, lowest": round(min(livers), 3),
        "tumour Dice, mean": round(mean(c["tumour_dice"] for c in phantoms), 3),
        "share of tumours that are touched, mean": round(
            mean(c["lesion_recall_any"] for c in phantoms), 3
        ),
        "tumour invented, ml, the most": max(c["invented_tumour_ml"] for c in healthy),
        "liver Dice": round(real["liver_dice"], 3),
        "tumour invented in that CT, ml": real["invented_tumour_ml"],
    }

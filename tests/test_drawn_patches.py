"""Drawn patches: by number, from phantoms or public anatomies, mixed with cases."""

import itertools

import numpy as np
import pytest
import torch
import yaml

from napari_liverseg.cli import main
from napari_liverseg.core.errors import CaseError, ModelError
from napari_liverseg.core.segmentation import LIVER, TUMOUR
from napari_liverseg.models.network import load_network
from napari_liverseg.models.spec import read_spec
from napari_liverseg.synthesis.sample import PatchGrid, Sample, _draw_centre
from napari_liverseg.synthesis.tissue import Tissue
from napari_liverseg.training import drawn_patches
from napari_liverseg.training.card import draft
from napari_liverseg.training.compute import Place
from napari_liverseg.training.drawn_patches import DrawnPatches, even_workers
from napari_liverseg.training.loss import liver_tumour_loss
from napari_liverseg.training.patches import Numbers, Patches
from napari_liverseg.training.prepared_case import PreparedCase
from napari_liverseg.training.recipe import changed, read_recipe, with_settings
from napari_liverseg.training.segmentation_recipe import Drawn
from training_case import Told, make_set, run_tiny

SMALL = PatchGrid((32, 32, 32), (9.0, 9.0, 9.0))
COARSE = Drawn(phantom_mm=9.0)
MIXED = {
    "drawn": {"share": 0.5, "phantom_mm": 15.0, "cases": 0.3},
    "loss": "liver-tumour",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("set") / "set")


@pytest.fixture
def few(monkeypatch):
    """Keep few phantoms, so that drawing takes no time."""
    monkeypatch.setattr(drawn_patches, "LANES", 2)
    monkeypatch.setattr(drawn_patches, "VARIANTS", 2)


@pytest.mark.usefixtures("few")
def test_a_number_means_the_same_patch_wherever_drawing_begins():
    first, other = (DrawnPatches(COARSE, SMALL, (1, 0), 8) for _ in range(2))
    for number in range(4):
        first[number]
    for one, same in zip(first[5], other[5], strict=True):
        assert torch.equal(one, same)
        assert one.shape == (1, *SMALL.shape)
    assert not torch.equal(first[5][0], first[6][0])
    assert not torch.equal(first[5][0], DrawnPatches(COARSE, SMALL, (1, 1), 8)[5][0])
    assert [part.dtype for part in first[5]] == [
        torch.float32,
        torch.uint8,
        torch.uint8,
    ]


@pytest.mark.usefixtures("few")
def test_public_anatomies_are_drawn_when_a_folder_is_given(monkeypatch, tmp_path):
    made = []
    body = drawn_patches.phantom_body(np.random.default_rng(0), 9.0)
    for kind in ("scan", "atlas"):
        monkeypatch.setattr(
            drawn_patches,
            f"{kind}_body",
            lambda *_, kind=kind: made.append(kind) or body,
        )
    drawn = DrawnPatches(Drawn(phantom_mm=9.0, public=str(tmp_path)), SMALL, (1,), 30)
    for number in range(30):
        drawn[number]
    assert {"scan", "atlas"} <= set(made)


def test_cases_are_drawn_with_their_ct_and_their_tumours(tmp_path, monkeypatch):
    # None is planted, and no scan is so thin that it shows none of the case's own.
    monkeypatch.setattr("napari_liverseg.synthesis.sample.TUMOUR_COUNTS", (1.0,))
    whole = np.zeros(1, bool)
    monkeypatch.setattr("napari_liverseg.synthesis.sample.cut_field", lambda *_: whole)
    shape = (40, 40, 40)
    labels = np.zeros(shape, np.uint8)
    labels[10:30, 10:30, 10:30] = LIVER
    labels[16:24, 16:24, 16:24] = TUMOUR
    hu = np.full(shape, -1000, np.int16)
    hu[4:36, 4:36, 4:36] = 30
    hu[labels == LIVER], hu[labels == TUMOUR] = 100, 60
    np.save(tmp_path / "hu.npy", hu)
    np.save(tmp_path / "labels.npy", labels)
    case = PreparedCase(None, tmp_path, "key")
    grid = PatchGrid(shape, (3.0, 3.0, 3.0))
    drawn = Drawn(cases=1.0, inside=1.0)
    patches = DrawnPatches(drawn, grid, (1, 0), 8, [case])
    for number in range(8):
        seen, found, _ = (part[0].numpy() for part in patches[number])
        assert set(np.unique(found)) == {0, LIVER, TUMOUR}
        body = seen > -300
        assert body.mean() < 0.6, "its CT, and not the inside of an abdomen drawn anew"
        assert (found[~body] == 0).mean() > 0.99
    body = patches._make("case", 0)
    assert np.array_equal(body.tumour, labels == TUMOUR)
    assert np.array_equal(body.tissues == Tissue.LIVER, labels > 0)
    assert (body.tissues[(hu > -1000) & (labels == 0)] == Tissue.MUSCLE).mean() > 0.95


def test_few_cases_are_held_at_a_time_and_all_have_their_turn(monkeypatch):
    monkeypatch.setattr(drawn_patches, "LANES", 4)
    monkeypatch.setattr(drawn_patches, "PATCHES_PER_PHANTOM", 2)
    monkeypatch.setattr(DrawnPatches, "_make", lambda _, kind, which: (kind, which))
    drawn = DrawnPatches(Drawn(cases=1.0), SMALL, (1,), 8, [None] * 11)
    seen = []
    for number in range(24):
        seen.append(drawn._draw_body(number, np.random.default_rng(number)))
        assert len(drawn._cases) <= drawn_patches.MOST_CASES
    assert set(seen) == {("case", which) for which in range(11)}


@pytest.mark.parametrize(
    ("batch", "workers", "world"), [(2, 8, 1), (2, 4, 2), (4, 8, 1)]
)
def test_drawing_processes_share_no_phantom(monkeypatch, batch, workers, world):
    body = drawn_patches.phantom_body(np.random.default_rng(0), 9.0)
    made = []
    steps = 100  # of an epoch; the loader begins each with its first process
    for rank, worker in itertools.product(range(world), range(workers)):
        monkeypatch.setattr(
            DrawnPatches,
            "_make",
            lambda *given, who=(rank, worker): made.append((given[2], who)) or body,
        )
        patches = DrawnPatches(COARSE, SMALL, (1, 0), steps * batch * world)
        for epoch in range(12):
            numbers = Numbers(steps, batch, rank, world, epoch * steps)
            for place, number in enumerate(numbers):
                if place // batch % workers == worker:
                    patches._draw_body(number, np.random.default_rng(number))
    assert len(made) == len(set(made)), "none is drawn twice by a process"
    assert len(made) == len({which for which, _ in made}), "nor by two of them"
    assert len(made) > 2 * drawn_patches.LANES


def test_processes_that_draw_divide_the_lanes():
    assert [even_workers(n) for n in (0, 1, 3, 15, 16)] == [0, 1, 2, 8, 16]
    assert all(drawn_patches.LANES % even_workers(n) == 0 for n in range(1, 17))


@pytest.mark.parametrize(
    ("cores", "devices", "tasks", "each", "drawing"),
    [
        (2, 1, 1, "", 1),
        (16, 1, 1, "", 15),
        (64, 1, 1, "", 16),
        (1, 1, 1, "", 0),
        (32, 1, 4, "", 7),
        (8, 1, 4, "8", 7),  # srun has bound each of them to cores of its own
        (32, 1, 4, "8", 7),
        (32, 4, 1, "32", 7),  # of one task all
    ],
)
def test_processes_that_train_share_the_cores(
    monkeypatch, cores, devices, tasks, each, drawing
):
    monkeypatch.setattr("napari_liverseg.training.compute.usable_cores", lambda: cores)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", str(tasks))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", each)
    assert Place("cpu", devices).drawing == drawing


def test_each_anatomy_has_its_share(monkeypatch, tmp_path):
    drawn = {"share": 0.75, "phantom_mm": 9.0, "public": str(tmp_path)}
    recipe = changed(read_recipe("liver3d"), drawn=drawn)
    kinds, nothing = list(drawn_patches.SHARES), np.zeros((1, 1, 1), np.uint8)
    monkeypatch.setattr(DrawnPatches, "_make", lambda _, kind, __: kind)
    monkeypatch.setattr(
        drawn_patches,
        "draw_sample",
        lambda kind, *_: Sample(nothing + kinds.index(kind), nothing, nothing > 0),
    )
    cut = torch.full((1,), len(kinds)), torch.zeros(1)
    monkeypatch.setattr(Patches, "_cut", lambda *_: cut)
    patches = Patches([], SMALL, recipe, 0)
    seen = np.array([int(patches[n][0].flatten()[0]) for n in range(4000)])
    assert np.mean(seen < len(kinds)) == pytest.approx(0.75, abs=0.03)
    seen = seen[seen < len(kinds)]
    for kind, share in drawn_patches.SHARES.items():
        assert np.mean(seen == kinds.index(kind)) == pytest.approx(share, abs=0.03)


def test_a_folder_without_public_anatomies_is_refused_before_a_case_is_read(tmp_path):
    (tmp_path / "atlas").mkdir()
    (tmp_path / "atlas" / "names.ctbl").touch()
    with pytest.raises(CaseError, match=r"lacks abdomen-3mm.ct\.nii\.gz.*labels\.nrrd"):
        run_tiny(tmp_path, tmp_path / "out", drawn={"public": str(tmp_path)})


def test_samples_from_inside_are_centred_in_the_liver():
    rng = np.random.default_rng(5)
    body = drawn_patches.phantom_body(rng, 9.0)
    for _ in range(20):
        centre = _draw_centre(body, rng, inside_share=1.0)
        voxel = tuple(np.rint(centre / 9.0).astype(int))
        assert body.tissues[voxel] == Tissue.LIVER


def test_loss_falls_towards_zero_for_a_right_answer_alone():
    labels, right = _truth()
    wrong = torch.roll(right, 1, dims=1)
    assert liver_tumour_loss(right, labels) < 1e-3
    assert liver_tumour_loss(wrong, labels) > 5


def test_an_error_where_places_count_more_costs_more_and_a_right_answer_none():
    labels, right = _truth()
    places = torch.ones_like(labels)
    places[..., 2:4] = 3
    wrong = right.clone()
    wrong[..., 2:4] = right[..., 4:6]
    assert liver_tumour_loss(wrong, labels, places) > liver_tumour_loss(wrong, labels)
    assert liver_tumour_loss(right, labels, places) < 1e-3


def _truth():
    labels = torch.zeros(1, 1, 8, 8, 8, dtype=torch.uint8)
    labels[..., 2:6, 2:6, 2:6] = 1
    labels[..., 3:5, 3:5, 3:5] = 2
    return labels, 20.0 * torch.nn.functional.one_hot(labels[:, 0].long(), 3).movedim(
        -1, 1
    )


@pytest.mark.usefixtures("few")
def test_drawn_patches_and_cases_train_together_and_resume(data, tmp_path):
    run_tiny(data, tmp_path / "whole", **MIXED)
    run_tiny(data, tmp_path / "parts", Told(stop_after=4), **MIXED)
    run_tiny(data, tmp_path / "parts", order={"resume": True}, **MIXED)
    one, other = (read_spec(tmp_path / out / "model") for out in ("whole", "parts"))
    for name, tensor in load_network(one).state_dict().items():
        assert torch.equal(tensor, load_network(other).state_dict()[name]), name
    said = "50% of its images drawn: phantoms, its CTs, altered"
    assert said in one.training_data


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("loss", ["dice", "dice+cross-entropy"])
def test_drawn_patches_train_with_losses_that_weigh_no_places(data, tmp_path, loss):
    short = {**MIXED, "loss": loss, "epochs": 1, "steps_per_epoch": 2}
    told = Told()
    run_tiny(data, tmp_path / "out", told, **short)
    assert np.isfinite(told.epochs[0].loss)


def test_a_model_that_is_handed_on_names_no_folder_of_its_maker():
    drawn = {"share": 0.5, "public": "/home/jane/cases"}
    recipe = changed(read_recipe("liver3d-detail"), drawn=drawn)
    kept = yaml.safe_load(draft(recipe, None).recipe)
    assert kept["drawn"]["public"] == "cases"
    assert kept["start"] == "starter-3mm"
    pictures = read_recipe("slice-classifier")
    weights = {"type": "resnet", "weights": r"C:\Users\jane\resnet18.pth"}
    said = changed(pictures, start=None, backbone=weights).for_card()
    assert said["backbone"]["weights"] == "resnet18.pth"
    assert "jane" in recipe.as_yaml(), "to go on, the run's own file needs all of it"


def test_the_recipes_of_the_starter_are_whole():
    finder, detail = read_recipe("liver3d"), read_recipe("liver3d-detail")
    assert finder.network == detail.network
    assert detail.start == "starter-3mm"
    with pytest.raises(ModelError, match="drawn images show livers"):
        changed(finder, labels={"organ": ["pancreas"]})


@pytest.mark.slow
def test_the_recipes_of_the_starter_train_and_predict(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(drawn_patches, "LANES", 2)
    data = tmp_path / "set"
    words = ["phantoms", "-o", data, "--count", "3", "--voxel-mm", "5"]
    assert main([str(word) for word in words]) == 0
    short = ["--set", "epochs=1", "--set", "steps_per_epoch=4", "--workers", "0"]
    start = []
    for recipe in ("liver3d", "liver3d-detail"):
        words = ["train", recipe, "--data", data, "-o", tmp_path / recipe]
        words += ["--device", "cpu", *short, *start]
        assert main([str(word) for word in words]) == 0, capsys.readouterr().err
        start = ["--from", tmp_path / recipe / "model"]
    detail = read_spec(tmp_path / "liver3d-detail" / "model")
    assert detail.spacing_mm == (1.5, 1.5, 1.5)
    assert detail.post_processing.smallest_tumour_ml == 0.1
    assert "75% of its images drawn" in detail.training_data
    assert "liver Dice" in detail.card  # it predicted a case that it never saw


def test_settings_of_a_command_line_change_a_recipe():
    words = ["optimiser.rate=1e-4", "drawn.public=some/folder", "batch=4"]
    recipe = with_settings(read_recipe("liver3d"), words)
    assert recipe.optimiser.rate == 1e-4
    assert recipe.drawn.public == "some/folder"
    assert recipe.batch == 4


@pytest.mark.parametrize(
    "words", ["batches=4", "batch", "batch.size=4", "batch=four", "batch=[", "a.b=1"]
)
def test_a_setting_that_does_not_fit_is_refused(words):
    with pytest.raises(ModelError):
        with_settings(read_recipe("unet3d"), [words])


def test_phantoms_are_drawn_into_a_retraining_set(tmp_path, capsys):
    out = tmp_path / "set"
    words = ["phantoms", "-o", str(out), "--count", "2", "--voxel-mm", "13"]
    assert main(words) == 0
    assert len(list((out / "imagesTr").glob("*.nii.gz"))) == 2
    assert main(words) == 1
    assert "is in the retraining set already" in capsys.readouterr().err

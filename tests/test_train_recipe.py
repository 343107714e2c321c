"""A recipe is checked before it is trained, and its alterations do what they say."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_liverseg.core.errors import DeviceError, ModelError
from napari_liverseg.core.probabilities import PostProcessing
from napari_liverseg.models.spec import ModelSpec
from napari_liverseg.training.alter import Alterer
from napari_liverseg.training.augmentation import Augmentation
from napari_liverseg.training.card import draft, structures
from napari_liverseg.training.compute import Place, precision_for
from napari_liverseg.training.launch import processes, rank_in
from napari_liverseg.training.learner import Learner
from napari_liverseg.training.objective import make_loss
from napari_liverseg.training.pace import Pace
from napari_liverseg.training.patches import Numbers, cut
from napari_liverseg.training.recipe import bundled_recipes, changed, read_recipe
from napari_liverseg.training.segmentation_recipe import SegmentationRecipe
from napari_liverseg.training.start import start_of
from tiny_model import write_random_model
from training_case import EVERYTHING, tiny_recipe, write_recipe

PATCH = (12, 16, 20)


def test_the_bundled_recipes_make_models():
    assert {"unet3d", "quick"} <= set(bundled_recipes())
    for name in bundled_recipes():
        recipe = read_recipe(name)
        assert recipe.name == name
        if not isinstance(recipe, SegmentationRecipe):
            continue
        spec = draft(recipe, start_of(recipe))
        assert "not for clinical use" in spec.notice
        assert recipe.augmentation.flipping.probability == 0


def test_a_recipe_survives_its_file(tmp_path):
    recipe = read_recipe(write_recipe(tmp_path / "r.yaml"))
    (tmp_path / "again.yaml").write_text(recipe.as_yaml())
    assert read_recipe(tmp_path / "again.yaml") == recipe


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "nonsense"}, "its kind is 'nonsense'"),
        ({"kind": ["segmentation-3d"]}, "its kind is"),
        ({"epochs": 0}, "epochs"),
        ({"augmentation": {"noise": {"probability": 2}}}, "augmentation.noise"),
        ({"augmentation": {"blur": {"sigma": [2, 1]}}}, "sigma must rise"),
        ({"augmentation": {"scaling": {"factor": [0, 1]}}}, "augmentation.scaling"),
        ({"augmentation": {"elastic": {"sigma": [0, 1]}}}, "augmentation.elastic"),
        ({"augmentation": {"resolution": {"factor": [-1, 1]}}}, "resolution"),
        ({"labels": {"lesion": ["cyst"]}}, "labels: organ must be named"),
        ({"labels": {"organ": ["A"], "lesion": ["a"]}}, "both organ and lesion"),
        ({"hu_window": [float("-inf"), 240]}, "hu_window.0: .* finite"),
        ({"optimiser": {"rate": float("inf")}}, "optimiser.rate: .* finite"),
        ({"augmentation": {"noise": {"sd_hu": float("inf")}}}, "sd_hu: .* finite"),
        ({"patch": None}, "must be given"),
        ({"learning": 3}, "learning"),
    ],
)
def test_a_recipe_that_is_none_is_refused_by_what_is_wrong(tmp_path, changes, said):
    with pytest.raises(ModelError, match=said):
        read_recipe(write_recipe(tmp_path / "r.yaml", **changes))


def test_axes_may_be_named_in_any_order():
    for axes in (("z", "y"), ("y", "x"), ("x", "y")):
        flipping = {"flipping": {"probability": 1.0, "axes": axes}}
        once, _ = altered(0, **flipping)
        flips = ["zyx".index(axis) + 1 for axis in axes]
        assert torch.equal(once, altered(0)[0].flip(flips))


def test_an_unknown_recipe_and_a_wrong_value_name_the_choice():
    with pytest.raises(ModelError, match="unet3d"):
        read_recipe("nothing")
    with pytest.raises(ModelError, match="folds"):
        changed(read_recipe("unet3d"), folds=99)


def test_a_patch_that_the_network_cannot_halve_is_refused():
    with pytest.raises(ModelError, match="multiples of 2"):
        draft(tiny_recipe(patch=[7, 8, 8]), None)


def test_a_start_must_be_of_our_kind_and_have_the_layers(tmp_path):
    cleaning = PostProcessing(smallest_tumour_ml=0.3)
    folder = write_random_model(
        tmp_path / "first", overlap=0.4, post_processing=cleaning, tumour_weight=3.0
    )
    quick = changed(read_recipe("quick"), start=str(folder))
    start = start_of(quick)
    assert isinstance(start.model, ModelSpec)
    spec = draft(quick, start)
    kept = ("patch", "spacing_mm", "network", "overlap", "post_processing")
    for field in (*kept, "tumour_weight"):
        assert getattr(spec, field) == getattr(start.model, field)
    assert draft(changed(quick, loss="liver-tumour"), start).tumour_weight == 2.0
    assert draft(tiny_recipe(), None).tumour_weight == 1.0
    with pytest.raises(ModelError, match="has other layers"):
        start_of(tiny_recipe(start=str(folder)))


def altered(seed, **given):
    alterer = Alterer(Augmentation.model_validate(given), PATCH)
    rng = np.random.default_rng(seed)
    plan = alterer.plan(rng)
    z, y, x = np.indices(plan.shape, dtype=np.float32)
    hu = 10 * z + 3 * y + x
    labels = (x > plan.shape[2] / 2 + 4).astype(np.uint8)
    return alterer.alter(hu, labels, plan)


def test_the_same_seed_alters_alike_and_no_global_state_is_touched():
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    for seed in range(4):
        first, second = altered(seed, **EVERYTHING), altered(seed, **EVERYTHING)
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1])
        assert first[0].shape == first[1].shape == (1, *PATCH)
        assert (first[0].dtype, first[1].dtype) == (torch.float32, torch.uint8)
        assert type(first[0]) is torch.Tensor
    assert not torch.equal(altered(1, **EVERYTHING)[0], altered(2, **EVERYTHING)[0])
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("way", sorted(EVERYTHING))
def test_each_alteration_changes_the_image_when_it_is_asked_for(way):
    untouched = altered(0)[0]
    assert torch.equal(untouched, altered(0, **{way: {"probability": 0.0}})[0])
    more = {"factor": [0.7, 0.8]} if way == "scaling" else {}
    hu, labels = altered(0, **{way: {"probability": 1.0, **more}})
    assert not torch.allclose(hu, untouched)
    assert set(labels.unique().tolist()) == {0, 1}
    moves = way in ("rotation", "scaling", "flipping", "elastic")
    assert torch.equal(labels, altered(0)[1]) is not moves


def test_scaling_by_a_factor_enlarges_by_it():
    larger = {"scaling": {"probability": 1.0, "factor": [2.0, 2.0]}}
    hu, _ = altered(0, **larger)
    slope = (hu[0, 6, 8, 12] - hu[0, 6, 8, 8]) / 4
    assert float(slope) == pytest.approx(0.5, abs=0.02)


def test_an_elastic_deformation_moves_voxels_as_far_as_it_says():
    way = {"probability": 1.0, "sigma": [2.0, 2.0], "shift": [1.0, 1.0]}
    alterer = Alterer(Augmentation.model_validate({"elastic": way}), (40, 40, 40))
    plan = alterer.plan(np.random.default_rng(0))
    x = np.indices(plan.shape, dtype=np.float32)[2]
    moved, _ = alterer.alter(x, x.astype(np.uint8), plan)
    inside = (slice(8, 32),) * 3
    shift = moved[0] - torch.arange(40.0) - (plan.shape[2] - 40) / 2
    assert float(shift[inside].std()) == pytest.approx(1.0, rel=0.2)


def test_the_first_slice_of_a_case_is_learnt_from_be_it_turned_or_not():
    kinds = ("rotation", "scaling", "elastic")
    ways = {name: {**EVERYTHING[name], "probability": 1.0} for name in kinds}
    alterer = Alterer(Augmentation.model_validate(ways), (1, 24, 32))
    hu = np.full((5, 40, 50), 300.0, np.float32)
    labels = np.full((5, 40, 50), 2, np.uint8)
    hu[0], labels[0] = 100.0, 1
    case = SimpleNamespace(hu=hu, labels=labels)
    for seed in range(5):
        plan = alterer.plan(np.random.default_rng(seed))
        seen, named = alterer.alter(*cut(case, np.array([0, 20, 25]), plan.shape), plan)
        assert seen.shape == named.shape == (1, 1, 24, 32)
        assert torch.allclose(seen, torch.tensor(100.0))
        assert (named == 1).all()


def test_patch_numbers_go_on_anywhere_and_are_shared_by_processes():
    whole = Numbers(3, 2, 0, 1, 0)
    first_epoch = list(whole)
    whole.set_epoch(1)
    assert [*first_epoch, *whole] == list(range(12))
    late = Numbers(3, 2, 0, 1, first_step=4)
    late.set_epoch(1)
    assert list(late) == list(range(8, 12))
    late.set_epoch(2)
    assert list(late) == list(range(12, 18))
    both = [n for rank in (0, 1) for n in Numbers(3, 2, rank, 2, 0)]
    assert sorted(both) == list(range(12))


@pytest.mark.parametrize(
    ("loss", "weight"), [("dice+cross-entropy", 2.0), ("liver-tumour", 1.0)]
)
def test_a_loss_sees_what_a_run_will_make_of_the_answer(tmp_path, loss, weight):
    folder = write_random_model(tmp_path / "first", tumour_weight=2.0)
    recipe = changed(read_recipe("quick"), start=str(folder), loss=loss)
    learner = Learner(recipe, draft(recipe, start_of(recipe)), 0)
    assert learner.spec.output.tumour_weight == 2.0
    logits = torch.randn(2, 3, 4, 5, 6)
    excess = (logits - learner._as_taught(logits)).exp()
    torch.testing.assert_close(excess[:, 2], torch.full_like(excess[:, 2], weight))
    assert torch.equal(excess[:, :2], torch.ones_like(excess[:, :2]))


def test_both_losses_fall_towards_zero_for_a_right_answer():
    labels = torch.zeros(1, 1, 8, 8, 8, dtype=torch.uint8)
    labels[:, :, 2:6, 2:6, 2:6] = 1
    labels[:, :, 3:5, 3:5, 3:5] = 2
    right = 20.0 * torch.nn.functional.one_hot(labels[:, 0].long(), 3).movedim(-1, 1)
    for name in ("dice", "dice+cross-entropy"):
        recipe = tiny_recipe(loss=name)
        loss = make_loss(recipe, recipe.network)
        assert float(loss(right, labels)) < 1e-3
        assert float(loss(torch.roll(right, 1, 1), labels)) > 0.9


def test_number_formats_are_taken_only_where_the_device_has_them():
    assert precision_for("auto", "cpu") == "32-true"
    assert precision_for("fp32", "mps") == "32-true"
    for wanted, kind in (("fp16", "cpu"), ("bf16", "mps")):
        with pytest.raises(DeviceError, match=wanted):
            precision_for(wanted, kind)


def test_processes_are_counted_as_whoever_started_them_says():
    torchrun = {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}
    assert processes(torchrun, 1) == (4, 2)
    job = {"SLURM_NTASKS": "6", "SLURM_NNODES": "3", "SLURM_PROCID": "5"}
    slurm = {**job, "SLURM_STEP_NUM_TASKS": "6"}
    assert processes(slurm, 1) == (2, 3)
    assert rank_in(slurm) == 5
    assert processes({"SLURM_STEP_NUM_TASKS": "1"}, 2) == (2, 1)
    # A batch script is one process, for however many the job has room.
    assert processes(job, 2) == (2, 1)
    assert rank_in(job) == 0
    within = {**slurm, **torchrun, "RANK": "7"}
    assert processes(within, 1) == (4, 2)
    assert rank_in(within) == 7
    assert rank_in({"RANK": "3", "LOCAL_RANK": "1"}) == 3
    assert rank_in({}) == 0


def test_a_clock_begins_when_all_processes_are_there(monkeypatch):
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    pace = Pace(100, minutes=12.0)
    pace.start()
    now += 60 * 11  # while the first process measured the fold before
    assert pace.share(0) > 0.9
    pace.start()
    assert pace.share(0) == 0
    now += 60 * 6
    assert pace.share(0) == 0.5
    assert not pace.is_over


def test_a_gpu_that_is_not_there_is_refused_by_its_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert Place("cuda:1").one == "cuda:1"
    with pytest.raises(DeviceError, match="'cuda:2' is not there") as refusal:
        Place("cuda:2").one  # noqa: B018
    assert "cuda:0 to cuda:1" in refusal.value.next_step


def test_what_began_from_another_organs_model_still_is_one(tmp_path):
    labels = {"organ": ["spleen"], "lesion": ["cyst"]}
    spleen = draft(tiny_recipe(labels=labels), None)
    first = write_random_model(tmp_path / "first", recipe=spleen.recipe)
    quick = changed(read_recipe("quick"), start=str(first))
    spec = draft(quick, start_of(quick))
    assert structures(spec) == ("spleen", "cyst")
    assert "what is shown as liver is spleen" in spec.notice
    other = changed(quick, labels={"organ": ["kidney"]})
    assert "what is shown as liver is kidney" in draft(other, start_of(other)).notice


def test_a_model_of_another_organ_says_what_is_shown_as_liver():
    spec = draft(tiny_recipe(labels={"organ": ["spleen"], "lesion": ["cyst"]}), None)
    assert structures(spec) == ("spleen", "cyst")
    assert "what is shown as liver is spleen" in spec.notice
    assert structures(draft(tiny_recipe(), None)) == ("liver", "tumour")

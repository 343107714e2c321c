"""The 2-D U-Net: slices alone, balanced, trained for real, run like any model."""

import numpy as np
import pytest
import torch

from napari_liverseg.core.errors import ModelError
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.inference.runner import Recipe as Way
from napari_liverseg.inference.runner import Runner
from napari_liverseg.io.labelled_set import find_labelled
from napari_liverseg.io.open import open_ct
from napari_liverseg.models.backbone import build_backbone, encoder_weights
from napari_liverseg.models.classifier_spec import EncoderSpec
from napari_liverseg.models.network import build_network, save_model
from napari_liverseg.models.spec import NetworkSpec, read_spec
from napari_liverseg.models.store import find_model
from napari_liverseg.synthesis.sample import PatchGrid
from napari_liverseg.training.caseload import check_cases
from napari_liverseg.training.compute import Place
from napari_liverseg.training.order import Order
from napari_liverseg.training.patches import Patches
from napari_liverseg.training.planar_recipe import PlanarRecipe
from napari_liverseg.training.prepared_case import Reading
from napari_liverseg.training.recipe import changed, read_recipe
from napari_liverseg.training.train import train
from tiny_model import tiny_spec
from training_case import EVERYTHING, TINY, Told, make_set

FLAT = {"channels": [4, 8], "strides": [2], "num_res_units": 0, "norm": "batch"}
FLAT |= {"dimensions": 2, "dropout": 0.1}
TINY2D = {
    **TINY,
    "kind": "segmentation-2d",
    "name": "tiny2d",
    "patch": [1, 16, 16],
    "network": FLAT,
    "loss": "dice",
    "optimiser": {"type": "adam", "rate": 1e-2},
    "schedule": {"type": "plateau", "patience": 1},
    "sampling": {"lesion": 0.5, "organ": 0.5},
    "batch": 4,
    "ema": None,
    "augmentation": {
        **EVERYTHING,
        "rotation": {"probability": 0.5, "degrees": [15, 0, 0]},
        "resolution": {"probability": 0.5, "factor": [0.6, 1.0]},
    },
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("set") / "set")


def run(data, out, told=None, *, order=None, **changes):
    recipe = PlanarRecipe.model_validate({**TINY2D, **changes})
    wanted = Order(data, out, Place("cpu", workers=0), **(order or {}))
    return train(recipe, wanted, (told or Told()).ears)


def test_each_slice_is_seen_by_itself_and_from_zero_to_one():
    network = build_network(NetworkSpec(**{**FLAT, "norm": "instance"})).eval()
    windows = torch.rand(2, 1, 3, 16, 24) * 2 - 1
    with torch.no_grad():
        whole = network(windows)
        assert whole.shape == (2, 3, 3, 16, 24)
        for place in range(3):
            alone = network.net((windows[:, :, place] + 1) / 2)
            torch.testing.assert_close(whole[:, :, place], alone)


def test_a_network_for_slices_runs_in_every_layout():
    network = build_network(NetworkSpec(**FLAT)).eval()
    windows = torch.rand(2, 1, 1, 16, 24)
    plain = Runner((network,)).to("cpu")(windows)
    last = Runner((network,), recipe=Way(channels_last=True)).to("cpu")(windows)
    torch.testing.assert_close(plain, last, rtol=1e-4, atol=1e-4)


def test_half_of_the_patches_bear_tumour_and_the_others_show_liver_without(
    data, tmp_path
):
    found = find_labelled(data)
    reading = Reading({1: 1, 2: 2}, (0, 1, 2), (9.0, 9.0, 9.0))
    cases = check_cases(found, reading, tmp_path, lambda *_: None, lambda: False)
    recipe = PlanarRecipe.model_validate({**TINY2D, "augmentation": {}})
    # So large that each patch is its whole slice.
    grid = PatchGrid((1, 64, 64), (9.0, 9.0, 9.0))
    drawn = Patches(tuple(cases.values()), grid, recipe, 0)
    labels = [drawn[number][1] for number in range(200)]
    tumour = np.array([bool((one == 2).any()) for one in labels])
    liver = np.array([bool((one >= 1).any()) for one in labels])
    assert 0.4 < tumour.mean() < 0.6
    assert liver.all()


def test_it_trains_and_predicts_as_any_model_of_the_plugin(data, tmp_path):
    told = Told()
    result = run(data, tmp_path / "out", told, epochs=4, steps_per_epoch=6)
    losses = [epoch.loss for epoch in told.epochs]
    assert losses[-1] < losses[0]
    model = find_model(result.name)
    assert model.windows.patch == (1, 16, 16)
    assert any(figure.what == "tumour Dice" for figure in model.figures)
    volume = open_ct(find_labelled(data).cases[0].image)
    options = RunOptions(look="body", tune=False)
    believed = Predictor(model, "cpu").predict(volume, options=options)
    assert believed.tumour.dtype == np.uint8
    assert believed.tumour.shape == believed.liver.shape


def test_its_encoder_begins_a_classifier(tmp_path):
    network = NetworkSpec(**{**FLAT, "norm": "instance", "dropout": 0.0})
    save_model(
        build_network(network),
        tiny_spec(network=network, patch=(1, 16, 16)),
        tmp_path / "flat",
    )
    model = read_spec(tmp_path / "flat")
    backbone = build_backbone(EncoderSpec(network=network))
    backbone.load_state_dict(encoder_weights(model))
    planar = model.load_networks()[0]
    picture = torch.rand(1, 1, 16, 16)
    inner = planar.net.model
    with torch.no_grad():
        deep = inner[1].submodule(inner[0](picture * 2 - 1)).mean(dim=(2, 3))
        torch.testing.assert_close(backbone(picture), deep)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"patch": [2, 16, 16]}, "one slice high"),
        ({"network": {**FLAT, "dimensions": 3}}, "dimensions must be 2"),
        ({"augmentation": {"resolution": {"probability": 1.0}}}, "above 0.5"),
    ],
)
def test_what_is_not_for_slices_is_refused(change, said):
    recipe = PlanarRecipe.model_validate(TINY2D)
    with pytest.raises(ModelError, match=said):
        changed(recipe, **change)


def test_a_patch_that_the_network_cannot_halve_is_refused(data, tmp_path):
    with pytest.raises(ModelError, match="multiples of 2"):
        run(data, tmp_path / "out", patch=[1, 15, 16])


def test_the_bundled_recipe_is_for_slices_of_256():
    recipe = read_recipe("unet2d")
    assert recipe.patch == (1, 256, 256)
    assert recipe.network.dropout > 0
    assert (recipe.loss, recipe.optimiser.type) == ("dice", "adam")
    assert recipe.schedule.type == "plateau"
    assert recipe.early_stopping is not None


@pytest.mark.slow
def test_the_bundled_recipe_trains(data, tmp_path):
    recipe = read_recipe("unet2d").model_dump()
    few = {"folds": 1, "epochs": 2, "steps_per_epoch": 4, "batch": 2}
    result = run(data, tmp_path / "out", **{**recipe, **few})
    assert find_model(result.name).network.dimensions == 2

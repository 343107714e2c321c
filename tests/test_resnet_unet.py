"""The U-Net with a residual encoder: its weights by file, its training, its figures."""

import pytest
import torch
from safetensors.torch import save_file

from napari_liverseg.core.errors import ModelError
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.io.labelled_set import find_labelled
from napari_liverseg.io.open import open_ct
from napari_liverseg.models.backbone import build_backbone
from napari_liverseg.models.classifier_spec import ResNetSpec
from napari_liverseg.models.network import build_network
from napari_liverseg.models.resunet_spec import ResUNetSpec
from napari_liverseg.models.store import find_model
from napari_liverseg.training.planar_recipe import PlanarRecipe
from napari_liverseg.training.pretrained import pretrained
from napari_liverseg.training.recipe import changed, read_recipe
from test_unet2d import TINY2D, run
from training_case import Told, make_set

TINY_NET = {"type": "resnet-unet", "depth": 10, "width": 0.125}
TINY_NET |= {"channels": [4, 4, 8, 8, 8]}
CHANGES = {"patch": [1, 32, 32], "network": TINY_NET, "name": "tiny-resunet"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("set") / "set")


@pytest.mark.parametrize("depth", [18, 50])
def test_the_network_gives_a_logit_for_every_voxel(depth):
    spec = ResUNetSpec(type="resnet-unet", depth=depth, width=0.125)
    network = build_network(spec).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 1, 2, 32, 64)).shape == (1, 3, 2, 32, 64)


def test_it_trains_by_folds_from_a_file_and_predicts_as_any_model(data, tmp_path):
    encoder = build_backbone(ResNetSpec(depth=10, width=0.125))
    file = tmp_path / "resnet10.safetensors"
    save_file(encoder.net.state_dict(), file)
    few = {"folds": 2, "epochs": 2, "steps_per_epoch": 2, "weights": str(file)}
    result = run(data, tmp_path / "out", **CHANGES, **few)
    model = find_model(result.name)
    assert isinstance(model.network, ResUNetSpec)
    assert model.networks == 2
    whats = {figure.what for figure in model.figures}
    assert {"liver IoU", "tumour IoU", "tumour Dice", "tumour voxel accuracy"} <= whats
    volume = open_ct(find_labelled(data).cases[0].image)
    options = RunOptions(look="body", tune=False)
    believed = Predictor(model, "cpu").predict(volume, options=options)
    assert believed.tumour.shape == believed.liver.shape


def test_the_first_weights_are_those_of_the_file(tmp_path):
    given = build_backbone(ResNetSpec(depth=10, width=0.125)).net.state_dict()
    file = tmp_path / "weights.pth"
    torch.save(given, file)
    recipe = PlanarRecipe.model_validate({**TINY2D, **CHANGES, "weights": str(file)})
    first, second = (pretrained(recipe, fold).net for fold in (0, 1))
    for name, value in first.encoder.net.state_dict().items():
        torch.testing.assert_close(value, given[name])
    assert not torch.equal(first.head.weight, second.head.weight)


def test_weights_that_were_exchanged_are_noticed_when_training_goes_on(data, tmp_path):
    file, out = tmp_path / "resnet10.safetensors", tmp_path / "out"
    first, other = (
        build_backbone(ResNetSpec(depth=10, width=0.125)).net.state_dict()
        for _ in range(2)
    )
    save_file(first, file)
    given = {**CHANGES, "folds": 2, "steps_per_epoch": 2, "weights": str(file)}
    run(data, out, Told(stop_after=1), epochs=2, **given)
    save_file(other, file)
    again = {"epochs": 2, "order": {"resume": True}, **given}
    with pytest.raises(ModelError, match="began from is another one now"):
        run(data, out, **again)
    save_file(first, file)
    result = run(data, out, **again)
    told = "encoder begun from the weights 'resnet10.safetensors'"
    assert told in find_model(result.name).card


def test_a_file_that_does_not_fit_is_refused_before_cases_are_read(data, tmp_path):
    with pytest.raises(ModelError, match="no file of weights"):
        run(data, tmp_path / "out", **CHANGES, weights=str(tmp_path / "none.pth"))
    file = tmp_path / "wide.safetensors"
    save_file(build_backbone(ResNetSpec(depth=10, width=0.25)).net.state_dict(), file)
    with pytest.raises(ModelError, match="do not fit"):
        run(data, tmp_path / "out", **CHANGES, weights=str(file))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"network": {**TINY_NET, "channels": [4, 4]}}, "strides"),
        ({"network": TINY2D["network"], "weights": "x.pth"}, "type resnet-unet"),
        ({"network": {**TINY_NET, "depth": 51}}, "depth"),
    ],
)
def test_what_does_not_fit_together_is_refused(change, said):
    recipe = PlanarRecipe.model_validate({**TINY2D, **CHANGES})
    with pytest.raises(ModelError, match=said):
        changed(recipe, **change)


def test_a_patch_that_the_encoder_cannot_halve_is_refused(data, tmp_path):
    with pytest.raises(ModelError, match="multiples of 32"):
        run(data, tmp_path / "out", **{**CHANGES, "patch": [1, 16, 32]})


def test_the_bundled_recipe_has_fifty_layers():
    recipe = read_recipe("resnet50-unet")
    assert isinstance(recipe.network, ResUNetSpec)
    assert (recipe.network.depth, recipe.folds) == (50, 5)


@pytest.mark.slow
def test_the_bundled_recipe_trains(data, tmp_path):
    recipe = read_recipe("resnet50-unet").model_dump()
    few = {"folds": 1, "epochs": 1, "steps_per_epoch": 2, "batch": 2}
    result = run(data, tmp_path / "out", **{**recipe, **few})
    assert find_model(result.name).network.depth == 50

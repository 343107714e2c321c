"""ImageNet weights are fetched for the word alone, once, by their hash, or refused."""

import contextlib
import hashlib
import io
import json
import shutil
import socket

import pytest
import torch
import yaml

from cli_cases import refused
from file_server import serving
from napari_liverseg.cli import main
from napari_liverseg.core.errors import ModelError
from napari_liverseg.models import download
from napari_liverseg.models.backbone import build_backbone
from napari_liverseg.models.classifier_spec import ResNetSpec, find_classifier
from napari_liverseg.models.network import load_network
from napari_liverseg.models.spec import read_spec
from napari_liverseg.training import hub_weights, planar_recipe
from napari_liverseg.training.classifier_recipe import ClassifierRecipe
from napari_liverseg.training.compute import Place
from napari_liverseg.training.hub_weights import FILES, HubFile, weights_file
from napari_liverseg.training.order import Order
from napari_liverseg.training.planar_recipe import PlanarRecipe
from napari_liverseg.training.pretrained import pretrained
from napari_liverseg.training.recipe import changed
from napari_liverseg.training.train import train
from picture_case import TINY as TINY_PICTURES
from picture_case import make_pictures, train_tiny
from test_unet2d import TINY2D
from training_case import Told, make_set

NETWORK = {"type": "resnet-unet", "depth": 18, "channels": [4, 4, 8, 8, 8]}
RECIPE = {**TINY2D, "patch": [1, 32, 32], "network": NETWORK, "weights": "hub"}
RECIPE |= {"name": "from-hub", "folds": 2, "epochs": 1, "steps_per_epoch": 2}
NARROW = {**RECIPE, "network": {**NETWORK, "width": 0.125}}
SMALL = {"conv1.weight": torch.arange(6.0)}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """Where torch keeps files; empty, and nothing is fetched from its real address."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(hub_weights, "ADDRESS", f"http://127.0.0.1:{_free_port()}")
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def site(monkeypatch):
    with serving() as site:
        monkeypatch.setattr(hub_weights, "ADDRESS", site.address)
        yield site


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("set") / "set")


@pytest.fixture(scope="module")
def imagenet():
    """Weights as torchvision publishes them, of the whole size."""
    return _as_published(width=1.0)


@pytest.fixture
def narrow(monkeypatch):
    """Weights of a network that trains in seconds, and recipes that take them."""
    monkeypatch.setattr(planar_recipe, "refuse_unpublished", lambda *_: None)
    return _as_published(width=0.125)


def _as_published(width):
    """Return parameters, in colour, with a last layer, and without counters."""
    tensors = build_backbone(ResNetSpec(depth=18, width=width)).net.state_dict()
    first = tensors["conv1.weight"].shape[0]
    tensors["conv1.weight"] = torch.randn(first, 3, 7, 7) / 50
    tensors |= {"fc.weight": torch.zeros(1000, 8 * first), "fc.bias": torch.zeros(1000)}
    return {
        name: torch.nn.Parameter(value) if name.endswith("weight") else value
        for name, value in tensors.items()
        if not name.endswith("num_batches_tracked")
    }


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def _publish(monkeypatch, tensors, site=None):
    """Put weights of depth 18 on a site under a name with their hash."""
    content = io.BytesIO()
    torch.save(tensors, content)
    digest = hashlib.sha256(content.getvalue()).hexdigest()
    file = HubFile(f"resnet18-{digest[:8]}.pth", digest)
    monkeypatch.setitem(FILES, 18, file)
    if site is not None:
        site.files[f"/{file.name}"] = content.getvalue()
    return file


def _refusal(said):
    with pytest.raises(ModelError, match=said) as refusal:
        weights_file("hub", 18)
    return refusal.value


def _train(data, out, changes=None, **order):
    recipe = PlanarRecipe.model_validate({**NARROW, **(changes or {})})
    order = Order(data, out, Place("cpu", workers=0), **order)
    return train(recipe, order, Told().ears)


def test_they_are_fetched_once_into_the_cache_of_torch(site, cache, monkeypatch):
    file = _publish(monkeypatch, SMALL, site)
    told = []
    path = weights_file("hub", 18, lambda *said: told.append(said[2]))
    assert path == cache / file.name
    assert path.read_bytes() == site.files[f"/{file.name}"]
    assert told[0] == f"Fetching torchvision's ImageNet weights {file.name}"
    assert told[1:] == ["Fetching 0 of 0 MB"]
    assert list(cache.iterdir()) == [path]
    assert weights_file("hub", 18) == path
    assert len(site.asked) == 1


def test_nothing_is_fetched_for_a_path(site, tmp_path, monkeypatch):
    _publish(monkeypatch, SMALL, site)
    assert weights_file(str(tmp_path / "x.pth"), 18) == tmp_path / "x.pth"
    recipe = PlanarRecipe.model_validate(RECIPE)
    with pytest.raises(ModelError, match="no file of weights"):
        pretrained(changed(recipe, weights="x.pth"), 0)
    assert pretrained(changed(recipe, weights=None), 0) is None
    assert site.asked == []


def test_another_file_under_that_address_is_refused_and_not_kept(
    site, cache, monkeypatch
):
    file = _publish(monkeypatch, SMALL, site)
    site.files[f"/{file.name}"] += b"more"
    refusal = _refusal("is not what torchvision has put there")
    assert file.address in refusal.next_step
    assert list(cache.iterdir()) == []


def test_a_file_that_breaks_off_is_gone_on_with(site, cache, monkeypatch):
    file = _publish(monkeypatch, SMALL, site)
    site.cuts = [100]
    path = weights_file("hub", 18)
    assert path.read_bytes() == site.files[f"/{file.name}"]
    assert len(site.asked) == 2
    assert list(cache.iterdir()) == [path]


def test_another_file_in_the_cache_is_refused(site, cache, monkeypatch):
    file = _publish(monkeypatch, SMALL, site)
    cache.mkdir(parents=True)
    (cache / file.name).write_bytes(b"something else")
    refusal = _refusal("is not the file of that name")
    assert "Remove it" in refusal.next_step
    assert site.asked == []


def test_without_a_server_the_refusal_names_the_file_to_get(cache, monkeypatch):
    file = _publish(monkeypatch, SMALL)
    refusal = _refusal(r"Fetching .* failed \(.+\)")
    assert file.address in refusal.next_step
    assert str(cache) in refusal.next_step
    assert list(cache.iterdir()) == []


def test_a_server_without_the_file_is_told(site, monkeypatch):
    _publish(monkeypatch, SMALL)
    _refusal("HTTP 404")


def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch):
    _publish(monkeypatch, SMALL)
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as silent:
        port = silent.getsockname()[1]
        monkeypatch.setattr(hub_weights, "ADDRESS", f"http://127.0.0.1:{port}")
        _refusal("timed out")


def test_a_network_begins_from_them_and_again_without_the_server(
    site, imagenet, monkeypatch
):
    _publish(monkeypatch, imagenet, site)
    recipe = PlanarRecipe.model_validate(RECIPE)
    gate = {"type": "gated-resunet", "gate_depth": 18}
    gated = changed(recipe, network={**NETWORK, **gate})
    encoder = pretrained(recipe, 0).net.encoder
    grey = imagenet["conv1.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(encoder.net.conv1.weight, grey)
    layer = imagenet["layer4.1.conv2.weight"]
    assert torch.equal(encoder.net.layer4[1].conv2.weight, layer)
    site.files.clear()
    for net in (pretrained(gated, 1).net, pretrained(recipe, 1).net):
        again = net.unet.encoder if hasattr(net, "unet") else net.encoder
        assert torch.equal(again.net.conv1.weight, encoder.net.conv1.weight)
    net = pretrained(gated, 0).net
    assert torch.equal(net.gate.backbone.net.conv1.weight, encoder.net.conv1.weight)
    assert len(site.asked) == 1


def test_a_training_goes_on_from_the_same_and_its_card_tells_of_them(
    data, site, narrow, tmp_path, monkeypatch
):
    file = _publish(monkeypatch, narrow, site)
    _train(data, tmp_path / "whole")
    _train(data, tmp_path / "parts", fold=0)
    site.files.clear()
    _train(data, tmp_path / "parts", resume=True)
    one, other = (read_spec(tmp_path / out / "model") for out in ("whole", "parts"))
    tensors = load_network(other).state_dict()
    for name, tensor in load_network(one).state_dict().items():
        assert torch.equal(tensor, tensors[name]), name
    assert len(site.asked) == 1
    assert f"encoder begun from {file.title}" in one.training_data
    assert yaml.safe_load(one.recipe)["weights"] == "hub"
    assert str(tmp_path) not in (tmp_path / "whole/model/model.json").read_text()


def test_a_model_that_was_trained_further_began_from_that(
    data, site, cache, narrow, tmp_path, monkeypatch
):
    _publish(monkeypatch, narrow, site)
    _train(data, tmp_path / "first", fold=0)
    shutil.rmtree(cache)
    start = str(tmp_path / "first" / "fold_1" / "model")
    _train(data, tmp_path / "second", changes={"folds": 1, "start": start})
    said = read_spec(tmp_path / "second" / "model").training_data
    assert "begun from from-hub" in said
    assert "ImageNet" not in said
    assert len(site.asked) == 1


def test_a_classifier_begins_from_them(site, imagenet, tmp_path, monkeypatch):
    file = _publish(monkeypatch, imagenet, site)
    backbone = {"type": "resnet", "depth": 18, "weights": "hub"}
    pictures = make_pictures(tmp_path / "pictures")
    result = train_tiny(pictures, tmp_path / "out", backbone=backbone, epochs=1)
    spec = find_classifier(result.model)
    assert f"begun from {file.title}" in spec.training_data
    assert spec.recipe["backbone"]["weights"] == "hub"
    content = json.dumps(spec.model_dump(mode="json"))
    assert str(tmp_path) not in content


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"depth": 10}, "depth of 18, 34, 50"),
        ({"width": 0.5}, "width of 1"),
        ({"weights": "folder/hub"}, "cannot be a file"),
        ({"weights": r"C:\folder\hub"}, "cannot be a file"),
    ],
)
def test_weights_that_nobody_publishes_are_refused(change, said):
    weights = {"weights": change.get("weights", "hub")}
    network = {k: v for k, v in change.items() if k != "weights"}
    recipe = PlanarRecipe.model_validate({**RECIPE, "weights": None})
    with pytest.raises(ModelError, match=said):
        changed(recipe, network={**NETWORK, **network}, **weights)
    pictures = ClassifierRecipe.model_validate(TINY_PICTURES)
    backbone = {"type": "resnet", "depth": 18, "weights": "hub", **change}
    with pytest.raises(ModelError, match=said):
        changed(pictures, backbone=backbone)


def test_names_hold_the_first_digits_of_the_hash():
    assert set(FILES) == {18, 34, 50}
    for depth, file in FILES.items():
        assert file.name == f"resnet{depth}-{file.sha256[:8]}.pth"
        assert len(file.sha256) == 64


def test_the_command_line_says_what_to_get(tmp_path, capsys):
    words = ["train", "resnet50-unet", "--data", str(tmp_path), "--set", "weights=hub"]
    assert main([*words, "-o", str(tmp_path / "out")]) == 1
    said = refused(capsys)
    assert "ImageNet weights resnet50-11ad3fa6.pth failed" in said
    assert "/resnet50-11ad3fa6.pth on another computer" in said
    assert not (tmp_path / "out").exists()

"""Weights of an absurd length are refused by it, unread, whatever their kind."""

import datetime
import json

import pytest

from cli_cases import refused
from napari_liverseg.cli import main
from napari_liverseg.core.errors import ModelError
from napari_liverseg.models import store
from napari_liverseg.models.backbone import build_backbone, resnet_weights
from napari_liverseg.models.classifier import (
    Classifier,
    load_classifier,
    save_classifier,
)
from napari_liverseg.models.classifier_spec import (
    ClassifierSpec,
    ResNetSpec,
    find_classifier,
)
from napari_liverseg.models.foreign_file import MAX_WEIGHTS_BYTES
from napari_liverseg.models.kinds import read_model
from napari_liverseg.models.library import add
from nnunet_case import write_folder
from tiny_bundle import unet_bundle
from tiny_model import write_random_model

TINY = ResNetSpec(depth=10, width=0.125)
SAID = f"bytes, more than {MAX_WEIGHTS_BYTES}"


def _nnunet(folder):
    return write_folder(folder, [{}])


def _classifier(folder):
    spec = ClassifierSpec(
        name="tiny",
        title="Tiny",
        version="1",
        training_data="nothing",
        trained_on=datetime.date(2026, 1, 2),
        licence="Apache-2.0",
        classes=("a", "b"),
        image_size=32,
        backbone=TINY,
    )
    save_classifier(Classifier(TINY, classes=2), spec, folder)
    return folder


def _stretch(path):
    """Make a file absurdly long; sparse as it is, it takes no room on the disk."""
    with path.open("r+b") as file:
        file.truncate(MAX_WEIGHTS_BYTES + 1)


def _refuses(call, *arguments):
    with pytest.raises(ModelError, match=SAID) as refusal:
        call(*arguments)
    assert "model folder again" in refusal.value.next_step


KINDS = {
    "own": (write_random_model, "model.safetensors", read_model),
    "bundle": (unet_bundle, "models/model.pt", read_model),
    "nnU-Net": (_nnunet, "fold_0/checkpoint_final.pth", read_model),
    "classifier": (_classifier, "classifier.safetensors", find_classifier),
}


@pytest.mark.parametrize(("write", "weights", "read"), KINDS.values(), ids=KINDS)
def test_a_model_with_them_is_none(tmp_path, write, weights, read):
    folder = write(tmp_path / "model")
    assert read(folder)
    _stretch(folder / weights)
    _refuses(read, folder)


def test_a_model_that_gets_them_later_is_not_loaded(tmp_path):
    own = read_model(write_random_model(tmp_path / "own"))
    bundle = read_model(unet_bundle(tmp_path / "bundle"))
    classifier = find_classifier(_classifier(tmp_path / "classifier"))
    for path in (own.weights_file, bundle.weights_file, classifier.weights_file):
        _stretch(path)
    _refuses(own.load_networks)
    _refuses(bundle.load_networks)
    _refuses(lambda: bundle.sha256)
    _refuses(load_classifier, classifier)


@pytest.mark.parametrize("name", ["resnet.pth", "resnet.safetensors"])
def test_an_encoder_does_not_begin_from_them(tmp_path, name):
    (tmp_path / name).touch()
    _stretch(tmp_path / name)
    _refuses(resnet_weights, tmp_path / name, build_backbone(TINY))


def test_they_are_not_copied_to_the_users_models(tmp_path):
    folder = unet_bundle(tmp_path / "bundle")
    _stretch(folder / "models" / "model.pt")
    _refuses(add, folder, lambda *_: False)
    home = store.user_folder()
    assert not home.exists() or not list(home.iterdir())


def test_the_command_line_blames_the_model_and_not_the_ct(tmp_path, capsys):
    folder = unet_bundle(store.user_folder() / "bundle")
    _stretch(folder / "models" / "model.pt")
    words = ["segment", str(tmp_path), "-o", str(tmp_path / "out"), "--model"]
    assert main([*words, str(folder)]) == 1
    assert "model.pt is refused" in refused(capsys)
    assert main(["models", "list", "--json"]) == 0
    said = capsys.readouterr()
    names = [model["name"] for model in json.loads(said.out)["models"]]
    assert names == ["starter", "starter-3mm"]
    assert "Left out" in said.err

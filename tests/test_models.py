"""A model folder is read, listed and refused by what its files really hold."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_liverseg.core.data_folder import DATA_VARIABLE
from napari_liverseg.core.errors import ModelError
from napari_liverseg.models import store
from napari_liverseg.models.folder_spec import Figure
from napari_liverseg.models.kinds import read_model
from napari_liverseg.models.network import build_network, load_network, save_model
from napari_liverseg.models.proof import prove
from napari_liverseg.models.spec import (
    SPEC_FILE,
    WEIGHTS_FILE,
    ModelSpec,
    NetworkSpec,
    read_spec,
)
from tiny_model import tiny_spec, write_random_model, write_threshold_model


@pytest.fixture
def models(tmp_path, monkeypatch):
    """An empty folder of user models; nothing is bundled."""
    monkeypatch.setenv(store.MODELS_VARIABLE, str(tmp_path / "models"))
    monkeypatch.setattr(store, "bundled_folder", lambda: tmp_path / "bundled")
    return tmp_path / "models"


def _edit_spec(model, /, **changes):
    path = model / SPEC_FILE
    content = json.loads(path.read_text())
    content.update(changes)
    path.write_text(json.dumps(content))


def _edit_weights(folder, change):
    """Change the tensors and the hash with them, so that only the change is wrong."""
    tensors = change(load_file(folder / WEIGHTS_FILE))
    save_file(tensors, folder / WEIGHTS_FILE)
    _edit_hash(folder)


def _edit_hash(folder):
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    _edit_spec(folder, sha256=digest)


def test_a_saved_model_reads_back_as_it_was(tmp_path):
    figures = (Figure(what="liver Dice", value=0.91, source="five fresh phantoms"),)
    spec = tiny_spec("first", spacing_mm=(5, 2, 1), figures=figures)
    network = build_network(spec.network)
    saved = save_model(network, spec, tmp_path / "first")
    read = read_spec(tmp_path / "first")
    assert read == saved
    assert read.model_copy(update={"sha256": ""}).model_dump() == spec.model_dump()
    assert read.spacing_mm == (5.0, 2.0, 1.0)
    loaded = load_network(read)
    assert not loaded.training
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)


def test_the_default_network_is_the_one_that_training_builds():
    network = build_network(NetworkSpec())
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(
        4.8e6, rel=0.02
    )
    with torch.inference_mode():
        logits = network.eval()(torch.zeros(1, 1, 16, 32, 48))
    assert logits.shape == (1, 3, 16, 32, 48)


def test_saving_replaces_a_model_and_nothing_else(tmp_path):
    folder = write_random_model(tmp_path / "model", seed=1)
    before = read_spec(folder).sha256
    write_random_model(folder, seed=2)
    assert read_spec(folder).sha256 != before
    assert {p.name for p in folder.iterdir()} == {SPEC_FILE, WEIGHTS_FILE}
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years of work")
    with pytest.raises(ModelError, match="no model folder"):
        write_random_model(home)
    assert (home / "thesis.txt").read_text() == "years of work"


def test_a_save_that_fails_at_the_end_leaves_the_model_in_place(tmp_path, monkeypatch):
    folder = write_random_model(tmp_path / "model", seed=1)
    before = read_spec(folder)
    real_move = shutil.move

    def full_disk(source, target):
        if source.name == "fresh":
            raise OSError(28, "No space left on device")
        real_move(source, target)

    monkeypatch.setattr(shutil, "move", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_random_model(folder, seed=2)
    assert read_spec(folder) == before
    load_network(before)


def test_a_network_that_does_not_fit_its_spec_is_not_saved(tmp_path):
    folder = write_random_model(tmp_path / "model")
    before = sorted((p.name, p.read_bytes()) for p in folder.iterdir())
    other = build_network(NetworkSpec(channels=(2, 4), strides=(1,)))
    with pytest.raises(ModelError, match=r"tensor|shape"):
        save_model(other, tiny_spec(), folder)
    assert sorted((p.name, p.read_bytes()) for p in folder.iterdir()) == before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_the_card_says_what_the_model_is():
    figure = Figure(what="liver Dice", value=0.91, source="five fresh phantoms")
    card = tiny_spec(figures=(figure,)).card
    for words in ("Tiny model", "1.2", "For tests.", "3 x 3 x 3 mm", "by hand"):
        assert words in card
    assert "2026-01-02" in card
    assert "liver Dice: 0.91 (five fresh phantoms)" in card


REFUSED_SPECS = {
    "unknown field": ({"surprise": 1}, "surprise"),
    "folder is not a field": ({"folder": "/etc"}, "folder"),
    "newer format": ({"format": 2}, "format"),
    "other labels": ({"labels": {"background": 0, "liver": 2, "tumour": 1}}, "labels"),
    "name with a path": ({"name": "../../evil"}, "name"),
    "zero spacing": ({"spacing_mm": [0, 1, 1]}, "spacing_mm"),
    "NaN spacing": ({"spacing_mm": [float("nan"), 1, 1]}, "spacing_mm"),
    "window falls": ({"hu_window": [240, -160]}, "hu_window"),
    "patch does not divide": ({"patch": [15, 24, 32]}, "patch"),
    "absurd patch": ({"patch": [4096, 4096, 4096]}, "patch"),
    "overlap of all": ({"overlap": 1.0}, "overlap"),
    "absurd channels": (
        {"network": {"channels": [9**9, 8], "strides": [2]}},
        "channels",
    ),
    "strides missing": ({"network": {"channels": [4, 8], "strides": []}}, "strides"),
    "other network": ({"network": {"type": "os.system"}}, "network.type"),
    "unknown post-processing": ({"post_processing": {"magic": True}}, "post_process"),
    "no weight of tumour": ({"tumour_weight": 0}, "tumour_weight"),
    "short hash": ({"sha256": "abc"}, "sha256"),
    "no hash": ({"sha256": ""}, "sha256"),
}


@pytest.mark.parametrize(("changes", "word"), REFUSED_SPECS.values(), ids=REFUSED_SPECS)
def test_a_wrong_spec_is_refused_by_the_field(tmp_path, changes, word):
    folder = write_random_model(tmp_path / "model")
    _edit_spec(folder, **changes)
    with pytest.raises(ModelError, match=word) as refusal:
        read_spec(folder)
    assert refusal.value.next_step
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, "\xff"])
def test_a_spec_that_is_no_json_object_is_refused(tmp_path, text):
    folder = write_random_model(tmp_path / "model")
    (folder / SPEC_FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=r"does not describe a model"):
        read_spec(folder)


def test_a_spec_of_absurd_length_is_refused_unread(tmp_path):
    folder = write_random_model(tmp_path / "model")
    (folder / SPEC_FILE).write_text(" " * 2_000_000)
    with pytest.raises(ModelError, match="longer than"):
        read_spec(folder)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(ModelError, match=SPEC_FILE):
        read_spec(tmp_path)
    folder = write_random_model(tmp_path / "model")
    spec = read_spec(folder)
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(ModelError, match="has no weights"):
        read_spec(folder)
    with pytest.raises(ModelError, match="cannot be read"):
        load_network(spec)


def test_weights_of_another_hash_are_refused(tmp_path):
    folder = write_random_model(tmp_path / "model")
    content = bytearray((folder / WEIGHTS_FILE).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(ModelError, match="not those that its"):
        load_network(read_spec(folder))


def _first(tensors):
    return sorted(tensors)[0]


REFUSED_WEIGHTS = {
    "NaN": (lambda t: {**t, _first(t): t[_first(t)] * float("nan")}, "not numbers"),
    "infinite": (lambda t: {**t, _first(t): t[_first(t)] / 0.0}, "not numbers"),
    "tensor missing": (lambda t: {k: t[k] for k in sorted(t)[1:]}, "lack the tensor"),
    "tensor too many": (lambda t: {**t, "extra": torch.zeros(1)}, "'extra'"),
    "integers": (lambda t: {**t, _first(t): t[_first(t)].long()}, "of type"),
    "four channels": (
        lambda t: {
            k: torch.zeros((v.shape[0], 4, *v.shape[2:])) if v.ndim == 5 else v
            for k, v in t.items()
        },
        "have shape",
    ),
}


@pytest.mark.parametrize(
    ("change", "words"), REFUSED_WEIGHTS.values(), ids=REFUSED_WEIGHTS
)
def test_weights_that_do_not_fit_are_refused(tmp_path, change, words):
    folder = write_random_model(tmp_path / "model")
    _edit_weights(folder, change)
    with pytest.raises(ModelError, match=words) as refusal:
        load_network(read_spec(folder))
    assert "'model'" in refusal.value.found


def test_a_pickle_in_the_place_of_weights_is_never_unpickled(tmp_path):
    folder = write_random_model(tmp_path / "model")
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(trap),)

    torch.save({"weights": Trap()}, folder / WEIGHTS_FILE)
    _edit_hash(folder)
    with pytest.raises(ModelError, match="no safetensors file"):
        load_network(read_spec(folder))
    assert not trap.exists()


def test_models_are_listed_and_found(models, tmp_path):
    assert store.list_models() == ()
    with pytest.raises(ModelError, match="No model is installed"):
        store.default_model()
    write_random_model(models / "zebra")
    write_random_model(models / "alpha")
    write_threshold_model(tmp_path / "bundled" / "starter")
    assert [m.name for m in store.list_models()] == ["starter", "alpha", "zebra"]
    assert store.default_model().name == "starter"
    assert store.find_model("zebra").folder == (models / "zebra").resolve()
    elsewhere = write_random_model(tmp_path / "elsewhere", name="own")
    for path in (elsewhere, elsewhere / SPEC_FILE, elsewhere / WEIGHTS_FILE):
        assert store.find_model(path).name == "own"
        assert store.find_model(str(path)).name == "own"


def test_an_unknown_model_is_refused_with_the_choices(models):
    with pytest.raises(ModelError, match="'nothing'") as refusal:
        store.find_model("nothing")
    assert str(models) in refusal.value.next_step
    write_random_model(models / "alpha")
    with pytest.raises(ModelError, match="Choose one of: alpha"):
        store.find_model("")


def test_broken_and_doubled_models_are_told_and_left_out(models):
    write_random_model(models / "good")
    _edit_spec(write_random_model(models / "bad"), version=[])
    write_random_model(models / "zz-copy", name="good")
    (models / ".hidden").mkdir()
    (models / "notes.txt").write_text("not a model")
    assert [m.name for m in store.list_models()] == ["good"]
    reasons = [str(error) for error in store.broken_models()]
    assert len(reasons) == 2
    assert "version" in reasons[0]
    assert "zz-copy" in reasons[1]
    with pytest.raises(ModelError, match="version"):
        store.find_model("bad")


def test_a_folder_that_may_not_be_read_is_told_and_left_out(models, monkeypatch):
    """As `lost+found` is at the top of a disk."""
    write_random_model(models / "good")
    (models / "lost+found").mkdir()
    _forbid(monkeypatch, models / "lost+found")
    assert [m.name for m in store.list_models()] == ["good"]
    (reason,) = store.broken_models()
    assert "lost+found cannot be read (Permission denied)" in reason.found
    assert store.find_model("good").name == "good"
    _forbid(monkeypatch, models)
    write_threshold_model(models.parent / "bundled" / "starter")
    assert store.default_model().name == "starter"
    assert str(models) in store.broken_models()[0].found


def test_weights_of_others_that_may_not_be_read_are_told(models, monkeypatch, tmp_path):
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path / "theirs"))
    write_random_model(models / "good")
    _forbid(monkeypatch, tmp_path / "theirs")
    assert [m.name for m in store.list_models()] == ["good"]
    assert "theirs cannot be read" in store.broken_models()[0].found


def _forbid(monkeypatch, folder):
    """Let nothing in a folder be seen, as if it were of another user."""
    real, listed = Path.stat, Path.iterdir

    def stat(path, **words):
        if folder in path.parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, **words)

    def iterdir(path):
        if folder in (path, *path.parents):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr(Path, "iterdir", iterdir)


def test_the_user_folder_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.delenv(store.MODELS_VARIABLE, raising=False)
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    assert store.user_folder().parts[-2:] == ("napari-liverseg", "models")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    assert store.user_folder() == tmp_path / "data" / "models"
    monkeypatch.setenv(store.MODELS_VARIABLE, str(tmp_path))
    assert store.user_folder() == tmp_path


def test_every_bundled_model_loads():
    bundled = store.bundled_folder()
    folders = [p for p in bundled.glob("*") if p.is_dir()] if bundled.exists() else []
    assert {store.STARTER, store.QUICK} == {folder.name for folder in folders}
    for folder in folders:
        model = read_model(folder)
        assert "not for clinical use" in model.notice
        assert prove(model).networks
    weights = bundled.rglob(WEIGHTS_FILE)
    assert sum(path.stat().st_size for path in weights) <= 40_000_000


def test_listing_models_leaves_torch_out(models):
    write_random_model(models / "alpha")
    code = (
        "import sys; from napari_liverseg.models import store;"
        "assert store.list_models()[-1].name == 'alpha';"
        "assert store.find_model('alpha').card;"
        "assert not {'torch', 'monai', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_spec_is_a_value():
    assert len({tiny_spec(), tiny_spec(), tiny_spec("other")}) == 2
    with pytest.raises(ModelError, match="no folder"):
        _ = tiny_spec().folder
    assert ModelSpec.model_validate_json(tiny_spec().model_dump_json()) == tiny_spec()

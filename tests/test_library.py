"""Models are added once proven, listed by their kind, checked, and removed by name."""

import errno
import json
import os
import shutil
import stat
import zipfile
from pathlib import Path

import pytest
import torch

from cli_cases import refused
from napari_liverseg.cli import main
from napari_liverseg.core.data_folder import data_folder
from napari_liverseg.core.errors import ModelError
from napari_liverseg.models import store
from napari_liverseg.models.kinds import read_model
from napari_liverseg.models.library import add
from napari_liverseg.models.mapping import MAPPING_FILE
from napari_liverseg.models.spec import ModelSpec
from napari_liverseg.models.two_stage import TWO_STAGE_FILE, TwoStageSpec
from test_bundle import _own_code
from tiny_bundle import (
    RANGE,
    UNET,
    build,
    config,
    metadata,
    transforms,
    unet_bundle,
    write_bundle,
)
from tiny_model import write_random_model

INFERER = {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, 8]}


def _no(*_):
    return False


def _bundle(folder, **changes):
    return unet_bundle(folder, inferer=INFERER, **changes)


@pytest.fixture
def home():
    return store.user_folder()


def _names(home):
    return sorted(p.name for p in home.iterdir()) if home.exists() else []


def test_a_bundle_and_an_own_model_are_added_and_found(tmp_path, home):
    model, proof = add(_bundle(tmp_path / "Tiny Bundle"), _no)
    assert (model.name, model.folder) == ("tiny-bundle", home / "tiny-bundle")
    assert proof.networks == 1
    own, _ = add(write_random_model(tmp_path / "x", name="own-net"), _no)
    assert isinstance(own, ModelSpec)
    assert _names(home) == ["own-net", "tiny-bundle"]
    assert store.broken_models() == ()
    names = [m.name for m in store.list_models()]
    assert names == ["starter", "starter-3mm", "own-net", "tiny-bundle"]
    assert store.find_model("tiny-bundle").load_networks()


def test_a_bundle_is_added_by_the_meaning_that_its_user_gives(tmp_path, home):
    content = config(UNET, transforms(RANGE), inferer=INFERER)
    names = metadata(["background", "Leber", "Herd"])
    folder = write_bundle(tmp_path / "Ours", names, content)
    with pytest.raises(ModelError, match="'ours'"):
        add(folder, _no)
    data_folder().mkdir(parents=True)
    said = {"ours": {"liver": ["Leber"], "tumour": ["Herd"]}}
    (data_folder() / MAPPING_FILE).write_text(json.dumps(said))
    model, _ = add(folder, _no)
    assert (model.output.liver, model.output.tumour) == ((1,), (2,))
    assert store.find_model("ours").folder == home / "ours"


def test_zips_are_added_without_the_folders_around(tmp_path, home):
    _bundle(tmp_path / "around" / "inner")
    path = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "around")
    model, _ = add(tmp_path / "packed.zip", _no)
    assert (model.name, _names(home)) == ("inner", ["inner"])
    with pytest.raises(ModelError, match="already"):
        add(tmp_path / path, _no)
    assert _names(home) == ["inner"]


@pytest.mark.parametrize("here", [".", "inner/.."])
def test_the_folder_where_the_user_stands_is_added(tmp_path, home, here, monkeypatch):
    folder = _bundle(tmp_path / "Tiny Bundle")
    (folder / "inner").mkdir()
    monkeypatch.chdir(folder)
    model, _ = add(Path(here), _no)
    assert model.name == "tiny-bundle"
    assert json.loads((model.folder / "origin.json").read_text())["source"] == (
        "Tiny Bundle"
    )


def test_what_is_no_model_is_not_added(tmp_path, home):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "note.txt").write_text("no model")
    for path in ("thesis", "note.txt", "missing"):
        with pytest.raises(ModelError, match=r"No model|no folder"):
            add(tmp_path / path, _no)
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../../evil", b"x")
    with pytest.raises(ModelError, match="outside"):
        add(tmp_path / "evil.zip", _no)
    for target in ("/etc/passwd", "..", "docs", "nowhere"):
        folder = _bundle(tmp_path / f"linked-{target.strip('/.')[:3]}")
        (folder / "docs").symlink_to(target)
        with pytest.raises(ModelError, match="link"):
            add(folder, _no)
    if hasattr(os, "mkfifo"):
        os.mkfifo(_bundle(tmp_path / "pipe") / "docs")
        with pytest.raises(ModelError, match="no file"):
            add(tmp_path / "pipe", _no)
    with pytest.raises(ModelError, match="folder of your models"):
        add(home.parent, _no)
    for name in ("one", "two"):
        _bundle(tmp_path / "several" / name)
    with pytest.raises(ModelError, match="several models"):
        add(tmp_path / "several", _no)
    assert _names(home) == []


def test_a_model_that_breaks_its_word_is_not_added(tmp_path, home):
    weights = build(UNET).state_dict()
    first = sorted(weights)[0]
    broken = {**weights, first: weights[first] * float("nan")}
    with pytest.raises(ModelError, match="not numbers"):
        add(_bundle(tmp_path / "nan", weights=broken), _no)
    # The metadata speak of 3 channels, and the config does not say how many.
    network = {"_target_": "torch.nn.Conv3d", "out_channels": 3, "kernel_size": 3}
    folder = write_bundle(
        tmp_path / "smaller",
        metadata(["background", "liver", "tumor"]),
        config({**network, "in_channels": 1}, transforms(RANGE), inferer=INFERER),
        torch.nn.Conv3d(1, 3, 3).state_dict(),
    )
    with pytest.raises(ModelError, match=r"gives \(1, 3, 6, 6, 6\)"):
        add(folder, _no)
    assert _names(home) == []


def test_own_code_is_added_only_with_a_yes(tmp_path, home, capsys):
    note = tmp_path / "ran"
    folder = _own_code(tmp_path / "special", note)
    assert main(["models", "add", str(folder)]) == 1
    said = capsys.readouterr().err
    assert "scripts.special.Special" in said
    assert "--trust" in said
    assert not note.exists()
    assert _names(home) == []
    assert main(["models", "add", str(folder), "--trust"]) == 0
    assert note.exists()
    assert "Code of its own" in capsys.readouterr().out
    assert store.find_model("special").load_networks()
    assert main(["models", "remove", "special", "--yes"]) == 0
    with pytest.raises(ModelError, match="asks for code"):
        add(folder, _no)  # the yes went with it


def test_weights_that_change_afterwards_are_refused(tmp_path, capsys):
    model, _ = add(_bundle(tmp_path / "b"), _no)
    assert main(["models", "check", "b"]) == 0
    assert "sound" in capsys.readouterr().out
    torch.save(build(UNET, seed=1).state_dict(), model.weights_file)
    with pytest.raises(ModelError, match="not those that were added"):
        store.find_model("b").load_networks()
    assert main(["models", "check", "b"]) == 1
    assert "not those that were added" in refused(capsys)


def test_a_config_that_changes_afterwards_does_not_pass_the_check(tmp_path, capsys):
    model, _ = add(_bundle(tmp_path / "b"), _no)
    path = model.folder / "configs" / "inference.json"
    path.write_text(path.read_text().replace("-175", "-170"))
    assert main(["models", "check", "b"]) == 1
    assert "not those that were added" in refused(capsys)


def test_broken_ones_are_listed_with_their_reason(tmp_path, home, capsys):
    _bundle(home / "good")
    (_bundle(home / "cut") / "models" / "model.pt").unlink()
    nnunet = home / "Dataset" / "Trainer__Plans__3d"
    nnunet.mkdir(parents=True)
    (nnunet / "plans.json").write_text("{}")
    (nnunet / "dataset.json").write_text("{}")
    (home / "empty").mkdir()
    assert main(["models", "list"]) == 0
    out, err = capsys.readouterr()
    assert "good  0.1.9  MONAI bundle  Tiny bundle" in out
    assert str(home / "good") in out
    assert "not for clinical use" in out
    assert err.count("Left out:") == 3
    assert "model.pt is missing" in err
    assert main(["models", "info", "good"]) == 0
    assert "Kind:     MONAI bundle" in capsys.readouterr().out
    assert main(["models", "info", "good", "--json"]) == 0
    assert '"liver_channels"' in capsys.readouterr().out


def test_removal_names_what_goes_and_waits_for_a_yes(tmp_path, home, capsys):
    add(_bundle(tmp_path / "gone"), _no)
    (home / "broken").mkdir()
    assert main(["models", "remove", "gone"]) == 1
    assert str(home / "gone") in capsys.readouterr().err
    assert _names(home) == ["broken", "gone"]
    for name in ("gone", "broken"):
        assert main(["models", "remove", name, "--yes"]) == 0
    assert _names(home) == []


def test_what_is_made_of_a_removed_model_is_named(home, capsys):
    for name in ("coarse", "close"):
        write_random_model(home / name, name=name)
    said = TwoStageSpec(
        name="both", title="Both", version="1", finder="coarse", detail="close"
    )
    (home / "two").mkdir()
    (home / "two" / TWO_STAGE_FILE).write_text(said.model_dump_json())
    for name, is_needed in (("close", True), ("both", False)):
        assert main(["models", "remove", name]) == 1
        assert ("'both' is made of it" in capsys.readouterr().err) == is_needed


def test_a_training_that_has_not_ended_is_no_model(tmp_path):
    out = tmp_path / "out"
    fold = write_random_model(out / "fold_1" / "model", name="tiny")
    with pytest.raises(ModelError, match=r"not ended.*--resume") as refusal:
        read_model(out)
    assert str(refusal.value).endswith(f"or choose {fold}.")
    assert read_model(fold).name == "tiny"
    write_random_model(out / "model", name="whole")
    assert read_model(out).name == "whole"


@pytest.mark.parametrize(
    "name", ["starter", "starter-3mm", "..", ".", "", "../victim", "/tmp", "x"]
)
def test_nothing_outside_the_user_folder_is_removed(tmp_path, home, name, capsys):
    home.mkdir()
    victim = tmp_path / "victim"
    victim.mkdir()
    assert main(["models", "remove", name, "--yes"]) == 1
    refused(capsys)
    assert victim.exists()
    assert (store.bundled_folder() / "starter").exists()


def test_a_linked_model_is_unlinked_not_emptied(tmp_path, home):
    folder = _bundle(tmp_path / "elsewhere")
    home.mkdir()
    (home / "linked").symlink_to(folder)
    assert main(["models", "remove", "linked", "--yes"]) == 0
    assert _names(home) == []
    assert read_model(folder).load_networks()


def test_stages_of_another_makers_kind_run_once_the_whole_was_added(tmp_path, capsys):
    whole = tmp_path / "whole"
    _bundle(whole / "finder")
    write_random_model(whole / "detail", name="detail")
    said = {"format": 1, "name": "both", "title": "Both", "version": "1"}
    said |= {"finder": "finder", "detail": "detail"}
    (whole / "two-stage.json").write_text(json.dumps(said))
    model, _ = add(whole, _no)
    assert model.finder.load_networks()
    assert main(["models", "check", "both"]) == 0
    with (model.finder.folder / "models" / "model.pt").open("ab") as file:
        file.write(b"0")
    assert main(["models", "check", "both"]) == 1
    assert "not those that were added" in capsys.readouterr().err


def test_a_model_that_was_looked_into_passes_the_check(tmp_path, home):
    add(_bundle(tmp_path / "seen"), _no)
    (home / "seen" / "models" / ".DS_Store").write_text("by a file manager")
    assert main(["models", "check", "seen"]) == 0
    (home / "seen" / "models" / "more.txt").write_text("by somebody")
    assert main(["models", "check", "seen"]) == 1


def test_what_has_the_name_of_a_bundled_model_can_be_removed(home, capsys):
    write_random_model(home / "starter", name="starter")
    assert main(["models", "list"]) == 0
    assert "Left out:" in capsys.readouterr().err
    assert main(["models", "remove", "starter", "--yes"]) == 0
    assert _names(home) == []


def test_several_models_are_told_apart_by_the_folders_around(tmp_path):
    out = tmp_path / "out"
    for fold in ("fold_1", "fold_2"):
        write_random_model(out / fold / "model")
    for take in (read_model, lambda folder: add(folder, _no)):
        with pytest.raises(ModelError, match="fold_1/model, fold_2/model") as refusal:
            take(out)
        assert str(refusal.value).startswith(f"{out} holds several models")


def test_of_two_stages_those_beside_are_to_be_put_into_the_folder(tmp_path):
    for name in ("finder", "detail"):
        write_random_model(tmp_path / name)
    said = {"format": 1, "name": "both", "title": "Both", "version": "1"}
    (tmp_path / "both").mkdir()
    said |= {"finder": "finder", "detail": "detail"}
    (tmp_path / "both" / "two-stage.json").write_text(json.dumps(said))
    assert read_model(tmp_path / "both").name == "both"
    with pytest.raises(ModelError, match="Put the folder of 'finder' into it"):
        add(tmp_path / "both", _no)


def test_a_folder_that_nothing_can_be_added_to_is_a_sentence(
    tmp_path, monkeypatch, capsys
):
    folder = write_random_model(tmp_path / "x")
    (tmp_path / "file").touch()
    monkeypatch.setenv("NAPARI_LIVERSEG_MODELS", str(tmp_path / "file"))
    assert main(["models", "add", str(folder)]) == 1
    assert f"'x' cannot be added to {tmp_path / 'file'}" in refused(capsys)


def test_a_model_that_cannot_be_removed_is_a_sentence(
    tmp_path, home, monkeypatch, capsys
):
    add(write_random_model(tmp_path / "x"), _no)

    def forbidden(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "rename", forbidden)
    assert main(["models", "remove", "x", "--yes"]) == 1
    said = capsys.readouterr().err
    assert "x cannot be removed: Permission denied. See that" in said
    assert _names(home) == ["x"]


def test_a_model_from_a_read_only_disk_can_be_changed_once_it_was_added(tmp_path, home):
    folder = _bundle(tmp_path / "burnt")
    inside = list(folder.rglob("*"))
    for path in (*inside, folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        add(folder, _no)
        copies = [home / "burnt", *(home / "burnt").rglob("*")]
        assert all(path.stat().st_mode & stat.S_IWUSR for path in copies)
    finally:
        for path in (folder, *inside):
            path.chmod(0o755)


@pytest.mark.parametrize("name", ["", "Our", "../ours", "a b", "x" * 65])
def test_a_name_that_no_joined_model_can_have_is_refused_with_the_rule(name, capsys):
    given = ["models", "join", "starter-3mm", "starter-3mm", "--name", name]
    assert main(given) == 1
    said = refused(capsys)
    assert f"cannot be called '{name}'" in said
    assert "lower-case letters" in said

"""Models of every kind on a worker that has none of them, nor sees where they lie."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace

import numpy as np
import pytest

from cli_cases import phantom_ct, write_nifti
from cluster_case import ELSEWHERE, Processes, Quiet, wait_for
from napari_liverseg.batch import model_copy
from napari_liverseg.batch.cases import find_cases
from napari_liverseg.batch.cluster import connected
from napari_liverseg.batch.model_copy import find_copy, read_files, receive
from napari_liverseg.batch.order import Parcel, Wish, card_of
from napari_liverseg.batch.remote import predict_remotely
from napari_liverseg.batch.run import Batch
from napari_liverseg.core.data_folder import data_folder
from napari_liverseg.core.errors import DeviceError, ModelError
from napari_liverseg.core.probabilities import Thresholds
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.io.open import open_ct
from napari_liverseg.models import two_stage
from napari_liverseg.models.digest import digest_of
from napari_liverseg.models.gated_spec import GatedSpec
from napari_liverseg.models.kinds import read_model
from napari_liverseg.models.store import find_model
from napari_liverseg.models.totalsegmentator import TASKS
from napari_liverseg.models.trust import trust
from nnunet_case import DATASET, dataset, random_state, write_folder
from tiny_bundle import UNET, unet_bundle
from tiny_model import tiny_spec, write_threshold_model, write_two_stage

GERMAN = {"background": 0, "Leber": 1, "Herd": 2}
NAME = "dataset017_liver-3d_fullres"
LESIONS = "Dataset591_ct_liver_lesions_842subj"


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """Return the folder of our models, which the worker does not see."""
    return tmp_path_factory.mktemp("here")


@pytest.fixture(scope="module")
def address(tmp_path_factory, here):
    folder = tmp_path_factory.mktemp("cluster")
    theirs = folder / "theirs"
    theirs.mkdir()
    _map_channels(theirs, liver=["Herd"])  # must not count
    own = {
        "NAPARI_LIVERSEG_DATA": theirs,
        "NAPARI_LIVERSEG_MODELS": theirs / "models",
        "TOTALSEG_WEIGHTS_PATH": theirs / "none",
        "NAPARI_LIVERSEG_TUNING": "off",
        "HIDDEN": here,
    }
    started = Processes(folder)
    started.add_worker(preload=ELSEWHERE, **{k: str(v) for k, v in own.items()})
    yield started.address
    started.close()


def _map_channels(folder, name=NAME, **said):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "liverseg.json").write_text(json.dumps({name: said}))


def _nnunet(here):
    """Write an nnU-Net of two folds that were trained long ago, with its results."""
    pytest.importorskip("dynamic_network_architectures")
    _map_channels(data_folder(), liver=["Leber"], tumour=["Herd"])
    said = dataset(GERMAN)
    bare = write_folder(here / "bare", dataset_=said)
    states = [_state(bare, seed) for seed in (1, 2)]
    folder = write_folder(here, states, dataset_=said)
    for file in folder.glob("fold_*/*.pth"):
        os.utime(file, (1.6e9, 1.6e9))
    (folder / "fold_0" / "validation").mkdir()
    (folder / "fold_0" / "validation" / "DOE_JANE.nii.gz").touch()
    return find_model(folder)


def _state(folder, seed):
    """Return random weights that find something everywhere."""
    state = random_state(folder, seed)
    for name in state:
        if "seg_layers" in name and name.endswith("bias"):
            state[name][-1] += 0.3
    return state


def _bundle(here):
    _map_channels(data_folder(), "some-bundle", liver=["Leber"], tumour=["Herd"])
    names = ["Hintergrund", "Leber", "Herd"]
    return find_model(unet_bundle(here / "Some Bundle", channels=names))


def _beside(here):
    """Write a two-stage model whose parts lie beside it."""
    write_threshold_model(here / "coarse", spacing_mm=(6.0, 6.0, 6.0))
    write_threshold_model(here / "close", spacing_mm=(2.0, 3.0, 3.0))
    return find_model(write_two_stage(here / "two", "coarse", "close"))


def _lesions(here, monkeypatch):
    """Write TotalSegmentator's lesions, which look in the liver of its `total`."""
    pytest.importorskip("dynamic_network_architectures")
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(here / "weights"))
    (here / "weights").mkdir()
    labels = {"background": 0, "spleen": 1, "liver": 2}
    for name, seed, said in (
        (TASKS[0].dataset, 3, labels),
        (LESIONS, 4, {"background": 0, "liver_lesions": 1}),
    ):
        bare = write_folder(here / f"bare{seed}", dataset_=dataset(said))
        write_folder(here / name, [_state(bare, seed)], dataset_=dataset(said))
        (here / name / DATASET).rename(here / "weights" / name)
    return find_model(f"{LESIONS.lower()}-3d_fullres")


KINDS = {"nnunet": _nnunet, "bundle": _bundle, "beside": _beside}


@pytest.fixture(params=["nnunet", "bundle", "beside", "lesions"])
def model(request, here, monkeypatch):
    folder = here / request.node.name
    folder.mkdir()
    if request.param == "lesions":
        return _lesions(folder, monkeypatch)
    return KINDS[request.param](folder)


@pytest.fixture
def theirs(tmp_path, monkeypatch):
    """Return what makes this the worker's computer, and the card one from elsewhere."""

    def move(card):
        monkeypatch.setenv("NAPARI_LIVERSEG_DATA", str(tmp_path / "theirs"))
        monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path / "none"))
        nowhere = tuple(replace(stage, folder="/nowhere") for stage in card.stages)
        return replace(card, name="nobody", stages=nowhere)

    return move


def _run(source, out, model, address):
    work = Batch(find_cases(source, out), out, Wish(model, Thresholds()), Quiet())
    work.skip_finished()
    if work.waiting:
        with connected(address, device="cpu") as crew:
            work.run(crew)
    return [(row.name, row.status, row.problems) for row in work.rows]


def test_a_worker_is_sent_what_it_lacks(tmp_path, address, model):
    (tmp_path / "in").mkdir()
    path = write_nifti(tmp_path / "in" / "ct.nii.gz", phantom_ct())
    out = tmp_path / "out"
    out.mkdir()
    ((_, status, problems),) = _run(tmp_path / "in", out, model, address)
    assert status == "done", problems
    report = json.loads((out / "ct" / "report.json").read_text())
    said = {name: report[name] for name in ("model", "version", "sha256")}
    assert said == {
        "model": model.name,
        "version": model.version,
        "sha256": model.sha256,
    }
    assert _run(tmp_path / "in", out, model, address)[0][1] == "skipped"

    there = predict_remotely(address, model, open_ct(path))
    here = Predictor(model, "cpu").predict(open_ct(path))
    assert there.box == here.box
    assert np.ptp(here.tumour) > 5
    # Processes may share their work out among other numbers of threads.
    np.testing.assert_allclose(there.tumour, here.tumour.astype(int), atol=1)


def test_what_is_sent_is_read_as_it_was_here(model, theirs):
    card, parcel = card_of(model), read_files(model)
    there = theirs(card)
    assert find_copy(there) is None
    assert receive(there, parcel) is None
    kept = find_copy(there)
    assert digest_of(kept) == card.digest
    assert (kept.input, kept.output) == (model.input, model.output)
    assert not any("validation" in name for name in parcel.files)
    assert receive(there, parcel) is None  # another worker of the same computer


def test_a_worker_that_computes_for_others_takes_a_model_at_once(here, address):
    model = find_model(write_threshold_model(here / "meanwhile"))
    with connected(address) as crew:
        (worker,) = crew.present()
        busy = crew.client.submit(time.sleep, 10, pure=False)
        wait_for(lambda: crew.client.processing()[worker])
        assert not crew.make_fit(worker, model, card_of(model)).has_model
        assert busy.status == "pending"
        crew.forget(worker)
        assert crew.make_fit(worker, model, card_of(model)).has_model


def test_a_model_is_found_under_another_name_and_date(here, tmp_path):
    folder = unet_bundle(tmp_path / "one")
    model, card = find_model(folder), card_of(find_model(folder))
    other = find_model(folder.rename(tmp_path / "other"))
    assert other.name != model.name
    assert digest_of(other) == card.digest


@pytest.mark.parametrize(
    "change", [{"norm": "instance"}, {"strides": [1]}, {"num_res_units": 2}]
)
def test_the_same_weights_in_other_layers_are_another_model(tmp_path, change):
    weights = {}
    (one, other) = (
        read_model(unet_bundle(tmp_path / name, network=network, weights=weights))
        for name, network in (("one", UNET), ("other", {**UNET, **change}))
    )
    assert one.sha256 == other.sha256
    assert digest_of(one) != digest_of(other)


def test_a_gate_that_opens_otherwise_is_another_model():
    gate = {"type": "gated-resunet", "gate_depth": 10, "gate_width": 0.125}
    networks = [GatedSpec(**gate, cut_off=cut_off) for cut_off in (0.4, 0.5)]
    specs = [tiny_spec(patch=(1, 32, 32), network=n, sha256="0" * 64) for n in networks]
    assert digest_of(specs[0]) != digest_of(specs[1])


@pytest.mark.parametrize(("liver", "counts"), [("both", True), ("finder", False)])
def test_stages_that_are_joined_otherwise_are_another_model(
    tmp_path, monkeypatch, liver, counts
):
    model = replace(_beside(tmp_path), liver=liver)
    before = digest_of(model)
    monkeypatch.setattr(two_stage, "TUMOUR_COUNTS", 2)
    assert (digest_of(model) != before) == counts


def test_code_is_not_sent(tmp_path):
    own = {**UNET, "_target_": "scripts.special.Special"}
    folder = unet_bundle(tmp_path / "special", network=own, weights={})
    trust(folder, "special")
    with pytest.raises(DeviceError, match=r"code is not sent.*models add"):
        read_files(read_model(folder))


def test_what_is_too_large_to_be_sent_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(model_copy, "MOST_BYTES", 1000)
    with pytest.raises(DeviceError, match="folders of 'coarse' and 'close' to the"):
        read_files(_beside(tmp_path))
    folder = write_folder(tmp_path, dataset_=dataset(GERMAN))
    _map_channels(data_folder(), liver=["Leber"])
    with pytest.raises(DeviceError, match=r"folder of models, and liverseg\.json to"):
        read_files(find_model(folder))


def test_a_model_that_is_gone_here_is_no_workers_fault(tmp_path):
    model = find_model(write_threshold_model(tmp_path / "bands"))
    model.weights_file.unlink()
    with pytest.raises(ModelError, match="'bands' cannot be read"):
        read_files(model)


def test_what_is_no_copy_is_not_kept(tmp_path, theirs):
    model = find_model(write_threshold_model(tmp_path / "bands"))
    card, files = card_of(model), read_files(model).files
    card = theirs(card)
    other = files["model.json"].replace(b"240", b"250")
    assert "say there" in receive(card, Parcel({**files, "model.json": other})).found
    for name in ("../model.json", "/model.json", "a/../../b"):
        refusal = receive(card, Parcel({**files, name: b""}))
        assert "outside of its folder" in refusal.found
    assert not list(model_copy.received_folder().iterdir())
    assert not (data_folder() / "model.json").exists()
    assert receive(card, Parcel(files)) is None
    assert Predictor(find_copy(card), "cpu").model.folder != model.folder


def test_nothing_that_workers_log_holds_paths_or_weights(tmp_path):
    model = find_model(write_threshold_model(tmp_path / "bands"))
    assert "bands" in repr(card_of(model))
    assert str(tmp_path) not in repr(card_of(model))
    assert len(repr(read_files(model))) < 100

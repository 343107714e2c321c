"""Cases through a real scheduler: read there or sent, each by itself, resumed."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from cli_cases import phantom_ct, refused, write_nifti
from cluster_case import Quiet, cluster_inside, wait_for, write_cases, write_model
from napari_liverseg.batch.cases import Case, find_cases
from napari_liverseg.batch.cluster import connected
from napari_liverseg.batch.crew import Crew
from napari_liverseg.batch.hand import lost
from napari_liverseg.batch.model_copy import find_copy
from napari_liverseg.batch.opening import open_chosen
from napari_liverseg.batch.order import Wish, card_of
from napari_liverseg.batch.remote import predict_remotely
from napari_liverseg.batch.run import Batch
from napari_liverseg.cli import main
from napari_liverseg.core.errors import CancelledError, DeviceError
from napari_liverseg.core.probabilities import Thresholds
from napari_liverseg.inference.options import Listener, RunOptions
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.io.label_map import read_label_map
from napari_liverseg.io.open import open_ct
from napari_liverseg.models.digest import digest_of
from napari_liverseg.models.store import find_model
from tiny_model import tiny_spec, write_random_model


@pytest.fixture(scope="module")
def address():
    with cluster_inside(workers=2) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return find_model(write_model(tmp_path_factory.mktemp("models") / "bands"))


def run_batch(source, out, wish, address):
    out.mkdir(exist_ok=True)
    listener = Quiet()
    work = Batch(find_cases(source, out), out, wish, listener)
    work.skip_finished()
    if work.waiting:
        with connected(address, device="cpu") as crew:
            work.run(crew)
    return {row.name: row for row in work.rows}, listener.heard


def labels_in(folder):
    return read_label_map(folder / "labels.nii.gz", None).labels


@pytest.mark.parametrize(
    ("send", "options", "where"),
    [
        ("auto", RunOptions(), "body"),
        ("paths", RunOptions(look="everywhere"), "everywhere"),
        ("bytes", RunOptions(look="body", mirror=True), "body"),
    ],
)
def test_a_batch_gives_what_segment_gives(
    tmp_path, model, address, send, options, where
):
    write_cases(tmp_path / "in", 3)
    thresholds = Thresholds(tumour=0.4)
    out = tmp_path / "out"
    wish = Wish(model, thresholds, send=send, options=options)
    rows, heard = run_batch(tmp_path / "in", out, wish, address)
    assert [row.status for row in rows.values()] == ["done"] * 3
    assert [told[2:4] for told in heard] == [(1, 3), (2, 3), (3, 3)]

    alone = tmp_path / "alone"
    words = ["segment", tmp_path / "in" / "case1.nii.gz", "-o", alone]
    words += ["--model", model.folder, "--device", "cpu", "--threshold-tumour", "0.4"]
    words += ["--look", options.look, *(["--mirror"] if options.mirror else [])]
    assert main([str(word) for word in words]) == 0
    np.testing.assert_array_equal(labels_in(out / "case1"), labels_in(alone))
    ours, theirs = (
        json.loads((folder / "report.json").read_text())
        for folder in (out / "case1", alone)
    )
    passing = ("seconds", "prediction_seconds", "peak_memory_mb", "memory_plan")
    assert ours["ct_files"]
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - set(passing):
        assert ours[name] == theirs[name], name
    assert ours["options"] == {"look": options.look, "mirror": options.mirror}
    assert ours["looked_at"]["where"] == where
    assert rows["case1"].liver_ml == ours["volumes_ml"]["liver"]
    assert rows["case1"].lesions == 2


def test_bad_cases_are_told_of_and_the_others_go_on(tmp_path, model, address):
    write_cases(tmp_path / "in", 2)
    (tmp_path / "in" / "broken.nii").write_text("no CT")
    (tmp_path / "in" / "broken.zip").write_text("no zip")
    (tmp_path / "in" / "broken.zip").rename(tmp_path / "in" / "study.zip")
    for send in ("paths", "bytes"):
        out = tmp_path / send
        wish = Wish(model, Thresholds(), send=send)
        rows, _ = run_batch(tmp_path / "in", out, wish, address)
        statuses = {name: row.status for name, row in rows.items()}
        assert statuses == {
            "broken": "refused",
            "case0": "done",
            "case1": "done",
            "study": "refused",
        }
        assert "no NIfTI file" in rows["broken"].problems
        assert "zip" in rows["study"].problems
        assert sorted(p.name for p in out.iterdir()) == [
            "case0",
            "case1",
            "summary.csv",
        ]


def test_a_batch_is_taken_up_where_it_was_left(tmp_path, model, address):
    write_cases(tmp_path / "in", 3)
    out = tmp_path / "out"
    wish = Wish(model, Thresholds())
    run_batch(tmp_path / "in", out, wish, address)
    shutil.rmtree(out / "case1")
    kept = (out / "case0" / "report.json").stat().st_mtime_ns
    rows, heard = run_batch(tmp_path / "in", out, wish, address)
    assert {name: row.status for name, row in rows.items()} == {
        "case0": "skipped",
        "case1": "done",
        "case2": "skipped",
    }
    assert heard[-1][2:4] == (3, 3)
    assert (out / "case0" / "report.json").stat().st_mtime_ns == kept
    report = out / "case0" / "report.json"
    said = report.read_text()
    report.write_text(said.replace('"model_digest": "', '"model_digest": "0'))
    rows, _ = run_batch(tmp_path / "in", out, wish, address)
    assert rows["case0"].status == "refused", "of the same weights, seen otherwise"
    report.write_text(said)
    other = Wish(model, Thresholds(liver=0.4))
    rows, _ = run_batch(tmp_path / "in", out, other, address)
    assert {row.status for row in rows.values()} == {"refused"}
    replaced = Wish(model, Thresholds(liver=0.4), overwrite=True)
    rows, _ = run_batch(tmp_path / "in", out, replaced, address)
    assert {row.status for row in rows.values()} == {"done"}
    with (out / "summary.csv").open(newline="") as file:
        assert {row["status"] for row in csv.DictReader(file)} == {"done"}


@pytest.mark.parametrize("send", ["paths", "bytes"])
def test_another_ct_of_the_same_name_is_not_skipped(tmp_path, model, address, send):
    write_cases(tmp_path / "in", 2)
    for file in (tmp_path / "in").iterdir():
        os.utime(file, (1_000_000, 1_000_000))
    listed = tmp_path / "list.csv"
    out, wish = tmp_path / "out", Wish(model, Thresholds(), send=send)

    def again(path):
        listed.write_text(f"path,name\n{path},P1\n")
        return run_batch(listed, out, wish, address)[0]["P1"]

    assert again("in/case0.nii.gz").status == "done"
    text = (out / "P1" / "report.json").read_text()
    assert "case0" not in text
    shutil.copytree(tmp_path / "in", tmp_path / "mounted")
    assert again("mounted/case0.nii.gz").status == "skipped"
    other = again("in/case1.nii.gz")
    assert other.status == "refused"
    assert "another or an older CT" in other.problems
    assert (out / "P1" / "report.json").read_text() == text


def _watched(monkeypatch):
    """Return the list of the CTs that a batch opens itself, from now on."""
    opened = []

    def open_and_note(path, *others):
        opened.append(path.name)
        assert len(opened) < 20, "opened again and again"
        return open_chosen(path, *others)

    monkeypatch.setattr("napari_liverseg.batch.turn.open_chosen", open_and_note)
    return opened


def _gone_before_voxels_come(monkeypatch):
    """Let the first worker leave once its case was chosen; return who left."""
    gone, real = [], Crew.device_of

    def device_of(crew, worker):
        device = real(crew, worker)
        if not gone:
            gone.append(worker)
            crew.client.retire_workers([worker], close_workers=True)
        return device

    monkeypatch.setattr(Crew, "device_of", device_of)
    return gone


def test_a_worker_that_is_gone_when_voxels_come_is_handed_no_more(
    tmp_path, model, monkeypatch
):
    write_cases(tmp_path / "in", 3)
    opened = _watched(monkeypatch)
    gone = _gone_before_voxels_come(monkeypatch)
    wish = Wish(model, Thresholds(), send="bytes")
    with cluster_inside(workers=2) as cluster:
        rows, _ = run_batch(
            tmp_path / "in", tmp_path / "out", wish, cluster.scheduler_address
        )
    assert len(gone) == 1
    assert [row.status for row in rows.values()] == ["done"] * 3
    assert sorted(opened) == [f"case{number}.nii.gz" for number in range(3)]


@pytest.mark.parametrize("seen", [True, False], ids=["missed", "at once"])
def test_a_worker_that_comes_back_under_its_address_works_again(
    tmp_path, model, monkeypatch, seen
):
    """It may do so while a case is opened, so that nobody saw that it was away."""
    from distributed import Worker

    monkeypatch.setattr("napari_liverseg.batch.roll.WAIT_S", 10.0)
    monkeypatch.setattr("napari_liverseg.batch.roll.ASK_AGAIN_S", 1.0)
    write_cases(tmp_path / "in", 1)
    opened = _watched(monkeypatch)
    gone = _gone_before_voxels_come(monkeypatch)
    came, real = [], Crew.present
    wish = Wish(model, Thresholds(), send="bytes")
    with cluster_inside(workers=1) as cluster:

        async def come():
            host, port = gone[0].removeprefix("tcp://").split(":")
            where = {"host": host, "port": int(port)}
            return await Worker(cluster.scheduler_address, nthreads=1, **where)

        def present(crew):
            while gone and not came:
                if there := real(crew):
                    continue
                came.append(cluster.sync(come))
                if seen:
                    return there
            return real(crew)

        monkeypatch.setattr(Crew, "present", present)
        rows, _ = run_batch(
            tmp_path / "in", tmp_path / "out", wish, cluster.scheduler_address
        )
        assert [worker.address for worker in came] == gone
        cluster.sync(came[0].close)
    assert [row.status for row in rows.values()] == ["done"]
    assert opened == ["case0.nii.gz"], "once, though it was handed out twice"


@contextmanager
def _paused(address):
    """Let Dask hold the workers of a cluster for full, as long as this lasts."""

    def set_status(name, dask_worker):
        dask_worker.status = Status[name]

    from distributed import Client, Status

    with Client(address, set_as_default=False) as client:
        client.run(set_status, "paused")
        wait_for(lambda: _statuses(client) == {"paused"})
        yield
        client.run(set_status, "running")


def _statuses(client):
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return {worker["status"] for worker in workers}


@pytest.mark.parametrize("send", ["bytes", "paths"])
def test_a_worker_whose_memory_is_full_for_a_while_is_waited_for(
    tmp_path, model, monkeypatch, send
):
    monkeypatch.setattr("napari_liverseg.batch.cluster.CONNECT_S", 1)
    write_cases(tmp_path / "in", 1)
    done = []
    wish = Wish(model, Thresholds(), send=send)
    with cluster_inside() as cluster:
        address = cluster.scheduler_address
        words = (tmp_path / "in", tmp_path / "out", wish, address)
        batch = threading.Thread(target=lambda: done.append(run_batch(*words)))
        with _paused(address):
            batch.start()
            batch.join(3)
            assert not done
        batch.join(60)
    ((rows, _),) = done
    assert [row.status for row in rows.values()] == ["done"]


@pytest.mark.parametrize("send", ["bytes", "paths"])
def test_a_worker_whose_memory_stays_full_ends_the_batch(
    tmp_path, model, monkeypatch, send
):
    monkeypatch.setattr("napari_liverseg.batch.roll.WAIT_S", 1.0)
    write_cases(tmp_path / "in", 1)
    wish = Wish(model, Thresholds(), send=send)
    volume = open_ct(tmp_path / "in" / "case0.nii.gz")
    with cluster_inside() as cluster, _paused(cluster.scheduler_address):
        address = cluster.scheduler_address
        with pytest.raises(DeviceError, match=r"memory is nearly full.*memory-limit"):
            run_batch(tmp_path / "in", tmp_path / "out", wish, address)
        with pytest.raises(DeviceError, match="memory is nearly full"):
            predict_remotely(address, model, volume)


class Dying:
    """Workers that are started anew without end, and die before they say a word."""

    address = "tcp://nowhere:1"

    def __init__(self):
        self.calls = 0

    def present(self):
        self.calls += 1
        return (f"tcp://nowhere:{self.calls}",)

    def is_paused(self, _):
        return False

    def forget(self, _):
        pass

    def make_fit(self, worker, *_):
        assert self.calls < 50, "asked again and again"
        raise lost(worker)


def test_workers_that_die_before_they_say_a_word_end_the_batch(
    tmp_path, model, monkeypatch
):
    monkeypatch.setattr("napari_liverseg.batch.roll.WAIT_S", 2.0)
    write_cases(tmp_path / "in", 1)
    cases = find_cases(tmp_path / "in", tmp_path)
    work = Batch(cases, tmp_path, Wish(model, Thresholds()), Quiet())
    with pytest.raises(DeviceError, match="lost during the run"):
        work.run(Dying())


def test_without_the_extra_the_pip_command_is_told(
    tmp_path, model, monkeypatch, capsys
):
    write_cases(tmp_path / "in", 1)
    monkeypatch.setitem(sys.modules, "distributed", None)
    words = ["batch", tmp_path / "in", "-o", tmp_path / "out", "--model", model.folder]
    assert main([*map(str, words), "--device", "cpu"]) == 1
    said = refused(capsys).strip()
    assert said.endswith('Run: pip install "napari-liverseg[cluster]"')


def test_files_that_the_worker_sees_otherwise_are_sent(
    tmp_path, model, address, monkeypatch
):
    write_cases(tmp_path / "in", 3)
    # Workers share this process, so that only our look at the files can differ.
    monkeypatch.setattr("napari_liverseg.batch.turn.sight_of", lambda _: "otherwise")
    rows, _ = run_batch(
        tmp_path / "in", tmp_path / "out", Wish(model, Thresholds()), address
    )
    assert {row.status for row in rows.values()} == {"done"}
    strict = Wish(model, Thresholds(), send="paths")
    rows, _ = run_batch(tmp_path / "in", tmp_path / "strict", strict, address)
    assert {row.status for row in rows.values()} == {"refused"}
    assert "does not see" in rows["case0"].problems


def test_the_command_says_how_it_ended(tmp_path, model, address, capsys):
    write_cases(tmp_path / "in", 1)
    out = tmp_path / "out"
    words = ["batch", tmp_path / "in", "-o", out, "--model", model.folder]
    words += ["--scheduler", address, "--device", "cpu"]
    words = [str(word) for word in words]
    assert main(words) == 0
    said = capsys.readouterr()
    assert said.out == (
        f"1 segmented, 0 there already, 0 refused. Wrote {out / 'summary.csv'}.\n"
    )
    assert said.err == ""
    (tmp_path / "in" / "broken.nii").write_text("no CT")
    assert main(words) == 1
    said = capsys.readouterr()
    assert said.out.startswith("0 segmented, 1 there already, 1 refused.")
    first, last = said.err.splitlines()
    assert first.startswith("Error in broken: 'broken.nii' is no NIfTI file")
    assert last.startswith("Error: 1 of 2 cases could not be segmented.")


def test_a_result_of_other_options_is_not_taken_for_this_one(
    tmp_path, model, address, capsys
):
    write_cases(tmp_path / "in", 1)
    words = ["batch", tmp_path / "in", "-o", tmp_path / "out"]
    words += ["--model", model.folder, "--scheduler", address, "--device", "cpu"]
    words = [str(word) for word in words]
    assert main([*words, "--look", "everywhere", "--mirror"]) == 0
    assert main([*words, "--look", "everywhere", "--mirror"]) == 0
    assert "1 there already" in capsys.readouterr().out
    for other in (["--look", "everywhere"], ["--mirror"], []):
        assert main([*words, *other]) == 1
        assert "other options" in capsys.readouterr().err
    assert main([*words, "--mirror", "--overwrite"]) == 0
    report = json.loads((tmp_path / "out" / "case0" / "report.json").read_text())
    assert report["options"] == {"look": "liver", "mirror": True}


@pytest.mark.parametrize(
    "options",
    [
        ["--scheduler", "tcp://127.0.0.1:1", "--workers", "2"],
        ["--tls-ca", "ca.pem"],
        ["--workers", "0"],
        ["--send", "parcels"],
        ["--look", "liver and spleen"],
    ],
)
def test_wrong_usage(tmp_path, model, capsys, options):
    words = ["batch", str(tmp_path), "-o", str(tmp_path / "out")]
    assert main([*words, "--model", str(model.folder), *options]) == 2
    assert not (tmp_path / "out").exists()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("where", "said"),
    [("127.0.0.1:8786", "no address"), ("tcp://127.0.0.1:1", "No scheduler answers")],
)
def test_a_scheduler_that_is_not_there_is_a_sentence(
    tmp_path, model, capsys, where, said
):
    write_cases(tmp_path / "in", 1)
    words = ["batch", tmp_path / "in", "-o", tmp_path / "out", "--scheduler", where]
    assert main([*map(str, words), "--model", str(model.folder)]) == 1
    assert said in refused(capsys)


def test_a_prediction_elsewhere_is_the_one_made_here(tmp_path, model, address):
    path = write_nifti(tmp_path / "ct.nii.gz", phantom_ct())
    volume = open_ct(path)
    reports = []
    there = predict_remotely(
        address, model, volume, lambda *report: reports.append(report)
    )
    here = Predictor(model, "cpu").predict(volume)
    assert (there.box, there.geometry) == (here.box, volume.geometry)
    for name in ("liver", "tumour", "decision"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name))
    assert there.run.device == "cpu (cluster)"
    assert there.run.model_sha256 == model.sha256
    assert reports[0] == (0, 1, "Connecting to the cluster")


def test_a_prediction_elsewhere_tells_its_plan(tmp_path, model, address):
    volume = open_ct(write_nifti(tmp_path / "ct.nii.gz", phantom_ct()))
    told, partial = [], []
    listener = Listener(told.append, lambda *found: partial.append(found))
    predict_remotely(address, model, volume, listener=listener)
    (plan,) = told
    assert plan.startswith("On the cluster: ")
    assert " needs " in plan
    assert plan.endswith("The masks come whole, at the end of the run.")
    assert partial == []


def test_a_prediction_elsewhere_stops_within_a_window(tmp_path, address):
    slow = find_model(
        write_random_model(tmp_path / "slow", spacing_mm=(1.0, 1.0, 1.0), overlap=0.5)
    )
    hu = np.random.default_rng(0).integers(-20, 60, (96, 96, 96)).astype(np.int16)
    volume = open_ct(write_nifti(tmp_path / "big.nii.gz", hu))
    stop = threading.Event()

    def on_progress(done, _total, text):
        if "Segmenting" in text and done:
            stop.set()

    with pytest.raises(CancelledError):
        predict_remotely(address, slow, volume, on_progress, stop.is_set)
    with connected(address) as crew:
        wait_for(lambda: set(crew.client.run(executing).values()) == {0}, 20)


def executing(dask_worker):
    return dask_worker.state.executing_count


def test_a_model_is_known_by_all_that_decides_its_masks(tmp_path, model):
    card = card_of(model)
    assert find_copy(card).folder == model.folder
    other = tiny_spec("bands", sha256=model.sha256, hu_window=(-100.0, 200.0))
    assert digest_of(other) != card.digest
    assert digest_of(find_model(model.folder)) == card.digest


def test_no_text_of_what_crosses_names_a_case(tmp_path):
    case = Case("DOE_JANE", tmp_path / "DOE_JANE.nii", "1.2.3")
    assert "DOE" not in repr(case)


def test_a_cluster_without_workers_is_a_sentence(tmp_path, model, monkeypatch):
    monkeypatch.setattr("napari_liverseg.batch.crew.WAIT_S", 0.1)
    volume = open_ct(write_nifti(tmp_path / "ct.nii.gz", phantom_ct()))
    with (
        cluster_inside(workers=0) as cluster,
        pytest.raises(DeviceError, match="has no workers"),
    ):
        predict_remotely(cluster.scheduler_address, model, volume)


def test_a_connection_that_fails_leaves_nothing_half_open():
    """Dask would close it at some garbage collection, and hang there."""
    import gc

    import distributed

    def clients():
        return [o for o in gc.get_objects() if type(o) is distributed.Client]

    before = {id(client) for client in clients()}
    with pytest.raises(DeviceError) as refusal, connected("tcp://127.0.0.1:1"):
        pass
    made = [client for client in clients() if id(client) not in before]
    assert made  # the error's traceback still holds it
    assert all(client.status == "closed" for client in made)
    assert "No scheduler answers" in str(refusal.value)

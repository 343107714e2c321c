"""Worker processes that die, belong to others, or ask for proof of who we are."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import subprocess
import threading

import numpy as np
import pytest

from cli_cases import phantom_ct, phantom_labels, write_nifti
from cluster_case import (
    DIES,
    DIES_OF_VOXELS,
    ELSEWHERE,
    FULL,
    Processes,
    Quiet,
    cluster_inside,
    wait_for,
    write_cases,
    write_model,
)
from napari_liverseg.batch.address import (
    TlsFiles,
    is_address,
    is_open,
    parse_address,
)
from napari_liverseg.batch.cases import find_cases
from napari_liverseg.batch.cluster import connected, local_workers
from napari_liverseg.batch.order import Wish
from napari_liverseg.batch.remote import predict_remotely
from napari_liverseg.batch.run import Batch
from napari_liverseg.cli import main
from napari_liverseg.core.errors import DeviceError
from napari_liverseg.core.probabilities import Thresholds
from napari_liverseg.io.label_map import read_label_map
from napari_liverseg.io.open import open_ct
from napari_liverseg.models.store import find_model

CASES = 6


@pytest.fixture
def processes(tmp_path):
    folder = tmp_path / "cluster"
    folder.mkdir()
    started = Processes(folder)
    yield started
    started.close()


@pytest.fixture
def model(tmp_path):
    return find_model(write_model(tmp_path / "bands"))


class InThread:
    """A batch in a thread, as the command runs it."""

    def __init__(self, source, out, wish, address):
        self.listener, self.error = Quiet(), None
        out.mkdir(exist_ok=True)
        self.work = Batch(find_cases(source, out), out, wish, self.listener)
        self._address = address
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def runs(self):
        return self._thread.is_alive()

    def join(self):
        self._thread.join(180)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.work.rows

    def _run(self):
        try:
            self.work.skip_finished()
            with connected(self._address) as crew:
                self.work.run(crew)
        except Exception as error:  # noqa: BLE001 - raised again by `join`
            self.error = error


@pytest.mark.parametrize("foreign", [False, True], ids=["paths", "voxels"])
def test_a_worker_that_is_killed_costs_nothing(tmp_path, processes, model, foreign):
    """Foreign workers have data of their own, and so are sent the voxels."""
    sums = write_cases(tmp_path / "in", CASES)
    own = {"NAPARI_LIVERSEG_DATA": str(tmp_path / "theirs")} if foreign else {}
    workers = {w.pid: w for w in (processes.add_worker(**own) for _ in range(2))}
    out = tmp_path / "out"
    batch = InThread(tmp_path / "in", out, Wish(model, Thresholds()), processes.address)
    wait_for(lambda: batch.error or len({pid for _, pid in processes.begun()}) == 2)
    assert batch.error is None
    held, victim = processes.begun()[0]
    workers[victim].send_signal(signal.SIGKILL)
    workers[victim].wait(30)
    processes.go()
    rows = batch.join()

    assert sorted(row.name for row in rows) == sorted(sums)
    assert [row.problems for row in rows if row.status != "done"] == []
    begun = [seen for seen, _ in processes.begun()]
    assert begun.count(held) == 2
    assert sorted(begun) == sorted([*sums.values(), held])
    survivors = {pid for _, pid in processes.begun()[2:]}
    assert survivors == workers.keys() - {victim}
    assert sorted(p.name for p in out.iterdir()) == [*sorted(sums), "summary.csv"]
    for name in sums:
        files = sorted(p.name for p in (out / name).iterdir())
        assert files == ["labels.nii.gz", "report.json"]
        labels = read_label_map(out / name / "labels.nii.gz", None).labels
        assert np.count_nonzero(labels) == pytest.approx(
            np.count_nonzero(phantom_labels()), rel=0.05
        )
    with (out / "summary.csv").open(newline="") as file:
        assert [row["name"] for row in csv.DictReader(file)] == sorted(sums)


@pytest.fixture
def elsewhere(tmp_path):
    """Return the variables of a worker on a computer of its own."""
    own = {"NAPARI_LIVERSEG_DATA": "data", "NAPARI_LIVERSEG_MODELS": "models"}
    folders = {name: str(tmp_path / "theirs" / part) for name, part in own.items()}
    return {**folders, "HIDDEN": str(tmp_path / "bands")}


@pytest.mark.parametrize("failures", ["0", "3"])
def test_a_worker_that_is_lost_with_the_model_is_one_that_is_lost(
    tmp_path, model, elsewhere, failures, monkeypatch
):
    """Dask says so in two ways, by how often a task may take its worker with it."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", failures)
    folder = tmp_path / "own"
    folder.mkdir()
    own = Processes(folder)
    try:
        write_cases(tmp_path / "in", 2)
        dying = own.add_worker(preload=ELSEWHERE + DIES, **elsewhere)
        out = tmp_path / "out"
        batch = InThread(tmp_path / "in", out, Wish(model, Thresholds()), own.address)
        wait_for(lambda: batch.error or dying.poll() is not None)
        own.add_worker(preload=ELSEWHERE, **elsewhere)
        rows = batch.join()
    finally:
        own.close()
    assert [row.status for row in rows] == ["done", "done"], rows


@pytest.mark.slow
def test_a_model_that_takes_two_workers_with_it_ends_the_batch(
    tmp_path, processes, model, elsewhere
):
    write_cases(tmp_path / "in", 2)
    for _ in range(2):
        processes.add_worker(preload=ELSEWHERE + DIES, **elsewhere)
    out = tmp_path / "out"
    batch = InThread(tmp_path / "in", out, Wish(model, Thresholds()), processes.address)
    with pytest.raises(DeviceError, match="lost while they take the model 'bands'"):
        batch.join()


def test_a_full_disk_is_told_as_what_it_is(tmp_path, processes, model, elsewhere):
    pytest.importorskip("resource", reason="limits files on Unix alone")
    processes.add_worker(preload=ELSEWHERE + FULL, **elsewhere)
    volume = open_ct(write_nifti(tmp_path / "ct.nii.gz", phantom_ct()))
    with pytest.raises(DeviceError) as refusal:
        predict_remotely(processes.address, model, volume)
    assert "could not take the model 'bands'" in refusal.value.found
    assert "cannot be written there (File too large)" in refusal.value.found
    assert "Make room" in refusal.value.next_step
    assert not list((tmp_path / "theirs" / "data" / "received-models").iterdir())


@pytest.mark.slow
def test_a_case_that_takes_two_workers_with_it_is_refused(tmp_path, processes, model):
    write_cases(tmp_path / "in", 1)
    workers = [processes.add_worker() for _ in range(2)]
    out = tmp_path / "out"
    batch = InThread(tmp_path / "in", out, Wish(model, Thresholds()), processes.address)
    for count in (1, 2):
        wait_for(lambda n=count: batch.error or len(processes.begun()) == n)
        victim = processes.begun()[-1][1]
        next(w for w in workers if w.pid == victim).kill()
    (row,) = batch.join()
    assert row.status == "refused"
    assert "second one that this case took with it" in row.problems
    assert [p.name for p in out.iterdir()] == ["summary.csv"]


@pytest.mark.slow
def test_a_case_that_is_lost_on_its_way_is_not_sent_without_end(
    tmp_path, processes, model
):
    """Workers that ended are started anew, as Dask's nannies do."""
    write_cases(tmp_path / "in", 1)
    workers = [processes.add_worker(preload=DIES_OF_VOXELS)]
    wish = Wish(model, Thresholds(), send="bytes")
    batch = InThread(tmp_path / "in", tmp_path / "out", wish, processes.address)
    while batch.runs and len(workers) < 5:
        wait_for(lambda: not batch.runs or workers[-1].poll() is not None)
        if batch.runs:
            workers.append(processes.add_worker(preload=DIES_OF_VOXELS))
    assert len(workers) < 5
    (row,) = batch.join()
    assert row.status == "refused"
    assert "second one that this case took with it" in row.problems


@pytest.mark.slow
def test_a_lost_scheduler_ends_the_batch(tmp_path, processes, model):
    write_cases(tmp_path / "in", 2)
    processes.add_worker()
    out = tmp_path / "out"
    batch = InThread(tmp_path / "in", out, Wish(model, Thresholds()), processes.address)
    wait_for(lambda: batch.error or processes.begun())
    processes.scheduler.kill()
    with pytest.raises(DeviceError, match=r"scheduler at .* was lost"):
        batch.join()
    assert [p.name for p in out.iterdir()] == ["summary.csv"]


@pytest.mark.slow
def test_a_prediction_elsewhere_outlives_neither_worker_nor_scheduler(
    tmp_path, processes, model
):
    volume = open_ct(write_nifti(tmp_path / "ct.nii.gz", phantom_ct()))
    address = processes.address
    _lost_during("worker", processes.add_worker(), processes, (address, model, volume))
    processes.add_worker()
    _lost_during("scheduler", processes.scheduler, processes, (address, model, volume))


def _lost_during(name, process, processes, words):
    errors, before = [], len(processes.begun())
    predict = threading.Thread(target=_predict, args=(*words, errors))
    predict.start()
    wait_for(lambda: errors or len(processes.begun()) > before)
    process.kill()
    predict.join(120)
    assert f"{name} at " in errors[0].found
    assert "lost" in errors[0].found


def _predict(address, model, volume, errors):
    try:
        predict_remotely(address, model, volume)
    except DeviceError as error:
        errors.append(error)


@pytest.mark.slow
def test_a_worker_of_another_version_is_a_sentence(tmp_path, processes, model):
    old = tmp_path / "old" / "napari_liverseg"
    old.mkdir(parents=True)
    (old / "__init__.py").write_text('__version__ = "0.0.1"\n')
    processes.add_worker(preload="", PYTHONPATH=str(old.parent))
    volume = open_ct(write_nifti(tmp_path / "ct.nii.gz", phantom_ct()))
    with pytest.raises(DeviceError, match=r"does not run this.* the same version"):
        predict_remotely(processes.address, model, volume)


def test_workers_of_our_own_end_with_the_batch(tmp_path, model, capsys):
    write_cases(tmp_path / "in", 2)
    out = tmp_path / "out"
    words = ["batch", tmp_path / "in", "-o", out, "--model", model.folder]
    assert main([*map(str, words), "--device", "cpu", "--workers", "2"]) == 0
    assert capsys.readouterr().out.startswith("2 segmented")
    assert (out / "case1" / "labels.nii.gz").exists()
    with local_workers(1, "cpu") as crew:
        (pid,) = crew.client.run(os.getpid).values()
        assert pid != os.getpid()
    wait_for(lambda: not _runs(pid), 30)


def _runs(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def certificates(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("needs the command openssl to make certificates")
    return _certificates(tmp_path / "tls")


def _certificates(folder):
    folder.mkdir()

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ["req", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    openssl(*new, "-x509", "-subj", "/CN=ours", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(*new, "-subj", "/CN=side", "-keyout", "key.pem", "-out", "side.csr")
    openssl(
        *("x509", "-req", "-in", "side.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
        *("-CAcreateserial", "-days", "2", "-out", "cert.pem"),
    )
    return TlsFiles(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")


def test_tls_proves_both_sides(tmp_path, model, certificates, monkeypatch):
    from distributed import Security

    monkeypatch.setattr("napari_liverseg.batch.cluster.CONNECT_S", 1)

    ca, cert, key = map(
        str, (certificates.authority, certificates.certificate, certificates.key)
    )
    security = Security(
        require_encryption=True,
        tls_ca_file=ca,
        **{
            f"tls_{role}_{what}": file
            for role in ("client", "scheduler", "worker")
            for what, file in (("cert", cert), ("key", key))
        },
    )
    volume = open_ct(write_nifti(tmp_path / "ct.nii.gz", phantom_ct()))
    with cluster_inside(protocol="tls://", security=security) as cluster:
        address = cluster.scheduler_address
        assert address.startswith("tls://")
        assert predict_remotely(address, model, volume, tls=certificates).liver.any()
        strangers = _certificates(tmp_path / "strangers")
        for tls in (strangers, None):
            with pytest.raises(DeviceError, match="No scheduler answers"):
                predict_remotely(address, model, volume, tls=tls)
        plain = address.replace("tls://", "tcp://")
        with pytest.raises(DeviceError, match="No scheduler answers"):
            predict_remotely(plain, model, volume)
    missing = TlsFiles(tmp_path / "ca.pem", certificates.certificate, certificates.key)
    with pytest.raises(DeviceError, match=r"'ca\.pem'"):
        predict_remotely(address, model, volume, tls=missing)


def test_addresses():
    assert parse_address(" TCP://Host-1:08786 ") == "tcp://Host-1:8786"
    assert parse_address("tls://[::1]:8786") == "tls://[::1]:8786"
    for text in ("", "cuda:0", "host:8786", "tcp://host", "tcp://h:99999", "ws://h:1"):
        with pytest.raises(DeviceError, match="no address"):
            parse_address(text)
    assert not is_address("cuda:0")
    assert is_address("tcp://10.0.0.3:8786")
    assert is_open("tcp://10.0.0.3:8786")
    assert not is_open("tls://10.0.0.3:8786")
    assert not is_open("tcp://127.0.0.1:8786")

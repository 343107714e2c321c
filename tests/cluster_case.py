"""Real schedulers and workers for tests, on loopback, in this process or others."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time

import numpy as np
import torch

from cli_cases import SPACING, phantom_ct, write_nifti
from tiny_model import write_threshold_model

PROBE = """
import os, time
from pathlib import Path
from napari_liverseg.inference import predictor

place = Path(os.environ["PROBE"])

def predict(self, volume, *others):
    seen = int(volume.hu.astype("int64").sum())
    with (place / "begun.txt").open("a") as file:
        file.write(f"{seen} {os.getpid()}\\n")
    while not (place / "go").exists():
        time.sleep(0.01)
    return self.whole(volume, *others)

if not hasattr(predictor.Predictor, "whole"):  # Dask may load this twice
    predictor.Predictor.whole = predictor.Predictor.predict
    predictor.Predictor.predict = predict
"""
"""Loaded by worker processes: writes down each prediction that begins, and waits."""

ELSEWHERE = """
import os
from pathlib import Path

hidden = Path(os.environ["HIDDEN"])

def is_dir(self, **words):
    return hidden not in (self, *self.parents) and self.looks(**words)

if not hasattr(Path, "looks"):  # Dask may load this twice
    Path.looks, Path.is_dir = Path.is_dir, is_dir
"""
"""Does not see a folder, as if it were on another computer's disk."""

DIES = """
import os
from napari_liverseg.batch import model_copy

model_copy.receive = lambda *_: os._exit(1)
"""
"""Dies of a model that it is sent."""

DIES_OF_VOXELS = """
import os
from napari_liverseg.batch.order import Voxels

Voxels.__setstate__ = lambda *_: os._exit(1)
"""
"""Dies of a CT while its voxels come over."""

FULL = """
import resource

resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
"""
"""Has no room for a model's weights."""


class Quiet:
    """A listener that keeps what it hears."""

    def __init__(self):
        self.heard = []

    def ended(self, row, ended, total, left_s):
        self.heard.append((row.name, row.status, ended, total, left_s))


def write_cases(folder, count):
    """Write CTs that differ in one voxel, so that each is known by its sum."""
    folder.mkdir(parents=True, exist_ok=True)
    sums = {}
    for number in range(count):
        hu = phantom_ct()
        hu[0, 0, 0] += number
        write_nifti(folder / f"case{number}.nii.gz", hu)
        sums[f"case{number}"] = int(hu.astype(np.int64).sum())
    return sums


def write_model(folder):
    return write_threshold_model(folder, spacing_mm=SPACING)


@contextlib.contextmanager
def cluster_inside(workers=1, **settings):
    """Yield a scheduler with workers in threads of this process, over TCP."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=workers,
        # A worker gives PyTorch as many threads as it has: leave ours as they are.
        threads_per_worker=torch.get_num_threads(),
        processes=False,
        dashboard_address="127.0.0.1:0",
        scheduler_kwargs={"dashboard": False},
        memory_limit=None,
        **{"protocol": "tcp://", **settings},
    ) as cluster:
        yield cluster


class Processes:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.scheduler_file = folder / "scheduler.json"
        self._started = []
        self.scheduler = self._start(
            "distributed.cli.dask_scheduler",
            *("--port", "0", "--host", "127.0.0.1", "--no-dashboard"),
            *("--scheduler-file", self.scheduler_file),
        )

    @property
    def address(self):
        import json

        return json.loads(_when_there(self.scheduler_file))["address"]

    def add_worker(self, *, preload=PROBE, **environment):
        """Start a worker; with the probe it writes down what it begins."""
        script = self.folder / f"preload{len(self._started)}.py"
        script.write_text(preload)
        return self._start(
            "distributed.cli.dask_worker",
            *("--no-nanny", "--nthreads", "1", "--no-dashboard"),
            *("--host", "127.0.0.1", "--preload", script),
            *("--local-directory", self.folder, "--memory-limit", "0"),
            *("--scheduler-file", self.scheduler_file),
            **environment,
        )

    def begun(self):
        """Return the sum of voxels and the process of each prediction begun."""
        file = self.folder / "begun.txt"
        lines = file.read_text().splitlines() if file.exists() else []
        return [tuple(map(int, line.split())) for line in lines]

    def go(self):
        (self.folder / "go").touch()

    def close(self):
        for process in self._started:
            process.kill()
            process.wait(30)

    def _start(self, module, *words, **environment):
        process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, words)],
            env={**os.environ, "PROBE": str(self.folder), **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._started.append(process)
        return process


def wait_for(condition, seconds=240):
    """Wait until something is true; generous, since machines may be busy."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def _when_there(path):
    wait_for(lambda: path.exists() and path.stat().st_size)
    return path.read_text()

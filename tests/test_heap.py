"""Blocks that layers take and give back stay with the program while it computes."""

import subprocess
import sys

import pytest

from napari_liverseg.training import heap
from napari_liverseg.training.heap import kept_memory

COUNT = """
import resource
import numpy as np
from napari_liverseg.training.heap import kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        np.ones(12_000_000, np.float32)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1])

before, first = faults(), held()
with kept_memory():
    faults()
    inside, most = faults(), held()
print(before, inside, faults(), most - held() > 8_000, held() - first < 2_000)
"""


@pytest.mark.skipif(heap._glibc() is None, reason="this system has no glibc")
def test_freed_blocks_are_used_again_and_given_back_at_the_end():
    done = subprocess.run(
        [sys.executable, "-c", COUNT], capture_output=True, text=True, check=True
    )
    before, inside, after, is_less, is_as_before = done.stdout.split()
    assert int(inside) < int(before) / 10, "the system gives nothing anew"
    assert int(after) > int(inside), "and does again, once it is over"
    assert (is_less, is_as_before) == ("True", "True")


def test_other_systems_do_without(monkeypatch):
    monkeypatch.setattr(heap.sys, "platform", "win32")
    with kept_memory():
        assert heap._glibc() is None

"""Processes that draw are counted from the cores that this process may use."""

import os

import pytest

from napari_liverseg.training.compute import Place
from napari_liverseg.training.cores import cpu_quota, usable_cores


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system binds no processes"
)
def test_cores_that_a_process_is_not_bound_to_do_not_count():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores() == 1
        assert Place("cpu").drawing == 0
    finally:
        os.sched_setaffinity(0, before)
    assert 1 <= usable_cores() <= len(before)


def test_a_container_gets_a_share_of_the_time(tmp_path):
    inner = tmp_path / "job" / "step"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000\n")
    assert cpu_quota(tmp_path, "0::/job/step\n") is None
    (inner.parent / "cpu.max").write_text("250000 100000\n")
    assert cpu_quota(tmp_path, "0::/job/step\n") == 2.5
    assert cpu_quota(tmp_path, "0::/elsewhere\n") is None


def test_control_groups_of_the_first_version_are_known(tmp_path):
    home = tmp_path / "cpu,cpuacct" / "docker" / "ab12"
    home.mkdir(parents=True)
    (home / "cpu.cfs_period_us").write_text("100000\n")
    (home / "cpu.cfs_quota_us").write_text("-1\n")
    said = "4:memory:/docker/ab12\n3:cpu,cpuacct:/docker/ab12\n0::/\n"
    assert cpu_quota(tmp_path, said) is None
    (home / "cpu.cfs_quota_us").write_text("400000\n")
    assert cpu_quota(tmp_path, said) == 4.0
    # A container sees its own group as the root, under the path of its host.
    for name, value in (("cpu.cfs_period_us", 100000), ("cpu.cfs_quota_us", 150000)):
        (tmp_path / "cpu,cpuacct" / name).write_text(f"{value}\n")
    assert cpu_quota(tmp_path, said.replace("ab12", "cd34")) == 1.5

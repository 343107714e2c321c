"""Processor cores that this process may use, which may be fewer than there are."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Return how many cores this process may use, at least 1.

    Clusters bind processes to cores, and containers get a share of the time of all
    of them; a computer's own number of cores knows of neither.
    """
    with suppress(OSError):
        return _within(_bound_cores(), cpu_quota(CGROUPS, MEMBERSHIP.read_text()))
    return _bound_cores()  # no Linux, or none that says its groups


def cpu_quota(root: Path, membership: str) -> float | None:
    """Return the cores' worth of time that control groups leave, None without limit.

    Parameters
    ----------
    root : Path
        Where control groups are mounted; of version 1 each controller has a folder.
    membership : str
        Lines such as ``0::/user.slice``, as ``/proc/self/cgroup`` has them.
    """
    quotas = []
    for line in membership.splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            quotas += [_second(folder) for folder in _up(root, group)]
        elif "cpu" in controllers.split(","):
            homes = root / controllers, root / "cpu"
            quotas += [_first(folder) for home in homes for folder in _up(home, group)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _bound_cores() -> int:
    own = psutil.Process()
    if hasattr(own, "cpu_affinity"):  # not on macOS, which binds no processes
        with suppress(psutil.Error, OSError):
            return len(own.cpu_affinity())
    return os.cpu_count() or 1


def _within(cores: int, quota: float | None) -> int:
    return cores if quota is None else max(1, min(cores, int(quota)))


def _up(root: Path, group: str) -> Iterator[Path]:
    """Yield the folders of a group and of all around it: each may set a limit."""
    folder = root / group.strip("/")
    # A container may see its own group as the root, under a path of its host.
    yield from (path for path in (folder, *folder.parents) if path.is_relative_to(root))


def _second(folder: Path) -> float | None:
    """Return the limit of a group of version 2: 'max 100000' is none."""
    with suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period)
    return None


def _first(folder: Path) -> float | None:
    """Return the limit of a group of version 1: -1 is none."""
    with suppress(OSError, ValueError, ZeroDivisionError):
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
        return quota / period if quota > 0 else None
    return None

"""Whether files are the same, here and elsewhere, told without reading them."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from napari_liverseg.batch.data_files import data_files

if TYPE_CHECKING:
    from pathlib import Path


def sight_of(path: Path) -> str:
    """Return a hash of the names, sizes and times of a case's files.

    Names are those inside the case, so that it is the same wherever its disk is
    mounted. Disks that tell times more coarsely than in microseconds may give
    another hash.

    Raises
    ------
    OSError
        When a file vanishes meanwhile.
    """
    digest = hashlib.sha256()
    for name, stat in files_of(path):
        # Windows and its network disks tell no nanoseconds.
        time_us = stat.st_mtime_ns // 1000
        digest.update(os.fsencode(f"{name}\0{stat.st_size}\0{time_us}\0"))
    return digest.hexdigest()


def files_of(path: Path) -> list[tuple[str, os.stat_result]]:
    """Return each file of a case by its path inside it, with its size and times.

    Of a header that stands alone, the files of its voxels too.
    """
    if not path.is_dir():
        if not path.exists():
            return []
        return [(path.name, path.stat()), *data_files(path)]
    found = []
    for where, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            file = os.path.join(where, name)  # noqa: PTH118 - a thousand slices
            inside = os.path.relpath(file, path).replace(os.sep, "/")
            found.append((inside, os.stat(file)))  # noqa: PTH116
    return found

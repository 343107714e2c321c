"""Memory that a program keeps while it computes, instead of asking anew each time.

The layers of a network take and give back the same large blocks again and again. The C
library of Linux gives each back to the system, which clears it before the next layer
may have it. While the blocks are kept, memory that was used once stays with the
program, and goes back at the end. The price is a higher peak, so it is for training,
and not for runs whose memory was told before. It helps in a program's main thread; in
others glibc asks the system all the same.
"""

from __future__ import annotations

import ctypes
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""Parameters of glibc's `mallopt`."""

KEEP_ALL = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1}

GIVE_BACK = {MMAP_MAX: 65_536, MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26}
"""What glibc comes to by itself once a program has freed a block of 32 MB."""


@contextmanager
def kept_memory() -> Iterator[None]:
    """Keep what is freed meanwhile; elsewhere than on Linux with glibc, do nothing."""
    library = _glibc()
    if library is None:
        yield
        return
    _set(library, KEEP_ALL)
    try:
        yield
    finally:
        _set(library, GIVE_BACK)
        library.malloc_trim(0)


def _set(library: ctypes.CDLL, values: dict[int, int]) -> None:
    for parameter, value in values.items():
        library.mallopt(parameter, value)


def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    both = hasattr(library, "mallopt") and hasattr(library, "malloc_trim")
    return library if both else None

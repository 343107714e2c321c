"""The one door through which threads load PyTorch, MONAI and what networks need.

Their modules import each other in circles: two threads that load them at the same
time wait for each other, and Python ends that with an error.
"""

from __future__ import annotations

import importlib
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTS = (
    "napari_liverseg.models.network",
    "napari_liverseg.inference.predictor",
    "napari_liverseg.inference.forecast",
)

_DOOR = threading.Lock()


@contextmanager
def loading() -> Iterator[None]:
    """Load what segments, and whatever networks are built inside, one thread at a time.

    Building a network loads more, such as another maker's package.
    """
    with _DOOR:
        for part in PARTS:
            importlib.import_module(part)
        yield


def is_loaded() -> bool:
    """Whether PyTorch is there, and no thread is still loading it."""
    return "torch" in sys.modules and not _DOOR.locked()

"""The one door through which threads load PyTorch and MONAI.

Their modules import each other in circles: two threads that load them at the same
time wait for each other, and Python ends that with an error.
"""

from __future__ import annotations

import importlib
import sys
import threading

PARTS = (
    "napari_liverseg.models.network",
    "napari_liverseg.inference.predictor",
    "napari_liverseg.inference.forecast",
)

_DOOR = threading.Lock()


def load_engine() -> None:
    """Load what segments, once; wait where another thread does that just now."""
    with _DOOR:
        for part in PARTS:
            importlib.import_module(part)


def is_loaded() -> bool:
    """Whether PyTorch is there, and no thread is still loading it."""
    return "torch" in sys.modules and not _DOOR.locked()

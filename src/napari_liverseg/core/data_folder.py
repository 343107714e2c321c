"""Where this program keeps what belongs to its user, on every system."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

DATA_VARIABLE = "NAPARI_LIVERSEG_DATA"
"""Environment variable that names another folder for the user's data."""


def data_folder() -> Path:
    """Return the folder of models, recovery files and the installation's key.

    It is not made here.
    """
    chosen = os.environ.get(DATA_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_data_path("napari-liverseg", appauthor=False)

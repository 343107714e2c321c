"""What training needs beside what the plugin itself does."""

from __future__ import annotations

import importlib.util

from napari_liverseg.core.errors import MissingExtraError

PACKAGES = ("lightning", "tensorboard", "plotly")


def require_train() -> None:
    """Refuse to train where a package of the extra ``train`` is missing.

    Raises
    ------
    MissingExtraError
        With the command that installs them.
    """
    for package in PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "train", "Training")

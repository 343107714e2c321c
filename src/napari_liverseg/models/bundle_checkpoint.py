"""Which weights a MONAI bundle's config loads."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.bundle_component import component
from napari_liverseg.models.bundle_config import refusal
from napari_liverseg.models.foreign_file import refuse_absurd_weights

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.models.bundle_config import Config

USUAL_WEIGHTS = "models/model.pt"


def weights_file(config: Config, folder: Path) -> Path:
    """Return the checkpoint that a config loads; the usual one where it is silent.

    Parameters
    ----------
    config : Config
    folder : Path
        Of the bundle, resolved.

    Raises
    ------
    ModelError
        When the config loads a file from outside the bundle, or the file is missing or
        absurdly long.
    """
    named = USUAL_WEIGHTS
    for raw in _loaders(config):
        loader = component(config, raw, "checkpointloader")
        if loader is None or loader.disabled:
            continue
        if loader.name_in("monai.handlers") != "CheckpointLoader":
            continue
        path = PurePosixPath(str(loader.get("load_path")).replace("\\", "/"))
        # The bundle itself may lie in a folder of that name.
        before, models, inside = path.as_posix().rpartition("models/")
        if ".." in path.parts or not models or (before and before[-1] != "/"):
            raise refusal(config, f"loads weights from outside the bundle ({path})")
        named = f"{models}{inside}"
    file = folder / named
    if not file.is_file() or not file.resolve().is_relative_to(folder):
        found = f"The bundle '{folder.name}' has no weights: {named} is missing."
        raise ModelError(found, "Copy the whole bundle again, with its models folder.")
    refuse_absurd_weights(file)
    return file


def _loaders(config: Config) -> list[Any]:
    handlers = config.content.get("handlers")
    listed = handlers if isinstance(handlers, list) else []
    return [config.content.get("checkpointloader"), *listed]

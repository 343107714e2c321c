"""Checkpoints that a crash or a full disk cannot break."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from napari_liverseg.core.errors import ModelError
from napari_liverseg.training.whole_file import write_whole

CHECKPOINT_FILE = "last.ckpt"


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside the last one and then takes its place."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any = None,
    ) -> None:
        """Write a checkpoint in one step.

        Raises
        ------
        ExportError
            When the disk is full; the last checkpoint stays.
        """

        def write(part: Path) -> None:
            # To an open file: by name, torch says little of why it failed.
            with part.open("wb") as file:
                torch.save(checkpoint, file)

        write_whole(Path(path), write)


@dataclass(frozen=True, eq=False)
class Kept:
    """What a checkpoint holds, as far as this program looks into it.

    Parameters
    ----------
    step : int
        At which it was made.
    learner : dict of str to Tensor
        State of the `Learner`.
    watch : dict
        State of the `Watch`.
    """

    step: int
    learner: dict[str, torch.Tensor]
    watch: dict[str, Any]


def read_checkpoint(path: Path, watch: str) -> Kept:
    """Return what a checkpoint holds.

    Parameters
    ----------
    path : Path
    watch : str
        The key of the `Watch` among Lightning's callbacks.

    Raises
    ------
    ModelError
        When the file is no checkpoint of a training.
    """
    try:
        content = torch.load(path, "cpu", weights_only=True, mmap=True)
        made_at = int(content["global_step"])
        return Kept(made_at, content["state_dict"], content["callbacks"][watch])
    except Exception as error:  # torch raises its own kinds for a broken file
        found = f"The checkpoint {path} cannot be read."
        step = f"Remove the folder {path.parent} to train this fold again."
        raise ModelError(found, step) from error

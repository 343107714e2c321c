"""What one fold's checkpoint says of itself, held against its folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_liverseg.models.checkpoint import read_checkpoint
from napari_liverseg.models.foreign_file import refused

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.models.nnunet_model import NnUNetModel


@dataclass(frozen=True, eq=False)
class Fold:
    """One fold's weights.

    Parameters
    ----------
    weights : object
        Not checked yet, see `nnunet_network.fill`.
    mirror_axes : tuple of int
        Network axes along which mirrored windows may be averaged in.
    """

    weights: object
    mirror_axes: tuple[int, ...]


def read_fold(model: NnUNetModel, path: Path) -> Fold:
    """Return a fold's weights once its checkpoint agrees with the model.

    Raises
    ------
    ModelError
        When it was trained by another trainer or configuration, or is refused
        by `read_checkpoint`.
    """
    content = read_checkpoint(path)
    arguments = content.get("init_args")
    configuration = (
        arguments.get("configuration") if isinstance(arguments, dict) else None
    )
    _refuse_other(path, "configuration", configuration, model.plans.configuration)
    if model.trainer:
        _refuse_other(path, "trainer", content.get("trainer_name"), model.trainer)
    axes = _mirror_axes(path, content.get("inference_allowed_mirroring_axes"))
    return Fold(content.get("network_weights"), axes)


def _refuse_other(path: Path, what: str, found: object, wanted: str) -> None:
    if found != wanted:
        reason = f"its {what} is '{str(found)[:60]}', its folder's '{wanted}'"
        raise refused(path.name, reason)


def _mirror_axes(path: Path, axes: object) -> tuple[int, ...]:
    given = [] if axes is None else axes
    if not isinstance(given, (tuple, list)) or not all(
        type(axis) is int and 0 <= axis <= 2 for axis in given
    ):
        raise refused(path.name, "it mirrors along axes that there are not")
    return tuple(sorted(set(given)))

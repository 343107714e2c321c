"""What a user says of a model's channels where their names do not say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_liverseg.core.data_folder import data_folder
from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.channels import choose, recognise
from napari_liverseg.models.foreign_file import read_object

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_liverseg.models.channels import Channels

MAPPING_FILE = "liverseg.json"
"""In the user's data folder: an object from model names to mappings."""

MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class ChannelMapping:
    """Names of channels, as a model's maker wrote them, by what they are.

    Parameters
    ----------
    liver, tumour : tuple of str
    """

    liver: tuple[str, ...]
    tumour: tuple[str, ...] = ()


def mapping_file() -> Path:
    """Return where a user's mappings are; it is not made here."""
    return data_folder() / MAPPING_FILE


def find_mapping(model: str) -> ChannelMapping | None:
    """Return what the user's file says of a model, or None.

    Parameters
    ----------
    model : str
        The model's name.

    Raises
    ------
    ModelError
        When the file is there but cannot be understood.
    """
    path = mapping_file()
    if not path.exists():
        return None
    try:
        mappings = read_object(path, MAX_BYTES)
    except ValueError as error:
        raise _refused(str(error)) from error
    return _parse(mappings[model], model) if model in mappings else None


def map_channels(
    names: Mapping[int, str], model: str, mapping: ChannelMapping | None
) -> Channels:
    """Return a model's channels, as the user says or else by their names.

    Parameters
    ----------
    names : mapping of int to str
        What the model's maker calls each channel.
    model : str
        The model's name, which is its key in the user's file.
    mapping : ChannelMapping or None
        From `find_mapping`.

    Raises
    ------
    ModelError
        See `choose` and `recognise`.
    """
    if mapping is not None:
        return choose(names, mapping.liver, mapping.tumour)
    try:
        return recognise(names)
    except ModelError as error:
        step = f"{error.next_step} Its key there is '{model}'."
        raise ModelError(error.found, step) from error


def _parse(entry: Any, model: str) -> ChannelMapping:
    if not isinstance(entry, dict) or not entry.keys() <= {"liver", "tumour"}:
        reason = f"'{model}' must have the keys 'liver' and 'tumour'"
        raise _refused(reason)
    liver, tumour = (entry.get(what, []) for what in ("liver", "tumour"))
    for names in (liver, tumour):
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            reason = f"'{model}' must list names of channels"
            raise _refused(reason)
    return ChannelMapping(tuple(liver), tuple(tumour))


def _refused(reason: str) -> ModelError:
    found = f"What you say of models in {MAPPING_FILE} is refused: {reason}."
    return ModelError(found, f"Mend {mapping_file()}.")

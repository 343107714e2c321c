"""Where a model in the user's folder came from, and what it was when it came."""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.fingerprint import ORIGIN_FILE, fingerprint
from napari_liverseg.models.two_stage import TWO_STAGE_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.models.contract import Model


class Origin(BaseModel):
    """A note beside a model.

    Parameters
    ----------
    source : str
        An address, or the name of a file or folder; no path, since paths name
        people.
    added : date
    archive_sha256 : str
        Of the zip that it came in, in hex; empty where there was none.
    files_sha256 : str
        Of all files, see `fingerprint`.
    weights_sha256 : str
        As the model told it; empty where it could not be read then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    added: datetime.date
    archive_sha256: str = ""
    files_sha256: str
    weights_sha256: str = ""


def write_origin(
    folder: Path, source: str, archive_sha256: str = "", weights_sha256: str = ""
) -> Origin:
    """Note where a model came from, with the hash of its files as they are now."""
    origin = Origin(
        source=source,
        added=datetime.datetime.now(datetime.UTC).date(),
        archive_sha256=archive_sha256,
        files_sha256=fingerprint(folder),
        weights_sha256=weights_sha256,
    )
    text = origin.model_dump_json(indent=2) + "\n"
    (folder / ORIGIN_FILE).write_text(text, encoding="utf-8")
    return origin


def read_origin(folder: Path) -> Origin | None:
    """Return the note of a model's folder, or None where there is none.

    Raises
    ------
    ModelError
        When the note cannot be read.
    """
    path = folder / ORIGIN_FILE
    if not path.is_file():
        return None
    try:
        return Origin.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ValidationError) as error:
        found = f"{path} cannot be read."
        raise ModelError(found, "Remove the model and add it again.") from error


def refuse_changed(model: Model, weights_sha256: str) -> None:
    """Refuse weights other than those that were added.

    Parameters
    ----------
    model : Model
        Added or not; the note may lie in a folder around its own. That of a model of
        two stages says nothing of each, see `refuse_changed_files`.
    weights_sha256 : str
        Of its weights as they are now, in hex.

    Raises
    ------
    ModelError
        When there is a note and it tells of others.
    """
    origin = None if _is_part(model) else origin_of(model)
    if origin is not None and origin.weights_sha256 not in ("", weights_sha256):
        raise changed(model)


def refuse_changed_files(model: Model) -> None:
    """Refuse a model any file of which is not as it was added; see `fingerprint`.

    Raises
    ------
    ModelError
        When there is a note and it tells of other files.
    """
    home = _home(model)
    origin = read_origin(home)
    if origin is not None and origin.files_sha256 != fingerprint(home):
        raise changed(model)


def origin_of(model: Model) -> Origin | None:
    """Return the note of a model, or None; see `read_origin`."""
    return read_origin(_home(model))


def changed(model: Model) -> ModelError:
    """Return the error of a model whose files are not those that were added."""
    found = f"The files of the model '{model.name}' are not those that were added."
    step = "Remove the model and add it again from its source."
    return ModelError(found, step)


def _is_part(model: Model) -> bool:
    """Whether it is a stage of the model that the note is of."""
    home = _home(model)
    return model.folder != home and (home / TWO_STAGE_FILE).is_file()


def _home(model: Model) -> Path:
    """Return the folder with the note: the model's, or one around it."""
    around = (model.folder, *model.folder.parents[:2])
    noted = (folder for folder in around if (folder / ORIGIN_FILE).is_file())
    return next(noted, model.folder)

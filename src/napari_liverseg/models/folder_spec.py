"""What a model of our own says of itself, in one folder with its weights."""

import datetime
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.foreign_file import (
    first_fault,
    read_object,
    refuse_absurd_weights,
)

MAX_SPEC_BYTES = 1_000_000
"""A longer file is no spec; it is refused before it is parsed."""

STRICT = ConfigDict(frozen=True, extra="forbid")


class Figure(BaseModel):
    """One measured quality of a model and where the number comes from."""

    model_config = STRICT

    what: str
    value: float
    source: str

    @property
    def line(self) -> str:
        """The figure in one line of a card."""
        return f"{self.what}: {self.value:g} ({self.source})"


class FolderSpec(BaseModel):
    """What models say whatever they are for, as JSON beside their weights.

    Parameters
    ----------
    name : str
        Lower-case letters, digits, ``-``, ``_`` and ``.``; what the command
        line calls the model.
    title, notice : str
        What the window calls it, and what a user must know before using it.
    training_data, licence : str
        In words.
    trained_on : date
        Day on which training ended.
    sha256 : str
        Of the weights file, in hex; empty only until the model is saved.
    figures : tuple of Figure
        Measured quality, each with its source.
    """

    model_config = STRICT

    called: ClassVar[str] = "model"
    spec_name: ClassVar[str]
    weights_name: ClassVar[str]

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")
    title: str = Field(min_length=1)
    notice: str = ""
    version: str = Field(min_length=1)
    training_data: str
    trained_on: datetime.date
    licence: str
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    figures: tuple[Figure, ...] = ()

    _folder: Path | None = PrivateAttr(default=None)

    @property
    def folder(self) -> Path:
        """Folder of the spec and the weights.

        Raises
        ------
        ModelError
            When the model was not saved yet.
        """
        if self._folder is None:
            found = f"The {self.called} '{self.name}' has no folder yet."
            raise ModelError(found, "Save it first.")
        return self._folder

    @property
    def weights_file(self) -> Path:
        """The file of the network's weights."""
        return self.folder / self.weights_name

    @property
    def does(self) -> str:
        """What it does, in a sentence of its card."""
        raise NotImplementedError

    @property
    def card(self) -> str:
        """A few lines that say what the model is, for a tooltip or a terminal."""
        lines = [
            f"{self.title}, version {self.version}",
            self.notice,
            self.does,
            f"Trained on {self.training_data} ({self.trained_on:%Y-%m-%d}).",
            *(figure.line for figure in self.figures),
            f"Licence: {self.licence}",
        ]
        return "\n".join(line for line in lines if line)

    def in_folder(self, folder: Path) -> Self:
        """Return the same spec, bound to the folder of its files."""
        bound = self.model_copy()
        bound._folder = folder
        return bound

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read and check the spec of a folder, without its weights.

        Raises
        ------
        ModelError
            When a file is missing, the spec is not what it should be, or the weights
            are absurdly long.
        """
        path = folder / cls.spec_name
        if not path.is_file():
            found = f"{folder} is no {cls.called} folder: it holds no {path.name}."
            step = f"Choose a folder with {path.name} and {cls.weights_name}."
            raise ModelError(found, step)
        try:
            spec = cls.model_validate(read_object(path, MAX_SPEC_BYTES))
        except ValidationError as error:
            raise cls._refused(path, first_fault(error)) from error
        except ValueError as error:
            raise cls._refused(path, str(error)) from error
        if not spec.sha256:
            raise cls._refused(path, "sha256 is missing")
        if not (folder / cls.weights_name).is_file():
            missing = f"{cls.weights_name} is missing"
            found = f"The {cls.called} '{spec.name}' has no weights: {missing}."
            raise ModelError(found, f"Copy the whole folder again to {folder}.")
        refuse_absurd_weights(folder / cls.weights_name)
        return spec.in_folder(folder.resolve())

    @classmethod
    def _refused(cls, path: Path, reason: str) -> ModelError:
        found = f"{path} does not describe a {cls.called}: {reason}."
        return ModelError(found, "Mend the file or copy the whole folder again.")

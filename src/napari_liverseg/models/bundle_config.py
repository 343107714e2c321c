"""The configs of a MONAI bundle, read as data: no part of them is ever run here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_liverseg.core.errors import ModelError
from napari_liverseg.models.expression import (
    REFERENCE,
    NotPlainError,
    Plain,
    evaluate,
)

if TYPE_CHECKING:
    from pathlib import Path

METADATA_FILE = "configs/metadata.json"
INFERENCE_FILES = (
    "configs/inference.json",
    "configs/inference.yaml",
    "configs/inference.yml",
)

MAX_CONFIG_BYTES = 1_000_000
"""A longer file is no config; it is refused before it is parsed."""

MAX_NODES = 100_000
"""References to references can blow a short config up; more values are refused."""

MAX_DEPTH = 40
"""References that go deeper than this go in a circle."""


class ForeignCodeError(ModelError):
    """A config that says something which only running its code could answer."""


@dataclass(frozen=True, eq=False)
class Config:
    """One config of a bundle.

    Parameters
    ----------
    path : Path
        For errors.
    text : str
        As it stands in the file, for the line that offends.
    content : dict
        Parsed.
    """

    path: Path
    text: str = field(repr=False)
    content: dict[str, Any] = field(repr=False)

    def has(self, key: str) -> bool:
        """Whether there is an entry of that name at the top."""
        return key in self.content

    def resolve(self, raw: Any, where: str) -> Plain:
        """Return a part of `content` as plain values, references followed.

        Parameters
        ----------
        raw : object
            As it stands in `content`.
        where : str
            Its place, for errors.

        Raises
        ------
        ForeignCodeError
            When it holds an expression beyond values, or a macro.
        ModelError
            When something that it refers to is missing.
        """
        return _Resolution(self).of(raw, where)

    def find(self, reference: str, where: str) -> Any:
        """Return what a reference such as ``@image#spacing`` names, as it stands.

        Raises
        ------
        ModelError
            When it is not there; `where` says who asked.
        """
        place: Any = self.content
        for key in reference[1:].replace("::", "#").split("#"):
            if isinstance(place, dict) and key in place:
                place = place[key]
            elif isinstance(place, list) and key.isdecimal() and int(key) < len(place):
                place = place[int(key)]
            else:
                reason = f"refers at '{where}' to '{reference}', which is not there"
                raise refusal(self, reason)
        return place

    def foreign(self, offending: str, reason: str) -> ForeignCodeError:
        """Return the error of a config that wants code run, with its line."""
        return ForeignCodeError(
            f"The bundle's {self.path.name} asks for code to be run: "
            f"{self.line_of(offending)} ({reason}).",
            "Write the value itself there, or ask for a bundle without own code.",
        )

    def line_of(self, words: str) -> str:
        """Return ``line 12: '...'``, the first line with these words."""
        for needle in (json.dumps(words)[1:-1], words):
            for number, line in enumerate(self.text.splitlines(), start=1):
                if needle and needle in line:
                    return f"line {number}: {line.strip()[:200]}"
        return f"'{words[:200]}'"


def refusal(config: Config, reason: str) -> ModelError:
    """Return the error of a config that says what cannot be run here."""
    return ModelError(
        f"The bundle's {config.path.name} {reason}.",
        "Use a bundle for CT that this program can run, see docs/models.md.",
    )


def read_config(folder: Path, *names: str) -> Config:
    """Read the first of some configs that a bundle has.

    Raises
    ------
    ModelError
        When there is none, or it is no JSON or YAML of a sensible size.
    """
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        found = f"{folder} is no MONAI bundle: it has no {names[0]}."
        raise ModelError(found, "Choose the folder that holds configs and models.")
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise _unreadable(path, f"it is longer than {MAX_CONFIG_BYTES} bytes")
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else _from_yaml(text)
    except (ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "YAML"
        raise _unreadable(path, f"it is no {kind}") from error
    if not isinstance(content, dict):
        raise _unreadable(path, "it has no named entries")
    return Config(path, text, content)


def _from_yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _unreadable(path: Path, reason: str) -> ModelError:
    found = f"{path} is no config of a MONAI bundle: {reason}."
    return ModelError(found, "Mend the file or copy the bundle again.")


@dataclass
class _Resolution:
    """One walk through a config; counts what it made, so that it ends."""

    config: Config
    nodes: int = 0

    def of(self, raw: Any, where: str, depth: int = 0) -> Plain:
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            raise refusal(self.config, f"refers to itself without end at '{where}'")
        match raw:
            case None | bool() | int() | float():
                return raw
            case str():
                return self._of_text(raw, where, depth)
            case list():
                return [
                    self.of(v, f"{where}#{i}", depth + 1) for i, v in enumerate(raw)
                ]
            case dict():
                return {
                    str(k): self.of(v, f"{where}#{k}", depth + 1)
                    for k, v in raw.items()
                }
        raise refusal(self.config, f"holds a {type(raw).__name__} at '{where}'")

    def _of_text(self, text: str, where: str, depth: int) -> Plain:
        if text.startswith("%"):
            raise self.config.foreign(text, "a macro copies other files in")
        if text.startswith("$"):
            try:
                return evaluate(text[1:], lambda r: self._referred(r, where, depth))
            except NotPlainError as error:
                raise self.config.foreign(text, str(error)) from error
        if REFERENCE.fullmatch(text):
            return self._referred(text, where, depth)
        return text

    def _referred(self, reference: str, where: str, depth: int) -> Plain:
        raw = self.config.find(reference, where)
        return self.of(raw, reference[1:], depth + 1)

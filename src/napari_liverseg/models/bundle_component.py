"""One `_target_` of a bundle's config with its arguments, looked at but not made."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

from napari_liverseg.models.bundle_config import refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_liverseg.core.errors import ModelError
    from napari_liverseg.models.bundle_config import Config
    from napari_liverseg.models.expression import Plain

TARGET = "_target_"

NO_ARGUMENTS = {TARGET, "_disabled_", "_desc_", "_mode_", "_requires_", "keys"}


@dataclass(frozen=True, eq=False)
class Component:
    """A transform, inferer or network as the config names it.

    Parameters
    ----------
    config : Config
    raw : dict
        As it stands there.
    where : str
        Its place, for errors.
    """

    config: Config = field(repr=False)
    raw: dict[str, Any]
    where: str

    @property
    def target(self) -> str:
        """What stands behind ``_target_``, such as ``monai.transforms.Spacingd``."""
        return str(self.raw.get(TARGET, ""))

    def name_in(self, package: str) -> str:
        """Return the class's own name where it is MONAI's, else the whole target.

        ``Spacingd``, ``SpacingD`` and ``SpacingDict`` are one.

        Parameters
        ----------
        package : str
            Such as ``monai.transforms``.
        """
        path, _, name = self.target.rpartition(".")
        if path and path != package and not path.startswith(f"{package}."):
            return self.target
        for ending in ("Dict", "D"):
            if name.endswith(ending):
                return f"{name.removesuffix(ending)}d"
        return name

    @property
    def disabled(self) -> bool:
        """Whether the config switches it off."""
        return str(self.raw.get("_disabled_", False)).strip().lower() == "true"

    def get(self, argument: str, default: Plain = None) -> Plain:
        """Return an argument as plain values."""
        if argument not in self.raw:
            return default
        return self.config.resolve(self.raw[argument], f"{self.where}#{argument}")

    def number(self, argument: str, default: float | None = None) -> float:
        """Return an argument that must be a number.

        Raises
        ------
        ModelError
            When it is missing or something else.
        """
        value = self.get(argument, default)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not _is_number(value):
            raise unfit(self, f"with {argument} {value!r}, which is no number")
        return float(value)

    def triple(self, argument: str) -> tuple[float, float, float]:
        """Return an argument of three numbers above 0; one number stands for three.

        Raises
        ------
        ModelError
            When it is anything else.
        """
        value = self.get(argument)
        values = value if isinstance(value, list) else [value] * 3
        numbers = [float(v) for v in values if _is_number(v) and v > 0]
        if len(values) != 3 or len(numbers) != 3:
            raise unfit(self, f"with {argument} {value!r}: three numbers are needed")
        return numbers[0], numbers[1], numbers[2]

    def only(self, *arguments: str) -> None:
        """Refuse arguments whose meaning nobody here would see to.

        Raises
        ------
        ModelError
            With the first of them.
        """
        for argument in self.raw.keys() - NO_ARGUMENTS - set(arguments):
            raise unfit(self, f"with {argument}, which this program does not know")


def _is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number; to Python, True is one too."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def unfit(part: Component, reason: str) -> ModelError:
    """Return the error of a component that cannot be followed, with its line."""
    line = part.config.line_of(part.target)
    return refusal(part.config, f"uses {part.target} {reason} ({line})")


def component(config: Config, raw: Any, where: str) -> Component | None:
    """Return what stands at a place, references followed, or None for a plain value."""
    for _ in range(10):
        if not isinstance(raw, str) or not raw.startswith("@"):
            break
        raw, where = config.find(raw, where), raw[1:]
    if isinstance(raw, dict) and TARGET in raw:
        return Component(config, raw, where)
    return None


def chain(config: Config, key: str) -> Iterator[Component]:
    """Yield the transforms of an entry: a list, or a `Compose` of one.

    Raises
    ------
    ModelError
        When the entry is missing or something else.
    """
    raw = config.content.get(key)
    outer = component(config, raw, key)
    if outer is not None:
        if outer.name_in("monai.transforms") != "Compose":
            raise unfit(outer, f"where '{key}' needs a Compose")
        raw = outer.raw.get("transforms")
    if isinstance(raw, str) and raw.startswith("@"):
        raw = config.find(raw, key)
    if not isinstance(raw, list):
        raise refusal(config, f"has no list of transforms at '{key}'")
    for index, part in enumerate(raw):
        step = component(config, part, f"{key}#{index}")
        if step is None:
            raise config.foreign(str(part), "a transform must be named")
        if not step.disabled:
            yield step

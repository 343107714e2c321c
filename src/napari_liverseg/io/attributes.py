"""DICOM attributes as plain values; missing and unreadable ones are empty."""

from __future__ import annotations

from math import isfinite
from typing import Any


def text(dataset: Any, name: str) -> str:
    """Return an attribute as text; several values are joined by a slash."""
    value = dataset.get(name)
    if value is None:
        return ""
    if isinstance(value, (str, bytes, int, float)):
        return str(value).strip()
    return "/".join(str(v).strip() for v in value)


def number(dataset: Any, name: str) -> int:
    """Return a whole-number attribute, 0 where missing or unreadable."""
    try:
        return int(dataset.get(name) or 0)
    except (TypeError, ValueError):
        return 0


def decimal(dataset: Any, name: str) -> float | None:
    """Return a decimal attribute, None where missing or unreadable."""
    values = floats(dataset, name, 1)
    return None if values is None else values[0]


def floats(dataset: Any, name: str, count: int) -> tuple[float, ...] | None:
    """Return exactly `count` finite decimals of an attribute, or None."""
    try:
        value = dataset.get(name)
        if value is None or value == "":
            return None
        values = (value,) if count == 1 else tuple(value)
        numbers = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        return None
    whole = len(numbers) == count and all(isfinite(n) for n in numbers)
    return numbers if whole else None


def image_type(dataset: Any, name: str) -> tuple[str, ...]:
    """Return the values of ImageType or FrameType."""
    return tuple(text(dataset, name).upper().split("/"))


def contrast_phase(dataset: Any) -> str:
    """Return the tagged contrast phase, or that contrast was given."""
    phase = text(dataset, "ContrastBolusAgentPhase").lower().replace("_", " ")
    # The agent's own name is free text and stays where it is.
    return phase or ("contrast" if text(dataset, "ContrastBolusAgent") else "")

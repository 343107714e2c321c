"""Which channels of a network are liver and liver tumour, told by their names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import ModelError
from napari_liverseg.core.liver_words import (
    LIVER,
    is_liver,
    is_tumour,
    words_in_order,
    words_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

EVERY_SEGMENT = frozenset(range(1, 9))
"""Couinaud's segments; together they are the liver."""

MAX_LISTED = 12
"""Names quoted in a refusal."""


@dataclass(frozen=True)
class Channels:
    """Channels by what they mean, as `contract.Output` takes them.

    Parameters
    ----------
    liver, tumour : tuple of int
        Rising. Liver may be with or without its tumours; there is none where a
        model knows tumours of the liver alone.
    """

    liver: tuple[int, ...]
    tumour: tuple[int, ...]


def recognise(names: Mapping[int, str]) -> Channels:
    """Return which channels are liver and which are liver tumour.

    Parameters
    ----------
    names : mapping of int to str
        What the model's maker calls each channel, background included.

    Raises
    ------
    ModelError
        When no name means liver or its tumours, only some of its segments are
        there, or a tumour may be that of another organ.
    """
    words = {channel: words_of(name) for channel, name in names.items()}
    liver = {c for c, name in names.items() if is_liver(words_in_order(name))}
    tumour = {c for c, w in words.items() if is_tumour(w)}
    segments = {c: n for c, w in words.items() if (n := _segment(w)) is not None}
    if not liver and set(segments.values()) >= EVERY_SEGMENT:
        liver = set(segments)
    of_liver = tuple(c for c in sorted(tumour) if words[c] & LIVER)
    if not liver and of_liver:
        return Channels((), of_liver)
    if not liver:
        raise _no_liver(names, tumour)
    bare = [c for c in sorted(tumour) if not words[c] & LIVER]
    known = liver | tumour | set(segments)
    if bare and any(_is_something(words[c]) for c in words.keys() - known):
        raise _whose(names, bare[0])
    return Channels(tuple(sorted(liver)), tuple(sorted(tumour)))


def choose(
    names: Mapping[int, str], liver: Iterable[str], tumour: Iterable[str] = ()
) -> Channels:
    """Return the channels that a user named, instead of `recognise`.

    Parameters
    ----------
    names : mapping of int to str
        What the model's maker calls each channel.
    liver, tumour : iterable of str
        Names of channels, exactly as the maker wrote them; one that several
        channels share means all of them.

    Raises
    ------
    ModelError
        When a name is not there, is named twice, or none is named.
    """
    found = Channels(_numbers(names, liver), _numbers(names, tumour))
    if not found.liver and not found.tumour:
        nothing = "The mapping names no channel that is liver or its tumours."
        raise ModelError(nothing, _choice_of(names))
    if set(found.liver) & set(found.tumour):
        doubled = "The mapping names a channel as liver and as tumour."
        raise ModelError(doubled, _choice_of(names))
    return found


def _segment(words: frozenset[str]) -> int | None:
    """Return the number of a liver segment; 4a and 4b are both 4."""
    if not words & LIVER or not words & {"segment", "segments"}:
        return None
    numbers = words - LIVER - {"segment", "segments", "a", "b"}
    if len(numbers) != 1:
        return None
    number = re.fullmatch(r"([1-8])[ab]?", next(iter(numbers)))
    return int(number[1]) if number else None


def _is_something(words: frozenset[str]) -> bool:
    """Whether a name is that of an organ that may have the tumour."""
    return not words <= {"background", "ignore"} and not words & LIVER


def _numbers(names: Mapping[int, str], wanted: Iterable[str]) -> tuple[int, ...]:
    numbers: set[int] = set()
    for name in wanted:
        called_so = {channel for channel, known in names.items() if known == name}
        if not called_so:
            unknown = f"The mapping names '{name}', which the model does not know."
            raise ModelError(unknown, _choice_of(names))
        numbers |= called_so
    return tuple(sorted(numbers))


def _no_liver(names: Mapping[int, str], tumour: set[int]) -> ModelError:
    if tumour:
        found = f"The model finds tumours of an unnamed organ: {_listed(names)}."
        step = "If they are the liver's, name them as 'tumour' in liverseg.json."
        return ModelError(found, step)
    found = f"None of the model's channels is called liver: {_listed(names)}."
    return ModelError(found, "If one of them is the liver, name it in liverseg.json.")


def _whose(names: Mapping[int, str], channel: int) -> ModelError:
    found = (
        f"The model's channel '{names[channel]}' does not say whose it is, and the "
        f"model knows other organs: {_listed(names)}."
    )
    return ModelError(found, "Name the liver and its tumours in liverseg.json.")


def _choice_of(names: Mapping[int, str]) -> str:
    return f"Choose from: {_listed(names)}."


def _listed(names: Mapping[int, str]) -> str:
    listed = [name[:60] for _, name in sorted(names.items())]
    more = len(listed) - MAX_LISTED
    shown = ", ".join(listed[:MAX_LISTED])
    return f"{shown} and {more} more" if more > 0 else shown

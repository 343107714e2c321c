"""Options that `segment` and `batch` share, each declared once."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_liverseg.core.problem import Decision


def parse_threshold(text: str) -> float:
    """Return a threshold above 0 and below 1; anything else is wrong usage."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < 1:
        msg = f"{text} is not a probability above 0 and below 1."
        raise typer.BadParameter(msg)
    return value


def parse_device(text: str) -> str:
    """Return a device's name as the inference room spells it."""
    kind, colon, number = text.lower().partition(":")
    numbered = kind == "cuda" and bool(colon) and number.isdecimal()
    if kind not in ("auto", "cpu", "cuda", "mps") or (colon and not numbered):
        msg = f"'{text}' is none of auto, cpu, cuda, cuda:N, mps."
        raise typer.BadParameter(msg)
    return text.lower()


Threshold = Annotated[
    float | None,
    typer.Option(
        help="Probability from which a voxel counts, above 0 and below 1. "
        "Without it the model's own decision.",
        parser=parse_threshold,
        metavar="X",
    ),
]


class Way(StrEnum):
    """The members of `core.problem.Decision`, as typer takes choices."""

    RESAMPLE = "resample"
    KEEP_FIRST = "keep-first"


ModelName = Annotated[
    str | None,
    typer.Option(help="A model's name or its folder.", metavar="NAME|PATH"),
]

DeviceName = Annotated[
    str,
    typer.Option(
        help="Where to compute; in a batch, each worker.",
        parser=parse_device,
        metavar="auto|cpu|cuda|mps",
    ),
]

Ways = Annotated[
    list[Way] | None,
    typer.Option(
        help="Load a series in spite of a problem, this way; may be repeated.",
        metavar="resample|keep-first",
    ),
]


class Where(StrEnum):
    """The members of `core.probabilities.Look`, as typer takes choices."""

    LIVER = "liver"
    BODY = "body"
    EVERYWHERE = "everywhere"


LookName = Annotated[
    Where,
    typer.Option(
        help="Where a fine model looks: around the liver that a coarse pass "
        "finds, at the whole body, or at every voxel.",
        metavar="liver|body|everywhere",
    ),
]

Mirror = Annotated[
    bool, typer.Option("--mirror", help="Average the model's mirror images.")
]


def as_decisions(ways: "Iterable[Way] | None") -> "tuple[Decision, ...]":
    """Return each decision once, in the order given."""
    return tuple(dict.fromkeys(way.value for way in ways or ()))

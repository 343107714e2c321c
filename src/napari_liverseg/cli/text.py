"""Text from files made safe for a terminal, and numbers as people write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def printable(text: str) -> str:
    """Return text on one line without the control characters that move a cursor."""
    return "".join(c if c.isprintable() else " " for c in text)


def times(values: Iterable[float]) -> str:
    """Return ``60 x 512 x 512`` for a shape or a spacing."""
    return " x ".join(f"{value:.4g}" for value in values)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as text in columns, the last column as long as it needs."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)

"""A page that opens anywhere: its style, its tables, and nothing beside it."""

from __future__ import annotations

import statistics
from html import escape
from typing import TYPE_CHECKING

from napari_liverseg.training.whole_file import write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;"
    "padding:0 1rem;color:#222}table{border-collapse:collapse}"
    "td,th{padding:.2rem .8rem;"
    "text-align:right;border-bottom:1px solid #ddd}td:first-child,th:first-child"
    "{text-align:left}figure{display:inline-block;margin:.5rem}figcaption"
    "{font-size:.85rem}.note{background:#fff3cd;padding:.5rem 1rem}"
)

NOTHING = "–"  # noqa: RUF001


def write_page(path: Path, title: str, parts: Iterable[str]) -> None:
    """Write a page of HTML parts, all of it or nothing.

    Raises
    ------
    ExportError
        When the disk is full.
    """
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    page = (
        f'<!doctype html><html lang="en"><head>{head}</head><body>'
        f"<h1>{escape(title)}</h1>" + "\n".join(parts) + "</body></html>\n"
    )
    write_text(path, page)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a table; the first one is its head."""
    lines = []
    for number, row in enumerate(rows):
        cell = "td" if number else "th"
        cells = "".join(f"<{cell}>{escape(text)}</{cell}>" for text in row)
        lines.append(f"<tr>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def shown(value: float | None, digits: int) -> str:
    """Return a number for a table, a dash where there is none."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def shown_mean(values: Sequence[float], digits: int) -> str:
    """Return mean ± standard deviation; one value alone has no spread to show."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {statistics.stdev(values):.{digits}f}"

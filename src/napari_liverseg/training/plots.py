"""The plots of a report, by plotly, which needs no network to be drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_liverseg.training.curves import Epoch
    from napari_liverseg.training.held_out import CaseResult

HEIGHT = 340
DASHES = ("solid", "dot")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's, which colour-blind readers tell apart; one a fold."""


def line_plot(
    title: str,
    epochs: Sequence[Epoch],
    columns: Mapping[str, str],
    *,
    with_script: bool = False,
) -> str:
    """Return a plot of columns of the curves over the epochs, one colour a fold.

    Parameters
    ----------
    title : str
    epochs : sequence of Epoch
        Of all folds.
    columns : mapping of str to str
        Field of `Epoch` to what the reader calls it.
    with_script : bool
        Whether plotly itself is put in front; once a page.
    """
    figure = go.Figure()
    for fold in sorted({epoch.fold for epoch in epochs}):
        own = [epoch for epoch in epochs if epoch.fold == fold]
        for (column, name), dash in zip(columns.items(), DASHES, strict=False):
            points = [(e.epoch, getattr(e, column)) for e in own]
            points = [point for point in points if point[1] is not None]
            if points:
                x, y = zip(*points, strict=True)
                look = {"color": COLOURS[(fold - 1) % len(COLOURS)], "dash": dash}
                line = go.Scatter(x=x, y=y, name=f"fold {fold}, {name}", line=look)
                figure.add_trace(line)
    figure.update_layout(xaxis_title="epoch")
    return as_html(title, figure, with_script=with_script)


def fold_plot(results: Sequence[CaseResult], organ: str, lesion: str) -> str:
    """Return the Dice of each held-out case, side by side for the folds."""
    figure = go.Figure()
    for name, values, colour in (
        (organ, [(r.fold, r.organ_dice) for r in results], COLOURS[0]),
        (lesion, [(r.fold, r.lesion_dice) for r in results], COLOURS[1]),
    ):
        known = [(f"fold {fold}", dice) for fold, dice in values if dice is not None]
        if known:
            x, y = zip(*known, strict=True)
            box = go.Box(x=x, y=y, name=name, boxpoints="all", marker_color=colour)
            figure.add_trace(box)
    figure.update_layout(boxmode="group", yaxis_range=[0, 1])
    return as_html("Dice of held-out cases, on their own grid", figure)


def as_html(title: str, figure: go.Figure, *, with_script: bool = False) -> str:
    """Return a figure as a part of a page, in the look of all reports."""
    figure.update_layout(
        title=title,
        height=HEIGHT,
        template="plotly_white",
        margin={"l": 50, "r": 20, "t": 50, "b": 40},
    )
    plot = figure.to_html(full_html=False, include_plotlyjs=with_script)
    return str(plot)

"""Parts of a page on how well classes are told apart: table, ROC, histogram."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from napari_liverseg.measure.roc import auc, roc_curve
from napari_liverseg.training.page import shown, table
from napari_liverseg.training.plots import COLOURS, as_html

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from napari_liverseg.training.verdict import OneClass, Scores

BINS = 20


def class_table(classes: Iterable[OneClass]) -> str:
    """Return area, cut-off, sensitivity and specificity, with their intervals."""
    rows = [["class", "AUC", "95 %", "cut-off", "sensitivity", "95 %"]]
    rows[0] += ["specificity", "95 %", "with", "without"]
    for one in classes:
        rates = one.rates
        rows.append(
            [
                one.name,
                shown(one.area, 3),
                _interval(one.area_95),
                shown(one.cut_off, 3),
                shown(rates.sensitivity, 3),
                _interval(rates.sensitivity_95),
                shown(rates.specificity, 3),
                _interval(rates.specificity_95),
                str(rates.positives),
                str(rates.negatives),
            ]
        )
    return table(rows)


def roc_plot(title: str, scores: Mapping[str, Scores]) -> str:
    """Return the ROC of each class, with its area.

    Parameters
    ----------
    title : str
    scores : mapping of str to Scores
        By class, each with positives and negatives.
    """
    figure = go.Figure()
    for number, (name, own) in enumerate(scores.items()):
        curve = roc_curve(own.shares, own.positive)
        area = auc(own.shares, own.positive)
        line = go.Scatter(
            x=curve.false_positive_rate.tolist(),
            y=curve.sensitivity.tolist(),
            name=f"{name}, AUC {area:.3f}",
            line={"color": COLOURS[number % len(COLOURS)]},
            text=[f"cut-off {c:.3f}" for c in curve.cut_offs],
        )
        figure.add_trace(line)
    figure.add_trace(
        go.Scatter(x=[0, 1], y=[0, 1], name="chance", line={"dash": "dot"})
    )
    figure.update_layout(xaxis_title="1 - specificity", yaxis_title="sensitivity")
    return as_html(title, figure)


def confidence_plot(
    name: str, shares: Mapping[str, NDArray[np.float64]], cut_off: float
) -> str:
    """Return how sure a network was of a class, one histogram for each true one.

    Parameters
    ----------
    name : str
        Of the class.
    shares : mapping of str to ndarray of float, shape (n,)
        True class to probabilities of `name`.
    cut_off : float
    """
    figure = go.Figure()
    for number, (truth, own) in enumerate(shares.items()):
        bars = go.Histogram(
            x=own.tolist(),
            name=truth,
            xbins={"start": 0, "end": 1.0001, "size": 1 / BINS},
            marker={"color": COLOURS[number % len(COLOURS)]},
            opacity=0.6,
        )
        figure.add_trace(bars)
    figure.add_vline(x=cut_off, line_dash="dot", annotation_text="cut-off")
    figure.update_layout(barmode="overlay", xaxis_title=f"probability of {name}")
    return as_html(f"Confidence in '{name}' by the true class", figure)


def _interval(ends: tuple[float, float] | None) -> str:
    return shown(None, 0) if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"

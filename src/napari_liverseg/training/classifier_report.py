"""The page on a trained classifier: curves, ROC, histograms, cut-off, card."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from napari_liverseg.measure.roc import roc_curve
from napari_liverseg.training.page import shown, table, write_page
from napari_liverseg.training.plots import COLOURS, as_html

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_liverseg.models.classifier_spec import ClassifierSpec
    from napari_liverseg.training.classifier_fit import ClassifierEpoch
    from napari_liverseg.training.verdict import Answers, Verdict

BINS = 20


def write_classifier_report(
    path: Path,
    spec: ClassifierSpec,
    epochs: Sequence[ClassifierEpoch],
    test: Answers,
    verdict: Verdict,
) -> None:
    """Write the page; it names no file and no patient.

    Parameters
    ----------
    path : Path
    spec : ClassifierSpec
        With its figures.
    epochs : sequence of ClassifierEpoch
    test : Answers
        To the test part.
    verdict : Verdict

    Raises
    ------
    ExportError
        When the disk is full.
    """
    parts = [
        f'<p class="note">{escape(spec.notice)}</p>',
        f"<p>{escape(spec.training_data)}.</p>",
        *_figures(spec, verdict),
        *_plots(spec, epochs, test, verdict),
        f"<h2>Model card</h2><pre>{escape(spec.card)}</pre>",
    ]
    write_page(path, spec.title, parts)


def _figures(spec: ClassifierSpec, verdict: Verdict) -> Iterator[str]:
    yield "<h2>Test part</h2>"
    low, high = verdict.accuracy_95
    right = f"{verdict.accuracy:.3f} (95 % interval {low:.3f} to {high:.3f})"
    yield f"<p>Accuracy {right}.</p>"
    rows = [["class", "AUC", "95 %", "cut-off", "sensitivity", "95 %"]]
    rows[0] += ["specificity", "95 %", "with", "without"]
    for one in verdict.classes:
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
    yield table(rows)
    yield (
        "<p>Cut-offs were chosen on the validation part, by the largest sum of "
        "sensitivity and specificity; the test part had no say. The interval of the "
        "AUC is by bootstrap over patients, the others are Wilson's.</p>"
    )
    head = ["truth", *(f"called {name}" for name in spec.classes)]
    body = [
        [name, *map(str, row)]
        for name, row in zip(spec.classes, verdict.confusion.tolist(), strict=True)
    ]
    yield table([head, *body])


def _interval(ends: tuple[float, float] | None) -> str:
    return shown(None, 0) if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def _plots(
    spec: ClassifierSpec,
    epochs: Sequence[ClassifierEpoch],
    test: Answers,
    verdict: Verdict,
) -> Iterator[str]:
    loss = {"loss": "training", "validation_loss": "validation"}
    yield _curves("Loss", epochs, loss, with_script=True)
    right = {"accuracy": "training", "validation_accuracy": "validation"}
    yield _curves("Accuracy", epochs, right)
    roc, precision = go.Figure(), go.Figure()
    for number, one in enumerate(verdict.classes):
        place = spec.classes.index(one.name)
        truth = test.labels == place
        curve = roc_curve(test.shares[:, place], truth)
        look = {"color": COLOURS[number % len(COLOURS)]}
        name = f"{one.name}, AUC {one.area:.3f}"
        x, y = curve.false_positive_rate, curve.sensitivity
        hover = [f"cut-off {c:.3f}" for c in curve.cut_offs]
        line = go.Scatter(x=x.tolist(), y=y.tolist(), name=name, line=look, text=hover)
        roc.add_trace(line)
        found, false = y[1:] * truth.sum(), x[1:] * (~truth).sum()
        of_called = (found / np.maximum(found + false, 1)).tolist()
        hover = hover[1:]
        precision.add_trace(
            go.Scatter(
                x=y[1:].tolist(), y=of_called, name=one.name, line=look, text=hover
            )
        )
    even = go.Scatter(x=[0, 1], y=[0, 1], name="chance", line={"dash": "dot"})
    roc.add_trace(even)
    roc.update_layout(xaxis_title="1 - specificity", yaxis_title="sensitivity")
    yield as_html("ROC of the test part", roc)
    precision.update_layout(xaxis_title="sensitivity", yaxis_title="precision")
    yield as_html("Precision and sensitivity of the test part", precision)
    for one in verdict.classes:
        yield _histogram(spec, test, one.name, one.cut_off)


def _curves(
    title: str,
    epochs: Sequence[ClassifierEpoch],
    columns: dict[str, str],
    *,
    with_script: bool = False,
) -> str:
    figure = go.Figure()
    for number, (column, name) in enumerate(columns.items()):
        values = [getattr(epoch, column) for epoch in epochs]
        numbers, look = [epoch.epoch for epoch in epochs], {"color": COLOURS[number]}
        figure.add_trace(go.Scatter(x=numbers, y=values, name=name, line=look))
    figure.update_layout(xaxis_title="epoch")
    return as_html(title, figure, with_script=with_script)


def _histogram(spec: ClassifierSpec, test: Answers, name: str, cut_off: float) -> str:
    """Return how sure the network was, one histogram for each true class."""
    figure = go.Figure()
    for number, truth in enumerate(spec.classes):
        scores = test.shares[test.labels == number, spec.classes.index(name)]
        bins = {"start": 0, "end": 1.0001, "size": 1 / BINS}
        look = {"color": COLOURS[number % len(COLOURS)]}
        bars = go.Histogram(
            x=scores.tolist(), name=truth, xbins=bins, marker=look, opacity=0.6
        )
        figure.add_trace(bars)
    figure.add_vline(x=cut_off, line_dash="dot", annotation_text="cut-off")
    figure.update_layout(barmode="overlay", xaxis_title=f"probability of {name}")
    return as_html(f"Confidence in '{name}' by the true class", figure)

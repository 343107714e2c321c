"""The page on a trained classifier: curves, ROC, histograms, cut-off, card."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from napari_liverseg.measure.roc import roc_curve
from napari_liverseg.training.class_parts import (
    class_table,
    confidence_plot,
    roc_plot,
)
from napari_liverseg.training.page import table, write_page
from napari_liverseg.training.plots import COLOURS, as_html

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_liverseg.models.classifier_spec import ClassifierSpec
    from napari_liverseg.training.classifier_fit import ClassifierEpoch
    from napari_liverseg.training.verdict import Answers, Scores, Verdict


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
    yield class_table(verdict.classes)
    yield (
        "<p>Cut-offs were chosen on the validation part, by the largest sum of "
        "sensitivity and specificity; the test part had no say. The interval of the "
        "AUC is by bootstrap over patients, which gives none where nothing was "
        "confused; the others are Wilson's.</p>"
    )
    head = ["truth", *(f"called {name}" for name in spec.classes)]
    body = [
        [name, *map(str, row)]
        for name, row in zip(spec.classes, verdict.confusion.tolist(), strict=True)
    ]
    yield table([head, *body])


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
    names = [one.name for one in verdict.classes]
    scores = {name: test.of(spec.classes.index(name)) for name in names}
    yield roc_plot("ROC of the test part", scores)
    yield _precision_plot(scores)
    for one in verdict.classes:
        shares = {
            truth: scores[one.name].shares[test.labels == number]
            for number, truth in enumerate(spec.classes)
        }
        yield confidence_plot(one.name, shares, one.cut_off)


def _precision_plot(scores: Mapping[str, Scores]) -> str:
    figure = go.Figure()
    for number, (name, own) in enumerate(scores.items()):
        curve = roc_curve(own.shares, own.positive)
        x, y = curve.false_positive_rate[1:], curve.sensitivity[1:]
        found, false = y * own.positive.sum(), x * (~own.positive).sum()
        line = go.Scatter(
            x=y.tolist(),
            y=(found / np.maximum(found + false, 1)).tolist(),
            name=name,
            line={"color": COLOURS[number % len(COLOURS)]},
            text=[f"cut-off {c:.3f}" for c in curve.cut_offs[1:]],
        )
        figure.add_trace(line)
    figure.update_layout(xaxis_title="sensitivity", yaxis_title="precision")
    return as_html("Precision and sensitivity of the test part", figure)


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

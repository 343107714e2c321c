"""One page and one table on models that were compared."""

from __future__ import annotations

import csv
import io
import statistics
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from napari_liverseg.training.compared import MEASURES
from napari_liverseg.training.page import shown, table, write_page
from napari_liverseg.training.plots import COLOURS, as_html
from napari_liverseg.training.whole_file import write_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from napari_liverseg.training.compared import Compared

PAGE_FILE, CASES_FILE = "comparison.html", "comparison.csv"

TITLE = "Models on the same cases"

DIGITS = {"false_tumour_ml": 1, "seconds": 1, "liver_accuracy": 4, "tumour_accuracy": 4}


def write_comparison(folder: Path, models: Sequence[Compared]) -> None:
    """Write the page and a CSV with one row for each model and case.

    Neither names a case after its file, unless that is an ID of our own.

    Raises
    ------
    ExportError
        When the disk is full.
    """
    write_page(folder / PAGE_FILE, TITLE, _parts(models))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", "case", *MEASURES, "trained_on_it"])
    for model in models:
        for case in model.cases:
            values = ("" if v is None else f"{v:.6g}" for v in case.numbers.values())
            seen = "" if case.is_seen is None else int(case.is_seen)
            writer.writerow([model.name, case.case, *values, seen])
    write_text(folder / CASES_FILE, text.getvalue())


def summary_rows(models: Sequence[Compared]) -> list[list[str]]:
    """Return the one table: a head, then a row for each model, means over cases."""
    rows = [["model", *MEASURES.values(), "parameters", "trained on"]]
    for model in models:
        means = [shown(model.mean(name), DIGITS.get(name, 3)) for name in MEASURES]
        rows.append([model.name, *means, f"{model.parameters:,}", model.seen])
    return rows


def _parts(models: Sequence[Compared]) -> Iterator[str]:
    count = len(models[0].cases)
    devices = ", ".join(sorted({model.device for model in models}))
    yield '<p class="note">Not for clinical use.</p>'
    yield (
        f"<p>Means over the same {count} cases, on their own grids. Seconds are from "
        f"the opened CT to its masks, on: {devices}. Voxel accuracy counts the "
        "background too, so it is near 1 for any small structure. Tumour measures are "
        "of cases that have tumour, and left out where the data set labels none or a "
        "model knows none. 'Trained on' says how many of these cases a model has "
        "seen, those held out included, which chose the epoch that was kept; that is "
        "known of trainings alone. What a model has seen from which a "
        "training began is unknown.</p>"
    )
    if any(case.is_seen for model in models for case in model.cases):
        yield (
            '<p class="note">Some models were trained on cases that they are '
            "tested on here: their figures are too good.</p>"
        )
    yield table(summary_rows(models))
    first = True
    for measure in ("liver_dice", "tumour_dice", "lesion_recall", "seconds"):
        plot = _boxes(models, measure, with_script=first)
        if plot:
            first = False
            yield plot
    yield _against_size(models)
    yield "<h2>Every case</h2>"
    for measure in ("liver_dice", "tumour_dice"):
        yield f"<h3>{MEASURES[measure]}</h3>{_cases(models, measure)}"
    if len(models) > 1:
        yield "<h2>Against the first model</h2>"
        yield table(_differences(models))


def _boxes(models: Sequence[Compared], measure: str, *, with_script: bool) -> str:
    figure = go.Figure()
    for number, model in enumerate(models):
        known = [(c.numbers[measure], c.case) for c in model.cases]
        points = [(value, case) for value, case in known if value is not None]
        if not points:
            continue
        values, names = zip(*points, strict=True)
        box = go.Box(
            y=values,
            text=names,
            name=model.name,
            boxpoints="all",
            marker_color=COLOURS[number % len(COLOURS)],
        )
        figure.add_trace(box)
    if not figure.data:
        return ""
    return as_html(MEASURES[measure], figure, with_script=with_script)


def _against_size(models: Sequence[Compared]) -> str:
    """Return how good models are against how long they take."""
    figure = go.Figure()
    has_tumour = any(model.mean("tumour_dice") is not None for model in models)
    measure = "tumour_dice" if has_tumour else "liver_dice"
    for number, model in enumerate(models):
        look = {"color": COLOURS[number % len(COLOURS)], "size": 12}
        quality = model.mean(measure)
        if quality is None:
            continue
        said = f"{model.name}, {model.parameters:,} parameters"
        x, y = [model.mean("seconds")], [quality]
        figure.add_trace(go.Scatter(x=x, y=y, name=said, mode="markers", marker=look))
    figure.update_layout(xaxis_title="seconds a case", yaxis_title=MEASURES[measure])
    return as_html("Quality against time", figure)


def _cases(models: Sequence[Compared], measure: str) -> str:
    rows = [["case", *(model.name for model in models)]]
    for place, case in enumerate(models[0].cases):
        values = [model.cases[place] for model in models]
        cells = [
            shown(v.numbers[measure], 3) + (" (trained on it)" if v.is_seen else "")
            for v in values
        ]
        rows.append([case.case, *cells])
    return table(rows)


def _differences(models: Sequence[Compared]) -> list[list[str]]:
    """Return mean differences case by case, and in how many cases each is better."""
    first, *others = models
    rows = [["model", "measure", "mean difference", "sd", "better in", "worse in"]]
    for model in others:
        for measure in ("liver_dice", "tumour_dice"):
            apart = [
                b - a
                for a, b in (
                    (x.numbers[measure], y.numbers[measure])
                    for x, y in zip(first.cases, model.cases, strict=True)
                )
                if a is not None and b is not None
            ]
            if not apart:
                continue
            spread = statistics.stdev(apart) if len(apart) > 1 else None
            mean = f"{statistics.fmean(apart):+.3f}"
            more, less = sum(d > 0 for d in apart), sum(d < 0 for d in apart)
            cells = [mean, shown(spread, 3), str(more), str(less)]
            rows.append([model.name, MEASURES[measure], *cells])
    return rows

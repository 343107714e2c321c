"""One page on a training that opens anywhere: curves, folds, figures, worst cases."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

from napari_liverseg.io.labelled_set import OWN_ID
from napari_liverseg.training.card import begun_from, structures
from napari_liverseg.training.curves import CURVES_FILE, read_curves, write_curves
from napari_liverseg.training.gate_findings import read_findings
from napari_liverseg.training.gate_report import gate_parts
from napari_liverseg.training.held_out import read_results
from napari_liverseg.training.order import MEASURES_FILE, REPORT_FILE
from napari_liverseg.training.page import shown, shown_mean, table, write_page
from napari_liverseg.training.plots import fold_plot, line_plot

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from napari_liverseg.models.spec import ModelSpec
    from napari_liverseg.training.curves import Epoch
    from napari_liverseg.training.folds import Folds
    from napari_liverseg.training.held_out import CaseResult

WORST = 6
"""Cases that are shown with a picture."""

MUCH_ML = 2.0
"""Lesions where none are that are half as bad as all of them missed."""


def write_report(out: Path, spec: ModelSpec, folds: Folds, card: str) -> Path:
    """Write the report and the curves of all folds that have begun.

    Neither names a case after its file, unless that is an ID of our own: files are
    often named after patients.

    Parameters
    ----------
    out : Path
        Folder of the run.
    spec : ModelSpec
        With what is known of the model so far.
    folds : Folds
    card : str
        Of the model as it will be run.

    Returns
    -------
    Path
        The page, which needs nothing beside it.

    Raises
    ------
    ExportError
        When the disk is full.
    """
    folders = [out / f"fold_{k + 1}" for k in range(len(folds.held_out))]
    epochs = [epoch for f in folders for epoch in read_curves(f / CURVES_FILE)]
    write_curves(out / CURVES_FILE, epochs)
    measured = [f for f in folders if (f / MEASURES_FILE).is_file()]
    results = [result for f in measured for result in read_results(f)]
    parts = [
        f'<p class="note">{escape(spec.notice)}</p>',
        f"<p>{escape(folds.note)}</p>",
        _summary(spec, results, len(folds.held_out)),
        *_plots(epochs, results, spec),
        *gate_parts(read_findings(spec, measured), results),
        _cases(results, folds, spec),
        _pictures(results, folds, out),
        f"<h2>Model card</h2><pre>{escape(card)}</pre>",
    ]
    write_page(out / REPORT_FILE, spec.title, parts)
    return out / REPORT_FILE


def public_name(case: str, folds: Folds) -> str:
    """Return what a case is called outside: its own ID, or its place in the folds."""
    if OWN_ID.fullmatch(case) and case.startswith("liver_P"):
        return case
    return f"case {folds.cases.index(case) + 1}"


def _summary(spec: ModelSpec, results: Sequence[CaseResult], folds: int) -> str:
    """Return mean and spread of each fold and of all of them."""
    organ, lesion = structures(spec)
    rows = [["", "cases", f"Dice of {organ}", f"Dice of {lesion}"]]
    numbers = sorted({r.fold for r in results})
    for number in numbers:
        rows.append(_means(f"fold {number}", [r for r in results if r.fold == number]))
    if len(numbers) > 1:
        rows.append(_means("all held-out cases", results))
    missing = folds - len(numbers)
    note = f"<p>{missing} of {folds} folds are not measured yet.</p>" if missing else ""
    start = begun_from(spec)
    if start:
        said = (
            f"Where '{start}', from which it began, has learnt from these cases in an"
        )
        note += f"<p>{escape(said)} earlier training, the figures are too good.</p>"
    return f"<h2>Held-out cases</h2>{table(rows)}{note}"


def _means(name: str, results: Sequence[CaseResult]) -> list[str]:
    cells = [name, str(len(results))]
    for values in (
        [r.organ_dice for r in results],
        [r.lesion_dice for r in results if r.lesion_dice is not None],
    ):
        cells.append(shown_mean(values, 3) if values else "no case has any")
    return cells


def _plots(
    epochs: Sequence[Epoch], results: Sequence[CaseResult], spec: ModelSpec
) -> Iterable[str]:
    """Return loss, Dice, learning rate and folds as plots that answer the mouse."""
    organ, lesion = structures(spec)
    yield line_plot("Loss", epochs, {"loss": "loss"}, with_script=True)
    dice = {"organ_dice": organ, "lesion_dice": lesion}
    title = "Dice of held-out cases, on the network's grid"
    yield line_plot(title, epochs, dice)
    yield line_plot("Learning rate", epochs, {"rate": "rate"})
    if results:
        yield fold_plot(results, organ, lesion)


def _cases(results: Sequence[CaseResult], folds: Folds, spec: ModelSpec) -> str:
    organ, lesion = structures(spec)
    head = ["case", "fold", f"Dice of {organ}", "HD95 in mm", f"Dice of {lesion}"]
    rows = [[*head, f"{lesion} invented, ml"]]
    rows += [
        [
            public_name(r.case, folds),
            str(r.fold),
            f"{r.organ_dice:.3f}",
            shown(r.organ_hd95_mm, 1),
            shown(r.lesion_dice, 3),
            shown(r.false_lesion_ml, 1),
        ]
        for r in sorted(results, key=lambda r: r.case)
    ]
    return f"<h2>Every held-out case</h2>{table(rows)}" if results else ""


def _pictures(results: Sequence[CaseResult], folds: Folds, out: Path) -> str:
    """Return the worst cases, each with the slice where it differs most."""
    worst = sorted(results, key=_badness, reverse=True)[:WORST]
    figures = []
    for result in worst:
        file = out / f"fold_{result.fold}" / result.picture
        # Folds that were trained elsewhere may come without their pictures.
        seen = file.read_bytes() if file.is_file() else b""
        content = base64.b64encode(seen).decode()
        said = f"{public_name(result.case, folds)}: organ {result.organ_dice:.3f}"
        if result.lesion_dice is not None:
            said += f", lesions {result.lesion_dice:.3f}"
        elif result.false_lesion_ml:
            said += f", {result.false_lesion_ml:.1f} ml of lesions where none are"
        figures.append(
            f'<figure><img alt="{escape(said)}" src="data:image/png;base64,{content}">'
            f"<figcaption>{escape(said)}</figcaption></figure>"
        )
    if not figures:
        return ""
    return (
        "<h2>Worst cases</h2><p>The slice with most differing voxels. Green is the "
        "truth, magenta what was found; lesions are filled.</p>" + "".join(figures)
    )


def _badness(result: CaseResult) -> float:
    """Return how bad a case is, from 0 to 1."""
    values = [1 - result.organ_dice]
    if result.lesion_dice is not None:
        values.append(1 - result.lesion_dice)
    elif result.false_lesion_ml is not None:
        values.append(result.false_lesion_ml / (result.false_lesion_ml + MUCH_ML))
    return sum(values) / len(values)

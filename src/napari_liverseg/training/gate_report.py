"""The part of a report on a gate: how well it calls slices, and what it is worth."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from napari_liverseg.training.card import begun_from, structures
from napari_liverseg.training.class_parts import (
    class_table,
    confidence_plot,
    roc_plot,
)
from napari_liverseg.training.page import NOTHING, shown_mean, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_liverseg.training.gate_findings import GateFindings
    from napari_liverseg.training.held_out import CaseResult


def gate_parts(
    findings: GateFindings | None, results: Sequence[CaseResult]
) -> Iterator[str]:
    """Yield what a report says of both stages; nothing without a gate.

    Parameters
    ----------
    findings : GateFindings or None
    results : sequence of CaseResult
        Of the same cases with the gate as the plugin uses it.
    """
    if findings is not None:
        yield from _first_stage(findings)
        yield from _second_stage(findings, results)


def _first_stage(findings: GateFindings) -> Iterator[str]:
    organ, lesion = structures(findings.spec)
    scores, one = findings.scores, findings.verdict
    yield f"<h2>{escape(f'First stage: does a slice bear {lesion}?')}</h2>"
    said = (
        f"{scores.positive.size} slices that show {organ}, of "
        f"{len(findings.slices)} held-out cases of {len(set(scores.patients))} "
        f"patients; {_by_whom(findings)}. The "
        "recipe sets the cut-off; these cases had no say. The interval of the AUC is "
        "by bootstrap over patients, which gives none where nothing was confused. The "
        "others are Wilson's, which take slices as independent, and are too narrow, "
        "for slices of one patient are alike."
    )
    yield f"<p>{escape(said)}</p>"
    yield class_table([one])
    without = f"no {lesion}"
    if scores.has_both:
        title = "ROC of the first stage, slices of held-out cases"
        yield roc_plot(title, {lesion: scores})
    else:
        bears = bool(scores.positive.any())
        said = f"{'Every' if bears else 'No'} slice bears {lesion}: there is no ROC."
        yield f"<p>{escape(said)}</p>"
    groups = {lesion: scores.shares[scores.positive]}
    groups[without] = scores.shares[~scores.positive]
    yield confidence_plot(lesion, groups, one.cut_off)


def _by_whom(findings: GateFindings) -> str:
    said = "each was asked of a network that had not learnt from it"
    start = begun_from(findings.spec)
    return f"{said} since it began from '{start}'" if start else said


def _second_stage(
    findings: GateFindings, results: Sequence[CaseResult]
) -> Iterator[str]:
    _, lesion = structures(findings.spec)
    yield "<h2>Second stage: with the gate and without it</h2>"
    head = ["", "held-out cases", f"Dice of {lesion}", f"{lesion} invented, ml"]
    yield table(
        [
            head,
            _row("as the plugin runs it", results),
            _row("gate left open", findings.left_open),
        ]
    )


def _row(name: str, results: Sequence[CaseResult]) -> list[str]:
    dice = [r.lesion_dice for r in results if r.lesion_dice is not None]
    invented = [r.false_lesion_ml for r in results if r.false_lesion_ml is not None]
    return [name, str(len(results)), _mean(dice, 3), _mean(invented, 1)]


def _mean(values: Sequence[float], digits: int) -> str:
    return shown_mean(values, digits) if values else NOTHING

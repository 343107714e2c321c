"""How good both stages of a gated model are on the held-out cases."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.models.folder_spec import Figure
from napari_liverseg.models.gated_spec import GatedSpec
from napari_liverseg.training.card import figures, measured_by, structures
from napari_liverseg.training.gate_exam import CaseSlices, read_slices
from napari_liverseg.training.held_out import CaseResult, read_results
from napari_liverseg.training.order import OPEN_FOLDER
from napari_liverseg.training.verdict import Scores, tell_apart

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from napari_liverseg.models.spec import ModelSpec
    from napari_liverseg.training.folds import Folds
    from napari_liverseg.training.verdict import OneClass


@dataclass(frozen=True, eq=False)
class GateFindings:
    """What was found about a gate and about the model without it.

    Parameters
    ----------
    spec : ModelSpec
        Its network is a `GatedSpec`.
    slices : tuple of CaseSlices
        Of held-out cases, one or more.
    left_open : tuple of CaseResult
        What the model reaches on them when its gate stays open.
    """

    spec: ModelSpec
    slices: tuple[CaseSlices, ...]
    left_open: tuple[CaseResult, ...]

    @property
    def cut_off(self) -> float:
        """Probability from which the gate opens."""
        assert isinstance(self.spec.network, GatedSpec)
        return self.spec.network.cut_off

    @cached_property
    def scores(self) -> Scores:
        """The slices of all cases."""
        return Scores(
            np.array([p for one in self.slices for p in one.probabilities]),
            np.array([b for one in self.slices for b in one.bears], np.bool_),
            tuple(one.patient for one in self.slices for _ in one.bears),
        )

    @cached_property
    def verdict(self) -> OneClass:
        """How well slices with a lesion are told from the others."""
        _, lesion = structures(self.spec)
        return tell_apart(lesion, self.cut_off, self.scores, seed=0)


def read_findings(spec: ModelSpec, folders: Iterable[Path]) -> GateFindings | None:
    """Return what the folders of folds hold about a gate; None without one."""
    asked = [folder for folder in folders if read_slices(folder)]
    if not asked or not isinstance(spec.network, GatedSpec):
        return None
    return GateFindings(
        spec,
        tuple(one for folder in asked for one in read_slices(folder)),
        tuple(one for folder in asked for one in read_results(folder / OPEN_FOLDER)),
    )


def gate_figures(findings: GateFindings | None, folds: Folds) -> tuple[Figure, ...]:
    """Return the figures of a gate for the model's card, none without one."""
    if findings is None:
        return ()
    organ, lesion = structures(findings.spec)
    one, rates = findings.verdict, findings.verdict.rates
    count = f"{rates.positives + rates.negatives} slices with {organ}"
    many = f"{count}, {rates.positives} of them with {lesion}, of "
    many += f"{len(findings.slices)} held-out cases"
    at = f", at the cut-off {one.cut_off:g} that the recipe sets"
    made = []
    for what, value, ends, where in (
        ("slice AUC", one.area, one.area_95, ""),
        ("slice sensitivity", rates.sensitivity, rates.sensitivity_95, at),
        ("slice specificity", rates.specificity, rates.specificity_95, at),
    ):
        if value is None:
            continue
        interval = f", 95 % interval {ends[0]:.3f} to {ends[1]:.3f}" if ends else ""
        source = f"{many}{where}{interval}, {measured_by(findings.spec, folds)}"
        made.append(Figure(what=what, value=round(value, 4), source=source))
    of_lesion = (f"{lesion} Dice", f"ml of {lesion} invented in cases without any")
    made += [
        figure.model_copy(update={"what": f"{figure.what}, gate left open"})
        for figure in figures(findings.spec, folds, findings.left_open)
        if figure.what in of_lesion
    ]
    return tuple(made)

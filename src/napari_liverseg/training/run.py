"""A training on its way: what was asked for, its data, its folds, its card so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_liverseg.training.breakdown import clauses
from napari_liverseg.training.card import finished, structures
from napari_liverseg.training.gate_findings import gate_figures, read_findings
from napari_liverseg.training.held_out import read_results

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from napari_liverseg.models.folder_spec import Figure
    from napari_liverseg.models.spec import ModelSpec
    from napari_liverseg.training.folds import Folds
    from napari_liverseg.training.held_out import CaseResult
    from napari_liverseg.training.order import Order
    from napari_liverseg.training.prepared_case import PreparedCase, Reading
    from napari_liverseg.training.segmentation_recipe import SegmentationRecipe
    from napari_liverseg.training.start import Start
    from napari_liverseg.training.watch import Ears


@dataclass(frozen=True, eq=False)
class Run:
    """A training whose data was checked and whose folds are drawn.

    Parameters
    ----------
    recipe : SegmentationRecipe
    order : Order
    spec : ModelSpec
        Of the networks that come out, without figures.
    start : Start or None
    cases : dict of str to PreparedCase
    reading : Reading
    folds : Folds
    ears : Ears
    rank : int
        Of this process; the first one measures and writes.
    """

    recipe: SegmentationRecipe
    order: Order
    spec: ModelSpec
    start: Start | None
    cases: dict[str, PreparedCase]
    reading: Reading
    folds: Folds
    ears: Ears
    rank: int

    def card(self, fold: int | None = None) -> ModelSpec:
        """Return the spec with what is known: of one fold, or of all of them."""
        folders = self.folders if fold is None else (self.folders[fold],)
        results = [one for folder in folders for one in read_results(folder)]
        gate = gate_figures(read_findings(self.spec, folders), self.folds)
        return self._finished(results, gate)

    @property
    def unmeasured(self) -> ModelSpec:
        """The spec of a fold's network before it is measured."""
        return self._finished((), ())

    def _finished(
        self, results: Sequence[CaseResult], gate: Sequence[Figure]
    ) -> ModelSpec:
        cases = self.cases.values()
        keys = (f"{case.series_key} {case.label_key}" for case in cases)
        return finished(self.draft, self.folds, results, self.start, keys, gate)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where the folds keep their files."""
        return self.order.fold_folders(len(self.folds.held_out))

    @property
    def draft(self) -> ModelSpec:
        """The spec without figures, with what is known of data and broken folds."""
        said = [self.spec.notice, *clauses(self.folders)]
        if not self.reading.knows_lesion:
            _, lesion = structures(self.spec)
            said.append(f"its data labels no {lesion}, and teaches it to find none")
        return self.spec.model_copy(update={"notice": "; ".join(said)})

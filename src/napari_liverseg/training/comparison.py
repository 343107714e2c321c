"""Several models on the same labelled cases, run and measured as the plugin would."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import CaseError, LiversegError, ModelError
from napari_liverseg.core.progress import stop_if
from napari_liverseg.core.segmentation import TUMOUR
from napari_liverseg.inference.decision import decide
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.io.labelled_set import OWN_ID, find_labelled
from napari_liverseg.measure.case import measure_case
from napari_liverseg.models.classifier_spec import CLASSIFIER_FILE
from napari_liverseg.models.store import find_model
from napari_liverseg.training.folds import FOLDS_FILE
from napari_liverseg.training.held_out import as_it_comes
from napari_liverseg.training.label_values import label_values
from napari_liverseg.training.prepared_case import Reading, open_labelled
from napari_liverseg.training.seen import Seen
from napari_liverseg.training.segmentation_recipe import Names
from napari_liverseg.training.start import names_of, trained_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import torch

    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.io.labelled_set import LabelledCase
    from napari_liverseg.measure.case import CaseMeasures
    from napari_liverseg.models.contract import Model

NO_MATTER_MM = (1.0, 1.0, 1.0)
"""Cases are measured on their own grid."""


@dataclass(frozen=True)
class OnCase:
    """What one model reached on one case.

    Parameters
    ----------
    case : str
        Its public name: an ID of our own, or its number.
    liver_dice, liver_iou, liver_accuracy : float
    tumour_dice, tumour_iou, lesion_recall : float or None
        None where the case has no tumour; recall is the share of lesions touched.
    tumour_accuracy : float or None
        Accuracies are shares of all voxels; background dominates them.
    false_tumour_ml : float or None
        Found in a case without tumour; None in others. All measures of tumour are
        None where the data set labels none, or the model knows none.
    seconds : float
        From the opened CT to its masks.
    is_seen : bool or None
        Whether the model was trained on it; None where nobody knows.
    """

    case: str
    liver_dice: float
    liver_iou: float
    liver_accuracy: float
    tumour_dice: float | None
    tumour_iou: float | None
    tumour_accuracy: float | None
    lesion_recall: float | None
    false_tumour_ml: float | None
    seconds: float
    is_seen: bool | None

    @property
    def numbers(self) -> dict[str, float | None]:
        """The measures by name."""
        return {name: getattr(self, name) for name in MEASURES}


MEASURES = {
    "liver_dice": "liver Dice",
    "liver_iou": "liver IoU",
    "liver_accuracy": "liver voxel accuracy",
    "tumour_dice": "tumour Dice",
    "tumour_iou": "tumour IoU",
    "tumour_accuracy": "tumour voxel accuracy",
    "lesion_recall": "lesion recall",
    "false_tumour_ml": "invented tumour, ml",
    "seconds": "seconds a case",
}
"""Every measure of `OnCase`, and what a reader calls it."""

NO_TUMOUR: dict[str, float | None] = {
    name: None for name in MEASURES if "tumour" in name or "lesion" in name
}


@dataclass(frozen=True)
class Compared:
    """One model and all that it reached.

    Parameters
    ----------
    name, title : str
        Of models of one name each has its place among the runs behind it.
    parameters : int
        Of all its networks together.
    networks : int
    device : str
    cases : tuple of OnCase
        In the order of the data set, the same for every model.
    """

    name: str
    title: str
    parameters: int
    networks: int
    device: str
    cases: tuple[OnCase, ...]

    @property
    def seen(self) -> int | None:
        """How many of the cases the model was trained on; None where nobody knows."""
        known = [case.is_seen for case in self.cases if case.is_seen is not None]
        return sum(known) if known else None

    def mean(self, measure: str) -> float | None:
        """Return the mean of a measure over the cases that have it."""
        known = [case.numbers[measure] for case in self.cases]
        there = [value for value in known if value is not None]
        return statistics.fmean(there) if there else None


def compare(
    runs: Sequence[str],
    data: Path,
    device: str,
    on_progress: OnProgress,
    is_cancelled: IsCancelled,
) -> tuple[Compared, ...]:
    """Run every model on every case, and measure it on the case's own grid.

    Parameters
    ----------
    runs : sequence of str
        Folders of trainings, folders of models, or names of models.
    data : Path
        See `io.labelled_set.find_labelled`.
    device : str
    on_progress, is_cancelled : callable

    Raises
    ------
    ModelError
        When a run holds no model, or models are of different organs.
    CaseError
        Before any model runs, with every case that is no good.
    CancelledError
        Once the user asked to stop.
    """
    models = [_model_of(run) for run in runs]
    labelled = find_labelled(data)
    values = label_values(labelled.labels, _names(models))
    known = tuple(sorted({*labelled.labels.values(), 0}))
    reading = Reading(values, known, NO_MATTER_MM)
    _check(labelled.cases, reading, on_progress, is_cancelled)
    made = []
    names = _told_apart([model.name for model in models])
    for number, (run, model) in enumerate(zip(runs, models, strict=True)):
        predictor = Predictor(model, device)
        seen = Seen.by(Path(run))
        results = []
        for place, case in enumerate(labelled.cases):
            stop_if(is_cancelled)
            done = number * len(labelled.cases) + place
            text = f"{names[number]}, case {place + 1} of {len(labelled.cases)}"
            on_progress(done, len(models) * len(labelled.cases), text)
            shown = _public_name(case, place)
            results.append(_on_case(predictor, case, shown, reading, seen))
        networks = _all_networks(predictor)
        count = sum(p.numel() for net in networks for p in net.parameters())
        made.append(
            Compared(
                name=names[number],
                title=model.title,
                parameters=count,
                networks=len(networks),
                device=predictor.device.name,
                cases=tuple(results),
            )
        )
    return tuple(made)


def _told_apart(names: Sequence[str]) -> list[str]:
    """Return names of which no two are the same: trainings of one day may share one."""
    count = Counter(names)
    return [
        f"{name} (run {place})" if count[name] > 1 else name
        for place, name in enumerate(names, start=1)
    ]


def _check(
    cases: Sequence[LabelledCase],
    reading: Reading,
    on_progress: OnProgress,
    is_cancelled: IsCancelled,
) -> None:
    """Refuse cases that are no good before hours are spent on the others."""
    bad = {}
    for place, case in enumerate(cases):
        stop_if(is_cancelled)
        on_progress(place, len(cases), f"Checking case {place + 1}")
        try:
            open_labelled(case, reading)
        except LiversegError as error:
            bad[case.name] = str(error)
    if bad:
        head = f"{len(bad)} of {len(cases)} cases cannot be used; no model was run."
        lines = (f"  {name}: {reason}" for name, reason in bad.items())
        raise CaseError("\n".join([head, *lines]))


def _all_networks(predictor: Predictor) -> tuple[torch.nn.Module, ...]:
    """Return the networks of a model, those of its first stage included."""
    first = predictor.coarse if predictor.stages else None
    return (*(first.networks if first else ()), *predictor.networks)


def _model_of(run: str) -> Model:
    folder = Path(run)
    inner = folder / "model"
    if (inner / CLASSIFIER_FILE).is_file() or (folder / CLASSIFIER_FILE).is_file():
        found = f"'{run}' is a classifier of pictures, which has no masks to compare."
        raise ModelError(found, "Its figures are in its own report.")
    if (folder / FOLDS_FILE).is_file() and not inner.is_dir():
        found = f"The training in '{run}' has not come to a model yet."
        raise ModelError(found, "Go on with it by --resume first.")
    return find_model(inner if inner.is_dir() else run)


def _names(models: Iterable[Model]) -> Names:
    """Return the labels that models were trained for; liver where none says so."""
    own = (trained_part(model) for model in models)
    wanted = {names_of(spec) for spec in own if spec is not None}
    if len(wanted) > 1:
        found = "These models were trained for different labels."
        raise ModelError(found, "Compare models of one organ at a time.")
    return next(iter(wanted), Names())


def _on_case(
    predictor: Predictor,
    case: LabelledCase,
    shown: str,
    reading: Reading,
    seen: Seen | None,
) -> OnCase:
    volume, truth = open_labelled(case, reading)
    started = time.perf_counter()
    found = decide(predictor.predict(volume, options=as_it_comes(predictor.model)))
    seconds = time.perf_counter() - started
    # Tumours that nobody labelled, or looked for, are neither invented nor missed.
    knows_tumour = TUMOUR in reading.values.values() and predictor.model.output.tumour
    measures = measure_case(found, truth)
    liver = measures.liver.agreement
    return OnCase(
        case=shown,
        liver_dice=liver.dice,
        liver_iou=liver.jaccard,
        liver_accuracy=liver.accuracy,
        **(_of_tumour(measures) if knows_tumour else NO_TUMOUR),
        seconds=seconds,
        is_seen=seen.has(case.name, volume.series_key) if seen else None,
    )


def _of_tumour(measures: CaseMeasures) -> dict[str, float | None]:
    tumour = measures.tumour.agreement
    has_tumour = measures.tumour.counts.truth > 0
    invented = measures.tumour.counts.prediction * measures.voxel_ml
    return {
        "tumour_dice": tumour.dice if has_tumour else None,
        "tumour_iou": tumour.jaccard if has_tumour else None,
        "tumour_accuracy": tumour.accuracy,
        "lesion_recall": measures.lesions.recall_any if has_tumour else None,
        "false_tumour_ml": None if has_tumour else invented,
    }


def _public_name(case: LabelledCase, place: int) -> str:
    """Return what a case is called outside; files are often named after patients."""
    is_own = OWN_ID.fullmatch(case.name) and case.name.startswith("liver_P")
    return case.name if is_own else f"case {place + 1}"

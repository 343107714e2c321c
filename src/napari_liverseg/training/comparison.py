"""Several models on the same labelled cases, run and measured as the plugin would."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import CaseError, LiversegError, ModelError
from napari_liverseg.inference.decision import decide
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.io.keys import voxel_key
from napari_liverseg.io.labelled_set import OWN_ID, find_labelled
from napari_liverseg.measure.case import measure_case
from napari_liverseg.models.channels import recognise
from napari_liverseg.models.classifier_spec import CLASSIFIER_FILE
from napari_liverseg.models.digest import digest_of
from napari_liverseg.models.store import find_model
from napari_liverseg.models.two_stage import stages_of
from napari_liverseg.training.card import begun_from
from napari_liverseg.training.compared import NO_TUMOUR, Compared, OnCase
from napari_liverseg.training.folds import FOLDS_FILE
from napari_liverseg.training.held_out import as_it_comes
from napari_liverseg.training.kept_cases import KeptCases
from napari_liverseg.training.label_values import label_values
from napari_liverseg.training.prepared_case import (
    Reading,
    content_key,
    open_labelled,
)
from napari_liverseg.training.seen import Seen
from napari_liverseg.training.segmentation_recipe import Names
from napari_liverseg.training.start import names_of, trained_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import torch

    from napari_liverseg.core.progress import OnProgress
    from napari_liverseg.io.labelled_set import LabelledCase
    from napari_liverseg.measure.case import CaseMeasures
    from napari_liverseg.models.contract import Model

NO_MATTER_MM = (1.0, 1.0, 1.0)
"""Cases are measured on their own grid."""


@dataclass(frozen=True)
class _Checked:
    """A case that every model can be measured on.

    Parameters
    ----------
    case : LabelledCase
    shown : str
        Its public name.
    ct_keys : tuple of str
        Of its series and of its voxels, see `Seen`.
    learnt : str
        What a training notes of it, see `prepared_case.content_key`.
    content : str
        Of all that is measured: voxels, labels and their grid.
    """

    case: LabelledCase
    shown: str
    ct_keys: tuple[str, str]
    learnt: str
    content: str


@dataclass(frozen=True, eq=False)
class _Contestant:
    """A model that is ready, what it was trained on, and what tells it from others."""

    predictor: Predictor
    seen: Seen | None
    digest: str


def compare(
    runs: Sequence[str],
    data: Path,
    device: str,
    on_progress: OnProgress,
    kept: KeptCases | None = None,
) -> tuple[Compared, ...]:
    """Run every model on every case, and measure it on the case's own grid.

    Parameters
    ----------
    runs : sequence of str
        Folders of trainings, folders of models, or names of models.
    data : Path
        See `io.labelled_set.find_labelled`.
    device : str
    on_progress : callable
    kept : KeptCases or None
        What an earlier call left there is not computed again, and each case that is
        finished is put there.

    Raises
    ------
    ModelError
        When a run holds no model or a damaged one, or models are of different organs.
    CaseError
        Before any model runs, with every case that is no good.
    """
    kept = kept or KeptCases()
    models = [_model_of(run) for run in runs]
    labelled = find_labelled(data)
    values = label_values(labelled.labels, _names(models))
    seen = [_seen_by(*pair) for pair in zip(runs, models, strict=True)]
    known = tuple(sorted({*labelled.labels.values(), 0}))
    reading = Reading(values, known, NO_MATTER_MM)
    cases = _check(labelled.cases, reading, on_progress)
    names = _told_apart([model.name for model in models])
    made = []
    for number, model in enumerate(models):
        predictor = Predictor(model, device)
        contestant = _Contestant(predictor, seen[number], digest_of(model))
        results = []
        for place, case in enumerate(cases):
            done = number * len(cases) + place
            text = f"{names[number]}, case {place + 1} of {len(cases)}"
            on_progress(done, len(models) * len(cases), text)
            results.append(_reached(contestant, case, reading, kept))
        made.append(_compared(names[number], predictor, tuple(results)))
    return tuple(made)


def _told_apart(names: Sequence[str]) -> list[str]:
    """Return names of which no two are the same: trainings of one day may share one."""
    count = Counter(names)
    return [
        f"{name} (run {place})" if count[name] > 1 else name
        for place, name in enumerate(names, start=1)
    ]


def _check(
    cases: Sequence[LabelledCase], reading: Reading, on_progress: OnProgress
) -> tuple[_Checked, ...]:
    """Refuse cases that are no good before hours are spent on the others."""
    good, bad = [], {}
    owner: dict[str, str] = {}
    for place, case in enumerate(cases):
        on_progress(place, len(cases), f"Checking case {place + 1}")
        try:
            checked = _checked(case, place, reading)
        except LiversegError as error:
            bad[case.name] = str(error)
            continue
        twin = next((owner[key] for key in checked.ct_keys if key in owner), None)
        if twin is not None:
            # Means would count that patient twice.
            bad[case.name] = f"It is the same CT as '{twin}'. Leave one of them out."
        owner.update(dict.fromkeys(checked.ct_keys, case.name))
        good.append(checked)
    if bad:
        head = f"{len(bad)} of {len(cases)} cases cannot be used; no model was run."
        lines = (f"  {name}: {reason}" for name, reason in bad.items())
        raise CaseError("\n".join([head, *lines]))
    return tuple(good)


def _checked(case: LabelledCase, place: int, reading: Reading) -> _Checked:
    volume, truth = open_labelled(case, reading)
    ct_key, label_key = voxel_key(volume.hu), voxel_key(truth.labels)
    content = _key(ct_key, label_key, volume.geometry)
    keys = (volume.series_key, ct_key)
    learnt = content_key(ct_key, label_key)
    return _Checked(case, _public_name(case, place), keys, learnt, content)


def _compared(name: str, predictor: Predictor, cases: tuple[OnCase, ...]) -> Compared:
    networks = _all_networks(predictor)
    return Compared(
        name=name,
        title=predictor.model.title,
        parameters=sum(p.numel() for net in networks for p in net.parameters()),
        networks=len(networks),
        device=predictor.device.name,
        cases=cases,
    )


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
    model = find_model(inner if inner.is_dir() else run)
    for stage in stages_of(model):
        stage.load_networks()  # damage is told before hours are spent on the others
    return model


def _seen_by(run: str, model: Model) -> Seen | None:
    part = trained_part(model)
    has_start = part is not None and begun_from(part) is not None
    return Seen.by(Path(run), has_start=has_start)


def _names(models: Iterable[Model]) -> Names:
    """Return the labels that models were trained for; liver where none says so."""
    own = (trained_part(model) for model in models)
    wanted = {_plain(names_of(spec)) for spec in own if spec is not None}
    if len(wanted) > 1:
        found = "These models were trained for different labels."
        raise ModelError(found, "Compare models of one organ at a time.")
    return next(iter(wanted), Names())


def _plain(names: Names) -> Names:
    """Return no names where they mean liver and its tumours, as is recognised."""
    told = dict(enumerate((*names.organ, *names.lesion)))
    try:
        found = recognise(told)
    except ModelError:
        return names
    organ, lesion = range(len(names.organ)), range(len(names.organ), len(told))
    is_whole = found.liver == tuple(organ) and found.tumour == tuple(lesion)
    return Names() if is_whole and found.tumour else names


def _reached(
    contestant: _Contestant, case: _Checked, reading: Reading, kept: KeptCases
) -> OnCase:
    """Return what a model reaches on a case, computed unless it was kept."""
    predictor, seen = contestant.predictor, contestant.seen
    # Tumours that nobody labelled, or looked for, are neither invented nor missed.
    knows_tumour = bool(predictor.model.output.tumour) and reading.knows_lesion
    how = (version("napari-liverseg"), predictor.device.name, knows_tumour)
    key = _key(contestant.digest, case.content, *how)
    reached = kept.get(key)
    if reached is None:
        reached = _measured(predictor, case, reading, knows_tumour)
        kept.put(key, reached)
    what = case.case.name, case.ct_keys, case.learnt
    is_seen = seen.has(*what) if seen else None
    return replace(reached, case=case.shown, is_seen=is_seen)


def _measured(
    predictor: Predictor, case: _Checked, reading: Reading, knows_tumour: bool
) -> OnCase:
    volume, truth = open_labelled(case.case, reading)
    started = time.perf_counter()
    found = decide(predictor.predict(volume, options=as_it_comes(predictor.model)))
    seconds = time.perf_counter() - started
    measures = measure_case(found, truth)
    liver = measures.liver.agreement
    return OnCase(
        case=case.shown,
        liver_dice=liver.dice,
        liver_iou=liver.jaccard,
        liver_accuracy=liver.accuracy,
        **(_of_tumour(measures) if knows_tumour else NO_TUMOUR),
        seconds=seconds,
        is_seen=None,
    )


def _key(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


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

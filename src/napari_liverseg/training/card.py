"""What a trained model says of itself: data, folds, figures, versions."""

from __future__ import annotations

import datetime
import hashlib
import statistics
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from napari_liverseg.core.errors import ModelError
from napari_liverseg.core.probabilities import PostProcessing
from napari_liverseg.models.folder_spec import Figure
from napari_liverseg.models.foreign_file import first_fault
from napari_liverseg.models.gated_spec import GatedSpec
from napari_liverseg.models.resunet_spec import ResUNetSpec
from napari_liverseg.models.spec import ABDOMEN_WINDOW_HU, ModelSpec
from napari_liverseg.training.hub_weights import weights_title
from napari_liverseg.training.segmentation_recipe import TUMOUR_WEIGHT, Names
from napari_liverseg.training.start import names_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_liverseg.models.spec import NetworkSpec
    from napari_liverseg.training.folds import Folds
    from napari_liverseg.training.held_out import CaseResult
    from napari_liverseg.training.segmentation_recipe import SegmentationRecipe
    from napari_liverseg.training.start import Start

NOT_CLINICAL = "not for clinical use"
OVERLAP = 0.5
"""Share of a window that the next one covers, where neither recipe nor start says."""

PACKAGES = ("napari-liverseg", "torch", "monai", "lightning")


def draft(recipe: SegmentationRecipe, start: Start | None) -> ModelSpec:
    """Return the spec of the networks of a training, before anything is known of them.

    Raises
    ------
    ModelError
        When the recipe's patch does not fit its network.
    """
    try:
        network = recipe.network or _of(start).network
        names = _names(recipe, start)
        asked = {**recipe.for_card(), "labels": names.model_dump(mode="json")}
        return ModelSpec(
            name=recipe.name,
            title=recipe.title,
            notice=_notice(recipe, names, network),
            version=f"{_today():%Y.%m.%d}",
            network=network,
            spacing_mm=recipe.spacing_mm or _of(start).spacing_mm,
            patch=recipe.patch or _of(start).patch,
            hu_window=recipe.hu_window or _window(start),
            overlap=_overlap(recipe, start),
            post_processing=_cleaning(recipe, start),
            tumour_weight=_tumour_weight(recipe, start),
            training_data="nothing yet",
            trained_on=_today(),
            licence=recipe.licence,
            recipe=yaml.safe_dump(asked, sort_keys=False),
        )
    except ValidationError as error:
        found = f"The recipe '{recipe.name}' makes no model: {first_fault(error)}."
        raise ModelError(found, "Mend the recipe.") from error


def finished(
    spec: ModelSpec,
    folds: Folds,
    results: Sequence[CaseResult],
    start: Start | None,
    data_keys: Iterable[str],
    more_figures: Sequence[Figure] = (),
) -> ModelSpec:
    """Return the spec with what its card says of data, folds and quality.

    Parameters
    ----------
    spec : ModelSpec
        From `draft`.
    folds : Folds
    results : sequence of CaseResult
        Of the held-out cases; none gives no figures.
    start : Start or None
    data_keys : iterable of str
        Of CT and labels of all cases; one hash of them tells whether two models had
        the same data.
    more_figures : sequence of Figure
        Of what else was measured.
    """
    data = hashlib.sha256("\n".join(sorted(data_keys)).encode()).hexdigest()[:12]
    parts = [
        f"{len(folds.cases)} labelled CTs of {folds.patients} patients (data {data})",
        _say_folds(folds),
        f"recipe {spec.name}",
        *_say_drawn(spec),
    ]
    if start is not None:
        first = ", whose first stage is kept" if start.has_finder else ""
        parts.append(f"begun from {start.model.name} {start.model.version}{first}")
    else:
        parts += _say_weights(spec)
    parts.append(", ".join(f"{name} {version(name)}" for name in PACKAGES))
    changes = {
        "training_data": "; ".join(parts),
        "trained_on": _today(),
        "figures": (*figures(spec, folds, results), *more_figures),
    }
    return spec.model_copy(update=changes)


def figures(
    spec: ModelSpec, folds: Folds, results: Sequence[CaseResult]
) -> tuple[Figure, ...]:
    """Return mean and spread of each measure over the held-out cases."""
    organ, lesion = structures(spec)
    wanted: dict[str, list[float | None]] = {
        f"{organ} Dice": [r.organ_dice for r in results],
        f"{organ} 95 % Hausdorff distance in mm": [r.organ_hd95_mm for r in results],
        f"{lesion} Dice": [r.lesion_dice for r in results],
        f"share of each case's {lesion}s that are touched": [
            r.lesion_recall for r in results
        ],
        f"ml of {lesion} invented in cases without any": [
            r.false_lesion_ml for r in results
        ],
    }
    wanted |= {
        f"{organ} IoU": [r.organ_iou for r in results],
        f"{lesion} IoU": [r.lesion_iou for r in results],
        f"{organ} voxel accuracy": [r.organ_accuracy for r in results],
        f"{lesion} voxel accuracy": [r.lesion_accuracy for r in results],
    }
    made = []
    for what, values in wanted.items():
        known = [value for value in values if value is not None]
        if known:
            source = f"{_over(known)}, {measured_by(spec, folds)}"
            mean = round(statistics.fmean(known), 4)
            made.append(Figure(what=what, value=mean, source=source))
    return tuple(made)


def _over(values: Sequence[float]) -> str:
    """Return of how many cases a mean is, and its spread; one alone has none."""
    if len(values) == 1:
        return "one held-out case"
    spread = statistics.stdev(values)
    return f"mean of {len(values)} held-out cases, sd {spread:.3g}"


def structures(spec: ModelSpec) -> tuple[str, str]:
    """Return what organ and lesion are called on the model's card."""
    names = (yaml.safe_load(spec.recipe) or {}).get("labels", {})
    organ, lesion = (" and ".join(names.get(key, ())) for key in ("organ", "lesion"))
    return organ or "liver", lesion or "tumour"


def measured_by(spec: ModelSpec, folds: Folds) -> str:
    """Return who measured held-out cases, and today's date."""
    count = len(folds.held_out)
    said = f"each by the one of {count} networks that it did not train"
    if count == 1:
        said = "which did not train it"
    start = begun_from(spec)
    if start:  # its own held-out cases were perhaps others
        said += f", but perhaps {start}, from which it began"
    return f"{said}, {_today():%Y-%m-%d}"


def begun_from(spec: ModelSpec) -> str | None:
    """Return what its recipe calls the model that a training began from, if any."""
    recipe = yaml.safe_load(spec.recipe)
    start = recipe.get("start") if isinstance(recipe, dict) else None
    return None if start is None else str(start)


def _say_folds(folds: Folds) -> str:
    if len(folds.held_out) == 1:
        held = len(folds.held_out[0])
        return f"{held} of the CTs held out, by patient"
    return f"{len(folds.held_out)} folds by patient, one network each"


def _say_drawn(spec: ModelSpec) -> list[str]:
    """Return what else than the labelled CTs it learnt from."""
    drawn = (yaml.safe_load(spec.recipe) or {}).get("drawn")
    if not drawn:
        return []
    public = ", public CTs and a public atlas, altered" if drawn["public"] else ""
    cases = ", its CTs, altered" if drawn.get("cases") else ""
    return [f"{drawn['share']:.0%} of its images drawn: phantoms{public}{cases}"]


def _say_weights(spec: ModelSpec) -> list[str]:
    """Return whose weights its encoder began with."""
    weights = (yaml.safe_load(spec.recipe) or {}).get("weights")
    if weights is None or not isinstance(spec.network, ResUNetSpec):
        return []
    return [f"encoder begun from {weights_title(weights, spec.network.depth)}"]


def _names(recipe: SegmentationRecipe, start: Start | None) -> Names:
    """Return what is learnt; where the recipe does not say it, what the start knows.

    In the window every organ goes by the name of liver, and so it does in corrections.
    """
    if start is None or recipe.labels != Names():
        return recipe.labels
    return names_of(start.network)


def _notice(recipe: SegmentationRecipe, names: Names, network: NetworkSpec) -> str:
    notice = f"trained here with the recipe '{recipe.name}', {NOT_CLINICAL}"
    if names.organ and set(names.organ) != {"liver"}:
        shown = ", ".join(names.organ)
        notice += f"; what is shown as liver is {shown}; let it look at the whole body"
    if isinstance(network, GatedSpec):
        notice += (
            "; it looks for tumour only in slices whose probability of any is "
            f"{network.cut_off:g} or more, whatever the threshold"
        )
    return notice


def _window(start: Start | None) -> tuple[float, float]:
    return start.network.hu_window if start else ABDOMEN_WINDOW_HU


def _tumour_weight(recipe: SegmentationRecipe, start: Start | None) -> float:
    """Return what the loss weighs tumour with, else what that of the start did."""
    if recipe.loss == "liver-tumour":
        return TUMOUR_WEIGHT
    return _of(start).tumour_weight if start else 1.0


def _cleaning(recipe: SegmentationRecipe, start: Start | None) -> PostProcessing:
    """Return the cleaning of the start, with the recipe's say on small lesions."""
    cleaning = _of(start).post_processing if start else PostProcessing()
    least = recipe.smallest_lesion_ml
    return cleaning if least is None else replace(cleaning, smallest_tumour_ml=least)


def _overlap(recipe: SegmentationRecipe, start: Start | None) -> float:
    if recipe.overlap is not None:
        return recipe.overlap
    return start.network.overlap if start else OVERLAP


def _of(start: Start | None) -> ModelSpec:
    assert start is not None  # a recipe without one has all that is asked of it
    return start.network


def _today() -> datetime.date:
    return datetime.datetime.now(tz=datetime.UTC).date()

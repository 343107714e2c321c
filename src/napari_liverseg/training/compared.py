"""What models reached on the same cases, case by case."""

from __future__ import annotations

import statistics
from dataclasses import dataclass


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
        Whether the model was trained on it; None where nobody knows, as of models
        given by name and of what the start of a training has seen.
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
    def seen(self) -> str:
        """How many of the cases the model was trained on, in words."""
        known = [case.is_seen for case in self.cases if case.is_seen is not None]
        if not known:
            return "unknown"
        unknown = len(self.cases) - len(known)
        more = f", {unknown} unknown" if unknown else ""
        return f"{sum(known)} of {len(self.cases)}{more}"

    def mean(self, measure: str) -> float | None:
        """Return the mean of a measure over the cases that have it."""
        known = [case.numbers[measure] for case in self.cases]
        there = [value for value in known if value is not None]
        return statistics.fmean(there) if there else None

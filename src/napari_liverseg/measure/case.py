"""One prediction against its truth: every measure of a case, nulls explained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from napari_liverseg.core.box import bounding_box
from napari_liverseg.core.errors import GeometryMismatchError
from napari_liverseg.core.segmentation import LIVER, TUMOUR
from napari_liverseg.measure.agreement import (
    Agreement,
    VoxelCounts,
    count_voxels,
    measure_agreement,
    ratio,
)
from napari_liverseg.measure.matching import LesionMatch, match_lesions
from napari_liverseg.measure.surface import SurfaceDistances, measure_surfaces

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.core.segmentation import Segmentation

NEEDS_TRUTH = ("sensitivity",)
NEEDS_PREDICTION = ("rvd", "precision")
DISTANCES = ("assd_mm", "rmsd_mm", "msd_mm", "hd95_mm")


@dataclass(frozen=True)
class MaskMeasures:
    """Everything said about one structure, liver or tumour.

    Parameters
    ----------
    counts : VoxelCounts
        Voxels behind the fractions; folders pool them.
    agreement : Agreement
        Voxel overlap.
    distances : SurfaceDistances or None
        None where either mask is empty.
    """

    counts: VoxelCounts
    agreement: Agreement
    distances: SurfaceDistances | None

    def as_dict(self) -> dict[str, float | None]:
        """Return the measures by name, None where undefined."""
        if self.distances is None:
            return {**asdict(self.agreement), **dict.fromkeys(DISTANCES)}
        return {**asdict(self.agreement), **asdict(self.distances)}


@dataclass(frozen=True)
class CaseMeasures:
    """Everything said about one case.

    Parameters
    ----------
    liver : MaskMeasures
        Of the mask ``label >= 1``: the liver with its tumours.
    tumour : MaskMeasures
        Of the mask ``label == 2`` as a whole, found and missed lesions alike.
    lesions : LesionMatch
        Of the tumour mask's 6-connected components.
    voxel_ml : float
        Volume of one voxel in ml.
    """

    liver: MaskMeasures
    tumour: MaskMeasures
    lesions: LesionMatch
    voxel_ml: float

    @property
    def burden_truth(self) -> float | None:
        """Share of the true liver that is tumour; None without liver."""
        return ratio(self.tumour.counts.truth, self.liver.counts.truth)

    @property
    def burden_prediction(self) -> float | None:
        """Share of the predicted liver that is tumour; None without liver."""
        return ratio(self.tumour.counts.prediction, self.liver.counts.prediction)

    def as_dict(self) -> dict[str, Any]:
        """Return what ``measure --json`` prints, with a reason for each null.

        Returns
        -------
        dict
            ``liver`` and ``tumour`` (see `Agreement`, `SurfaceDistances`),
            ``lesions``, ``tumour_burden``, and ``reasons``: one sentence for
            each null by its dotted name, such as ``tumour.assd_mm``.
        """
        match = self.lesions
        return {
            "liver": self.liver.as_dict(),
            "tumour": self.tumour.as_dict(),
            "lesions": {
                "truth": match.truth,
                "predicted": match.predicted,
                "precision": match.precision,
                "recall": match.recall,
                "precision_any": match.precision_any,
                "recall_any": match.recall_any,
            },
            "tumour_burden": {
                "truth": self.burden_truth,
                "prediction": self.burden_prediction,
            },
            "reasons": self.reasons(),
        }

    def reasons(self) -> dict[str, str]:
        """Return why a measure is None, by dotted name; empty where none is."""
        masks = {"liver": self.liver, "tumour": self.tumour}
        reasons: dict[str, str] = {}
        for name, mask in masks.items():
            reasons |= _explain_mask(name, mask.counts)
        reasons |= _explain_lesions(self.lesions)
        for side, counts in (
            ("truth", self.liver.counts.truth),
            ("prediction", self.liver.counts.prediction),
        ):
            if not counts:
                reasons[f"tumour_burden.{side}"] = f"The {side} has no liver."
        return reasons


def measure_case(prediction: Segmentation, truth: Segmentation) -> CaseMeasures:
    """Compare a label map with its truth, by the definitions of LiTS.

    Parameters
    ----------
    prediction, truth : Segmentation
        On the same grid; ``label >= 1`` is liver, 2 is tumour.

    Raises
    ------
    GeometryMismatchError
        When the two grids differ in patient space.
    """
    _refuse_other_grid(prediction, truth)
    # Measures need no voxel outside of the masks but their number.
    box = _common_box(prediction.labels, truth.labels)
    ours, theirs = prediction.labels[box], truth.labels[box]
    spacing_mm, total = truth.geometry.spacing_mm, truth.labels.size
    ours_tumour, theirs_tumour = ours == TUMOUR, theirs == TUMOUR
    return CaseMeasures(
        liver=_measure_mask(ours >= LIVER, theirs >= LIVER, spacing_mm, total),
        tumour=_measure_mask(ours_tumour, theirs_tumour, spacing_mm, total),
        lesions=match_lesions(ours_tumour, theirs_tumour),
        voxel_ml=truth.geometry.voxel_ml,
    )


def _refuse_other_grid(prediction: Segmentation, truth: Segmentation) -> None:
    if prediction.geometry.matches(truth.geometry):
        return
    found = (
        "The prediction and the truth lie on different grids: the prediction has "
        f"{prediction.geometry}, the truth has {truth.geometry}."
    )
    next_step = (
        "Compare masks of the same CT, or resample the prediction onto the truth's "
        "grid (option --resample, nearest neighbour)."
    )
    raise GeometryMismatchError(found, next_step)


def _common_box(
    first: NDArray[np.uint8], second: NDArray[np.uint8]
) -> tuple[slice, slice, slice]:
    """Return the smallest box that holds every non-zero voxel of both arrays."""
    boxes = [b for b in (bounding_box(first), bounding_box(second)) if b is not None]
    if not boxes:
        return slice(0, 1), slice(0, 1), slice(0, 1)
    z, y, x = (
        slice(min(s.start for s in along), max(s.stop for s in along))
        for along in zip(*boxes, strict=True)
    )
    return z, y, x


def _measure_mask(
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing_mm: Triple,
    total: int,
) -> MaskMeasures:
    counts = count_voxels(prediction, truth, total)
    return MaskMeasures(
        counts=counts,
        agreement=measure_agreement(counts),
        distances=measure_surfaces(prediction, truth, spacing_mm),
    )


def _explain_mask(name: str, counts: VoxelCounts) -> dict[str, str]:
    reasons: dict[str, str] = {}
    if not counts.prediction:
        reasons |= dict.fromkeys(NEEDS_PREDICTION, f"The prediction has no {name}.")
    if not counts.truth:
        reasons |= dict.fromkeys(NEEDS_TRUTH, f"The truth has no {name}.")
    empty = _say_empty(name, counts.prediction, counts.truth)
    if empty:
        reasons |= dict.fromkeys(DISTANCES, f"{empty} Distance is undefined.")
    return {f"{name}.{measure}": reason for measure, reason in reasons.items()}


def _say_empty(name: str, prediction: int, truth: int) -> str:
    if not prediction and not truth:
        return f"Neither the prediction nor the truth has a {name}."
    if not prediction:
        return f"The prediction has no {name}."
    return "" if truth else f"The truth has no {name}."


def _explain_lesions(match: LesionMatch) -> dict[str, str]:
    reasons: dict[str, str] = {}
    if not match.predicted:
        because = "The prediction has no lesion."
        reasons |= dict.fromkeys(
            ("lesions.precision", "lesions.precision_any"), because
        )
    if not match.truth:
        because = "The truth has no lesion."
        reasons |= dict.fromkeys(("lesions.recall", "lesions.recall_any"), because)
    return reasons

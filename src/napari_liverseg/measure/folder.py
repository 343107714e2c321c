"""Two folders of label maps: which belong together, and what they say as a whole."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_liverseg.core.errors import CaseError
from napari_liverseg.measure.agreement import dice_of, ratio

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from napari_liverseg.measure.agreement import VoxelCounts
    from napari_liverseg.measure.case import CaseMeasures

ENDINGS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd")
"""Files with these endings are label maps; others in the folder are left alone."""

SEGMENTED = "labels.nii.gz"
"""The label map in a folder of results."""

BLOCKS = ("liver", "tumour", "lesions", "tumour_burden")


@dataclass(frozen=True)
class FolderMatch:
    """Label maps of two folders, by name without the ending.

    Parameters
    ----------
    pairs : dict of str to (Path, Path)
        Prediction and truth of each case, sorted by name.
    prediction_only, truth_only : tuple of str
        Names that the other folder does not have.
    """

    pairs: dict[str, tuple[Path, Path]]
    prediction_only: tuple[str, ...]
    truth_only: tuple[str, ...]


def match_folders(prediction: Path, truth: Path) -> FolderMatch:
    """Pair the label maps of two folders by file name.

    ``case1.nrrd`` belongs to ``case1.nii.gz``: the ending does not count. A
    folder inside with a `SEGMENTED` file, which the command ``segment`` writes,
    counts as a label map of the folder's name; others are not looked into.

    Raises
    ------
    CaseError
        When no name is in both folders, or one folder has a name twice.
    """
    ours, theirs = _by_name(prediction), _by_name(truth)
    names = sorted(ours.keys() & theirs.keys())
    if not names:
        found = (
            f"No label map in the prediction folder ({len(ours)} found) has the "
            f"name of one in the truth folder ({len(theirs)} found)."
        )
        next_step = "Give both files of a case the same name, in two folders."
        raise CaseError(found, next_step)
    return FolderMatch(
        pairs={name: (ours[name], theirs[name]) for name in names},
        prediction_only=tuple(sorted(ours.keys() - theirs.keys())),
        truth_only=tuple(sorted(theirs.keys() - ours.keys())),
    )


def summarise(cases: Mapping[str, CaseMeasures]) -> dict[str, Any]:
    """Return what all cases say together, in plain values for JSON.

    Returns
    -------
    dict
        ``cases`` (how many); for each measure of ``liver``, ``tumour``,
        ``lesions`` and ``tumour_burden`` its ``mean``, ``sd`` (of the sample,
        n - 1), ``min``, ``max`` and ``n`` over the cases where it is defined;
        ``dice_global`` (voxels of all cases pooled, so that large structures
        weigh more); ``lesions_global`` (lesions of all cases pooled);
        ``tumour_burden_rmse`` over the cases where both sides have a liver.
    """
    measured = list(cases.values())
    dicts = [measures.as_dict() for measures in measured]
    summary: dict[str, Any] = {"cases": len(measured)}
    for block in BLOCKS:
        names = dicts[0][block] if dicts else ()
        summary[block] = {
            name: describe([d[block][name] for d in dicts]) for name in names
        }
    summary["dice_global"] = {
        "liver": _global_dice([m.liver.counts for m in measured]),
        "tumour": _global_dice([m.tumour.counts for m in measured]),
    }
    summary["lesions_global"] = _pool_lesions(measured)
    summary["tumour_burden_rmse"] = _burden_rmse(measured)
    return summary


def describe(values: Iterable[float | None]) -> dict[str, float | int | None]:
    """Return mean, sd, min, max and n of the values that are defined."""
    defined = [float(value) for value in values if value is not None]
    if not defined:
        return {"mean": None, "sd": None, "min": None, "max": None, "n": 0}
    return {
        "mean": statistics.fmean(defined),
        "sd": statistics.stdev(defined) if len(defined) > 1 else None,
        "min": min(defined),
        "max": max(defined),
        "n": len(defined),
    }


def _by_name(folder: Path) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        file = path / SEGMENTED if (path / SEGMENTED).is_file() else path
        name = path.name if file != path else _bare_name(path)
        if name is None:
            continue
        if name in files:
            found = f"The folder '{folder.name}' has two label maps named '{name}'."
            raise CaseError(found, "Keep one of them in the folder.")
        files[name] = file
    return files


def _bare_name(path: Path) -> str | None:
    """Return the name without its ending, None for what is no label map."""
    if path.name.startswith(".") or not path.is_file():
        return None
    for ending in ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return None


def _global_dice(counts: Sequence[VoxelCounts]) -> float:
    return dice_of(
        sum(c.both for c in counts),
        sum(c.prediction for c in counts),
        sum(c.truth for c in counts),
    )


def _pool_lesions(cases: Sequence[CaseMeasures]) -> dict[str, float | None]:
    matches = [case.lesions for case in cases]
    truth = sum(m.truth for m in matches)
    predicted = sum(m.predicted for m in matches)
    detected = sum(m.detected for m in matches)
    detected_any = sum(m.detected_any for m in matches)
    return {
        "truth": truth,
        "predicted": predicted,
        "precision": ratio(detected, predicted),
        "recall": ratio(detected, truth),
        "precision_any": ratio(detected_any, predicted),
        "recall_any": ratio(detected_any, truth),
    }


def _burden_rmse(cases: Sequence[CaseMeasures]) -> float | None:
    errors = [
        case.burden_prediction - case.burden_truth
        for case in cases
        if case.burden_prediction is not None and case.burden_truth is not None
    ]
    if not errors:
        return None
    return math.sqrt(statistics.fmean(error**2 for error in errors))

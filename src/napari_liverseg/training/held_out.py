"""How good a fold's model is on the cases that it never saw, on their own grid."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import ModelError
from napari_liverseg.inference.decision import decide
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.inference.predictor import Predictor
from napari_liverseg.measure.case import measure_case
from napari_liverseg.models.two_stage import TwoStage
from napari_liverseg.training.order import MEASURES_FILE
from napari_liverseg.training.picture import draw_picture
from napari_liverseg.training.prepared_case import open_labelled
from napari_liverseg.training.whole_file import write_text, write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.core.probabilities import Look
    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.measure.case import CaseMeasures
    from napari_liverseg.models.contract import Model
    from napari_liverseg.training.prepared_case import PreparedCase, Reading


def as_it_comes(model: Model) -> RunOptions:
    """Return how a model is run to be measured: in float32, as on any computer.

    A model of two stages looks where its first one finds the liver, as it does for a
    user; one of a single stage at the whole body, whatever else may be installed.
    """
    look: Look = "liver" if isinstance(model, TwoStage) else "body"
    return RunOptions(look=look, tune=False)


@dataclass(frozen=True)
class CaseResult:
    """What a model reached on one held-out case.

    Parameters
    ----------
    case : str
        Its name in the data set; not for reports that leave the house.
    fold : int
        From 1.
    organ_dice : float
    lesion_dice : float or None
        None where the case has no lesion.
    lesion_recall : float or None
        Share of its lesions that were touched; None where it has none.
    organ_hd95_mm : float or None
        None where nothing was found.
    false_lesion_ml : float or None
        Lesion that was found in a case without any; None in others.
    picture : str
        File name of the slice with most differences, beside the measures.
    organ_iou, lesion_iou, organ_accuracy, lesion_accuracy : float or None
        Overlap, and share of all voxels that are right; the lesion's IoU is None
        where there is none.

    All measures of lesions are None where the data set labels none.
    """

    case: str
    fold: int
    organ_dice: float
    lesion_dice: float | None
    lesion_recall: float | None
    organ_hd95_mm: float | None
    false_lesion_ml: float | None
    picture: str
    organ_iou: float | None = None
    lesion_iou: float | None = None
    organ_accuracy: float | None = None
    lesion_accuracy: float | None = None


@dataclass(frozen=True)
class Exam:
    """How held-out cases are opened and predicted.

    Parameters
    ----------
    reading : Reading
    device : str
        As `inference.devices.resolve` takes it.
    on_progress, is_cancelled : callable
        Told of each case; asked before each.
    """

    reading: Reading
    device: str
    on_progress: OnProgress
    is_cancelled: IsCancelled


def measure_held_out(
    model: Model,
    fold: int,
    cases: tuple[PreparedCase, ...],
    exam: Exam,
    kept: Path,
) -> list[CaseResult]:
    """Predict each held-out case as the plugin would, measure it, draw its worst slice.

    Results and pictures are kept in the folder `kept`, once all are there.

    Parameters
    ----------
    model : Model
        Bound to its folder.
    fold : int
        From 1.
    cases : tuple of PreparedCase
    exam : Exam
    kept : Path

    Raises
    ------
    CancelledError
        Once the user asked to stop.
    """
    predictor = Predictor(model, exam.device)
    results = []
    for number, prepared in enumerate(cases, start=1):
        text = f"measuring held-out case {number} of {len(cases)}"
        exam.on_progress(number - 1, len(cases), text)
        volume, truth = open_labelled(prepared.case, exam.reading)
        believed = predictor.predict(
            volume, is_cancelled=exam.is_cancelled, options=as_it_comes(model)
        )
        found = decide(believed)
        picture = f"held_out_{number:03d}.png"
        content = draw_picture(volume, truth.labels, found.labels)
        write_whole(kept / picture, partial(_write, content))
        measures = measure_case(found, truth)
        result = _result(prepared.case.name, fold, measures, picture)
        results.append(result if exam.reading.knows_lesion else _of_organ(result))
    rows = [asdict(result) for result in results]
    write_text(kept / MEASURES_FILE, json.dumps(rows, indent=1) + "\n")
    return results


def read_results(folder: Path) -> list[CaseResult]:
    """Return what `measure_held_out` kept in the folder of a fold.

    Raises
    ------
    ModelError
        When the file cannot be read.
    """
    path = folder / MEASURES_FILE
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [CaseResult(**row) for row in rows]
    except (OSError, ValueError, TypeError) as error:
        found = f"{path} cannot be read."
        raise ModelError(found, "Remove it and go on with --resume.") from error


def _write(content: bytes, part: Path) -> None:
    part.write_bytes(content)


def _result(name: str, fold: int, measures: CaseMeasures, picture: str) -> CaseResult:
    organ, lesion = measures.liver, measures.tumour
    has_lesion = lesion.counts.truth > 0
    found_ml = lesion.counts.prediction * measures.voxel_ml
    return CaseResult(
        case=name,
        fold=fold,
        organ_dice=organ.agreement.dice,
        lesion_dice=lesion.agreement.dice if has_lesion else None,
        lesion_recall=measures.lesions.recall_any if has_lesion else None,
        organ_hd95_mm=organ.distances.hd95_mm if organ.distances else None,
        false_lesion_ml=None if has_lesion else found_ml,
        picture=picture,
        organ_iou=organ.agreement.jaccard,
        lesion_iou=lesion.agreement.jaccard if has_lesion else None,
        organ_accuracy=organ.agreement.accuracy,
        lesion_accuracy=lesion.agreement.accuracy,
    )


def _of_organ(result: CaseResult) -> CaseResult:
    """Return a result without what needs lesions that somebody labelled."""
    return replace(result, false_lesion_ml=None, lesion_accuracy=None)

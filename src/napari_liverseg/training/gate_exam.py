"""What a gate says of each slice of the held-out cases, beside the truth."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_liverseg.core.errors import ModelError
from napari_liverseg.core.progress import stop_if
from napari_liverseg.core.segmentation import LIVER, TUMOUR
from napari_liverseg.inference.devices import resolve
from napari_liverseg.inference.groups import Groups
from napari_liverseg.inference.preprocessing import normalise
from napari_liverseg.inference.windows import Sweep
from napari_liverseg.models.gated import Gated
from napari_liverseg.models.planar import Planar
from napari_liverseg.training.order import MEASURES_FILE
from napari_liverseg.training.whole_file import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_liverseg.models.spec import ModelSpec
    from napari_liverseg.training.held_out import Exam
    from napari_liverseg.training.prepared_case import PreparedCase

SLICES_FILE = "slices.json"
"""Of a fold's held-out cases, in its folder."""


@dataclass(frozen=True)
class CaseSlices:
    """The slices of one held-out case that show the organ, on the network's grid.

    Parameters
    ----------
    case, patient : str
        Names in the data set, the case's own where it names no patient; not for
        reports that leave the house.
    fold : int
        From 1.
    probabilities : tuple of float
        That a slice bears a lesion, by the gate.
    bears : tuple of bool
        Whether it does.
    """

    case: str
    patient: str
    fold: int
    probabilities: tuple[float, ...]
    bears: tuple[bool, ...]


def ask_gate(
    model: ModelSpec,
    fold: int,
    cases: tuple[PreparedCase, ...],
    exam: Exam,
    kept: Path,
) -> list[CaseSlices]:
    """Ask the gate of a fold's model about each slice with organ in held-out cases.

    Other slices are left out: far from the liver a right answer is cheap. The
    answers are kept in the folder `kept`, once all are there.

    Parameters
    ----------
    model : ModelSpec
        Of one network, bound to its folder.
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
    network = model.load_networks()[0].to(resolve(exam.device).name)
    assert isinstance(network, Planar)
    found = []
    for number, prepared in enumerate(cases, start=1):
        stop_if(exam.is_cancelled)
        text = f"asking the first stage about held-out case {number} of {len(cases)}"
        exam.on_progress(number - 1, len(cases), text)
        said = slice_probabilities(network, model, prepared)
        bears = _slices_with(prepared, TUMOUR)[_slices_with(prepared, LIVER)]
        found.append(
            CaseSlices(
                case=prepared.case.name,
                patient=prepared.case.patient or prepared.case.name,
                fold=fold,
                probabilities=tuple(said.tolist()),
                bears=tuple(bears.tolist()),
            )
        )
    rows = [asdict(one) for one in found]
    write_text(kept / SLICES_FILE, json.dumps(rows, indent=1) + "\n")
    return found


@torch.no_grad()
def slice_probabilities(
    network: Planar, model: ModelSpec, case: PreparedCase
) -> NDArray[np.float64]:
    """Return how likely slices of a case bear a lesion, shape (slices with organ,).

    A slice that is wider than a window has several: the likeliest one speaks for
    it, for there the gate lets a lesion through.
    """
    gated = network.net
    assert isinstance(gated, Gated)
    device = next(gated.parameters()).device
    image = normalise(torch.from_numpy(np.array(case.hu)), model.hu_window)
    windows = replace(model.windows, patch=(1, *model.patch[1:]))
    shows = _slices_with(case, LIVER)
    region = np.broadcast_to(shows[:, None, None], case.labels.shape)
    sweep = Sweep(image, windows, Groups(model.output), region=region)
    said = np.zeros(shows.size)
    for plane, some in sweep.slabs():
        said[plane] = gated.probability(network.slices(some.to(device))).max().item()
    return said[shows]


def without_gate(model: ModelSpec) -> ModelSpec:
    """Return a model whose gate stays open: its second stage alone."""
    network = model.network.model_copy(update={"cut_off": 0.0})
    return model.model_copy(update={"network": network})


def read_slices(folder: Path) -> list[CaseSlices]:
    """Return what `ask_gate` kept in the folder of a fold; none without a gate.

    Raises
    ------
    ModelError
        When the file cannot be read.
    """
    path = folder / SLICES_FILE
    if not path.is_file():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        return [CaseSlices(**row) for row in rows]
    except (OSError, ValueError, TypeError) as error:
        found = f"{path} cannot be read."
        step = f"Remove it and {MEASURES_FILE} beside it, and go on with --resume."
        raise ModelError(found, step) from error


def _slices_with(case: PreparedCase, least: int) -> NDArray[np.bool_]:
    """Return which slices have a label from a value on, shape (z,)."""
    return np.asarray((case.labels >= least).any(axis=(1, 2)))

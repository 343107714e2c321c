"""The files that a segmented case leaves, whoever has computed it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_liverseg.batch.report import make_report

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.core.probabilities import (
        Probabilities,
        RunRecord,
        Thresholds,
    )
    from napari_liverseg.core.segmentation import Segmentation
    from napari_liverseg.core.volume import CTVolume

LABELS_FILE, REPORT_FILE = "labels.nii.gz", "report.json"
FILES = (LABELS_FILE, REPORT_FILE)

PROBABILITY_FILES = ("liver_probability.nii.gz", "tumour_probability.nii.gz")
"""Written where they are asked for; liver is liver *or tumour*."""


@dataclass(frozen=True)
class Making:
    """How a label map was made.

    Parameters
    ----------
    run : RunRecord
    thresholds : Thresholds
    seconds : float
        From opening the CT to its masks.
    peak_memory_mb : float
        Most memory that the computing process has held, in MB (1e6).
    model_digest : str
        Of all that decides what the model says, see `digest_of`.
    ct_files : str or None
        Which files the CT is, see `finished.ct_files`; None where that is not known.
    """

    run: RunRecord
    thresholds: Thresholds
    seconds: float
    peak_memory_mb: float
    model_digest: str
    ct_files: str | None = None


def write_result(
    folder: Path, segmentation: Segmentation, volume: CTVolume, making: Making
) -> dict[str, Any]:
    """Write label map and report, and return the report.

    Parameters
    ----------
    folder : Path
        One that `all_or_none` yields.
    segmentation : Segmentation
    volume : CTVolume
        Its voxels are not looked at.
    making : Making

    Raises
    ------
    ExportError
        When the label map cannot be written or does not read back the same.
    """
    from napari_liverseg.io.label_map import write_label_map

    started = time.perf_counter()
    write_label_map(folder / LABELS_FILE, segmentation, volume)
    report = make_report(volume, segmentation, making.run, making.thresholds)
    writing = time.perf_counter() - started
    report["seconds"] = round(making.seconds + writing, 3)
    report["peak_memory_mb"] = making.peak_memory_mb
    report["model_digest"] = making.model_digest
    report["ct_files"] = making.ct_files
    text = json.dumps(report, indent=2, allow_nan=False)
    (folder / REPORT_FILE).write_text(f"{text}\n", encoding="utf-8")
    return report


def write_probabilities(
    folder: Path, probabilities: Probabilities, volume: CTVolume
) -> None:
    """Write what a model believes about every voxel, `PROBABILITY_FILES`.

    Parameters
    ----------
    folder : Path
        One that `all_or_none` yields.
    probabilities : Probabilities
    volume : CTVolume

    Raises
    ------
    ExportError
        When a file cannot be written or does not read back the same.
    """
    from napari_liverseg.io.probability_map import write_probability_map

    both = (probabilities.liver, probabilities.tumour)
    for name, values in zip(PROBABILITY_FILES, both, strict=True):
        write_probability_map(folder / name, values, probabilities.box, volume)

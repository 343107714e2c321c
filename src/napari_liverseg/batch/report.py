"""What is written beside a label map, so that a result can be repeated."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from napari_liverseg.core.segmentation import TUMOUR

if TYPE_CHECKING:
    from napari_liverseg.core.box import Box
    from napari_liverseg.core.probabilities import RunRecord, Thresholds
    from napari_liverseg.core.segmentation import Segmentation
    from napari_liverseg.core.volume import CTVolume

ML_DIGITS = 4
"""Volumes are written to 0.1 cubic millimetres, less than a voxel."""


def make_report(
    volume: CTVolume,
    segmentation: Segmentation,
    run: RunRecord,
    thresholds: Thresholds,
) -> dict[str, Any]:
    """Return what was done and what came out, in plain values for JSON.

    Neither the name of the case nor a path or a message with a file's name is
    in it: reports travel, and names of files and folders name patients.

    Returns
    -------
    dict
        A threshold of None is the model's own decision; ``options`` is what was
        asked for, ``looked_at`` what came of it; volumes in ml, the
        liver's with its tumours, lesions the largest first; ``case`` is a
        digest that stays the same for the same data.
    """
    from napari_liverseg import __version__
    from napari_liverseg.measure.lesions import lesion_voxels

    voxel_ml = segmentation.geometry.voxel_ml
    lesions = lesion_voxels(segmentation.labels == TUMOUR)
    return {
        "case": volume.series_key,
        "model": run.model,
        "version": run.model_version,
        "sha256": run.model_sha256,
        "device": run.device,
        "computed_in": run.recipe,
        "looked_at": {
            "where": run.look,
            "box_zyx": _box(run.box),
            "margin_mm": run.margin_mm,
        },
        "options": {"look": run.asked_look, "mirror": run.mirror},
        "memory_plan": run.memory,
        "thresholds": {"liver": thresholds.liver, "tumour": thresholds.tumour},
        "decisions": list(volume.decisions),
        "problems": [{"code": p.code, "severity": p.severity} for p in volume.problems],
        "notes": list(run.notes),
        "volumes_ml": {
            "liver": round(segmentation.liver_ml, ML_DIGITS),
            "tumour": round(segmentation.tumour_ml, ML_DIGITS),
        },
        "lesions": {
            "count": int(lesions.size),
            "volumes_ml": [round(int(v) * voxel_ml, ML_DIGITS) for v in lesions],
        },
        "prediction_seconds": round(run.seconds, 3),
        "package_version": __version__,
    }


def _box(box: Box | None) -> list[list[int]] | None:
    """Return the first voxel, and the one after the last, along z, y and x."""
    return None if box is None else [[side.start, side.stop] for side in box]


def say_result(report: dict[str, Any]) -> str:
    """Return the volumes of a report in a sentence."""
    volumes_ml, count = report["volumes_ml"], report["lesions"]["count"]
    lesions = "1 lesion" if count == 1 else f"{count} lesions"
    return (
        f"Liver {volumes_ml['liver']:.0f} ml, tumour {volumes_ml['tumour']:.1f} ml "
        f"in {lesions}."
    )


def peak_memory_mb() -> float:
    """Return the largest main memory that this process has held, in MB (1e6)."""
    if sys.platform == "win32":
        import psutil

        return float(psutil.Process().memory_info().peak_wset / 1e6)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes (getrusage(2) of each).
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6, 1)

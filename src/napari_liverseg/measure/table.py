"""Measures as people read them: rows with units and digits, and CSV."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_liverseg.measure.case import CaseMeasures

UNDEFINED = "–"  # noqa: RUF001
"""Shown for a measure without a value; its note says why."""

CSV_HEADER = ("metric", "unit", "liver", "tumour", "note")

MASK_ROWS = (
    ("dice", "Dice", ""),
    ("jaccard", "Jaccard", ""),
    ("voe", "Volumetric overlap error", ""),
    ("rvd", "Relative volume difference (truth - prediction) / prediction", ""),
    ("sensitivity", "Sensitivity", ""),
    ("precision", "Precision", ""),
    ("accuracy", "Voxel accuracy (whole volume)", ""),
    ("assd_mm", "Average symmetric surface distance", "mm"),
    ("rmsd_mm", "RMS symmetric surface distance", "mm"),
    ("msd_mm", "Maximum symmetric surface distance", "mm"),
    ("hd95_mm", "95 % Hausdorff distance", "mm"),
)
LESION_ROWS = (
    ("predicted", "Lesions in the prediction"),
    ("truth", "Lesions in the truth"),
    ("precision", "Lesion precision (IoU > 0.5)"),
    ("recall", "Lesion recall (IoU > 0.5)"),
    ("precision_any", "Lesion precision (any overlap)"),
    ("recall_any", "Lesion recall (any overlap)"),
)
DIGITS = {"": 3, "mm": 2, "ml": 1}
WHOLE_FROM_ML = 9.95
"""Volumes from here on are shown without decimals."""


@dataclass(frozen=True)
class Cell:
    """One value of the table.

    Parameters
    ----------
    value : float, int or None
        In full precision; None where undefined or not applicable.
    text : str
        What to show; empty where the row says nothing about this structure.
    note : str
        Why there is no value, in a sentence; else empty.
    """

    value: float | None
    text: str
    note: str = ""


NOTHING = Cell(None, "")
"""The cell of a structure that a row does not speak of."""


@dataclass(frozen=True)
class Row:
    """One measure for liver and tumour.

    Parameters
    ----------
    key : str
        Stable name, such as ``assd_mm`` or ``lesions.recall``.
    name : str
        What the reader calls it.
    unit : str
        ``mm``, ``ml``, or empty for fractions and counts.
    liver, tumour : Cell
    """

    key: str
    name: str
    unit: str
    liver: Cell
    tumour: Cell


def as_rows(measures: CaseMeasures) -> tuple[Row, ...]:
    """Return the table of one case, top to bottom."""
    reasons = measures.reasons()
    return (
        *_volume_rows(measures),
        *_mask_rows(measures, reasons),
        *_lesion_rows(measures, reasons),
    )


def as_csv(measures: CaseMeasures) -> str:
    """Return the table of one case as CSV, full precision, nulls as empty cells.

    The columns are ``metric,unit,liver,tumour,note``; lines end in CR LF as
    RFC 4180 has it.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(CSV_HEADER)
    for row in as_rows(measures):
        cells = (row.liver, row.tumour)
        values = ["" if c.value is None else repr(c.value) for c in cells]
        notes = dict.fromkeys(c.note for c in cells if c.note)
        writer.writerow([row.name, row.unit, *values, " ".join(notes)])
    return text.getvalue()


def _volume_rows(measures: CaseMeasures) -> list[Row]:
    rows = []
    for side in ("prediction", "truth"):
        volumes_ml = [
            getattr(mask.counts, side) * measures.voxel_ml
            for mask in (measures.liver, measures.tumour)
        ]
        liver, tumour = (_cell(volume_ml, "ml") for volume_ml in volumes_ml)
        rows.append(Row(f"volume.{side}", f"Volume of the {side}", "ml", liver, tumour))
    return rows


def _mask_rows(measures: CaseMeasures, reasons: Mapping[str, str]) -> list[Row]:
    liver, tumour = measures.liver.as_dict(), measures.tumour.as_dict()
    return [
        Row(
            key,
            name,
            unit,
            _cell(liver[key], unit, reasons.get(f"liver.{key}", "")),
            _cell(tumour[key], unit, reasons.get(f"tumour.{key}", "")),
        )
        for key, name, unit in MASK_ROWS
    ]


def _lesion_rows(measures: CaseMeasures, reasons: Mapping[str, str]) -> list[Row]:
    values = {
        **{f"lesions.{k}": getattr(measures.lesions, k) for k, _ in LESION_ROWS},
        "tumour_burden.prediction": measures.burden_prediction,
        "tumour_burden.truth": measures.burden_truth,
    }
    names = {
        **{f"lesions.{key}": name for key, name in LESION_ROWS},
        "tumour_burden.prediction": "Tumour burden of the prediction",
        "tumour_burden.truth": "Tumour burden of the truth",
    }
    return [
        Row(key, names[key], "", NOTHING, _cell(value, "", reasons.get(key, "")))
        for key, value in values.items()
    ]


def _cell(value: float | None, unit: str, note: str = "") -> Cell:
    if value is None:
        return Cell(None, UNDEFINED, note)
    if isinstance(value, int):
        return Cell(value, str(value))
    digits = 0 if unit == "ml" and value >= WHOLE_FROM_ML else DIGITS[unit]
    return Cell(value, f"{value:.{digits}f}")

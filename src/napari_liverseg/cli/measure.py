"""The command `measure`: label maps against their truth, one or a folder of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_liverseg.cli.ending import Refusals
from napari_liverseg.cli.text import columns, printable
from napari_liverseg.core.errors import CaseError
from napari_liverseg.core.segmentation import LABELS

if TYPE_CHECKING:
    from napari_liverseg.core.segmentation import Segmentation
    from napari_liverseg.measure.case import CaseMeasures
    from napari_liverseg.measure.folder import FolderMatch

MAPPING_HELP = "What the values mean, if not liver=1,tumour=2; e.g. liver=5,tumour=7."


@dataclass(frozen=True)
class Reading:
    """How label maps are to be read.

    Parameters
    ----------
    prediction_values, truth_values : dict of int to int, or None
        Value in the file to value of `LABELS`; None: they are the same.
    resample : bool
        Bring the prediction onto the truth's grid where they differ.
    """

    prediction_values: Mapping[int, int] | None
    truth_values: Mapping[int, int] | None
    resample: bool


def parse_mapping(text: str) -> dict[int, int]:
    """Return file values to label values for ``liver=5,tumour=2``.

    A structure may have several values: ``liver=5,liver=6``. Anything that
    cannot be read so is wrong usage.
    """
    values: dict[int, int] = {}
    for part in text.split(","):
        name, _, number = (word.strip() for word in part.partition("="))
        if name not in ("liver", "tumour") or not number.isdecimal():
            msg = f"'{part}' is not like liver=1 or tumour=2."
            raise typer.BadParameter(msg)
        if int(number) in values:
            msg = f"The value {number} is named twice."
            raise typer.BadParameter(msg)
        values[int(number)] = LABELS[name]
    return values


MappingOption = Annotated[
    dict[int, int] | None,
    typer.Option(help=MAPPING_HELP, parser=parse_mapping, metavar="NAME=VALUE,..."),
]


def measure(
    prediction: Annotated[
        Path, typer.Option(help="A label map, or a folder of them.", metavar="P")
    ],
    truth: Annotated[
        Path, typer.Option(help="Its truth, or a folder of them.", metavar="T")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    prediction_labels: MappingOption = None,
    truth_labels: MappingOption = None,
    resample: Annotated[
        bool,
        typer.Option(
            "--resample",
            help="Bring the prediction onto the truth's grid (nearest neighbour).",
        ),
    ] = False,
) -> None:
    """Compare segmentations with the truth, by the definitions of LiTS."""
    reading = Reading(prediction_labels, truth_labels, resample)
    if prediction.is_dir() and truth.is_dir():
        _measure_folders(prediction, truth, reading, as_json)
        return
    if prediction.is_dir() or truth.is_dir():
        found = "One of prediction and truth is a folder and the other is not."
        raise CaseError(found, "Give two label maps, or two folders of them.")
    measures = measure_files(prediction, truth, reading)
    if as_json:
        _print_json(measures.as_dict())
    else:
        typer.echo(say_case(measures))


def measure_files(prediction: Path, truth: Path, reading: Reading) -> "CaseMeasures":
    """Read two label maps and compare them.

    Raises
    ------
    CaseError
        When a file is no label map.
    GeometryMismatchError
        When they lie on different grids and `resample` was not asked for.
    """
    from napari_liverseg.io.label_map import read_label_map
    from napari_liverseg.measure.case import measure_case

    theirs = read_label_map(truth, None, values=reading.truth_values)
    ours = read_label_map(prediction, None, values=reading.prediction_values)
    if reading.resample and not ours.geometry.matches(theirs.geometry):
        ours = read_label_map(
            prediction,
            _grid_of(theirs),
            resample=True,
            values=reading.prediction_values,
        )
    return measure_case(ours, theirs)


def _grid_of(segmentation: "Segmentation") -> Any:
    """Return a CT without content, to resample onto the grid of a label map."""
    import numpy as np

    from napari_liverseg.core.geometry import Reorientation
    from napari_liverseg.core.volume import CTVolume

    grid = segmentation.geometry
    return CTVolume(
        hu=np.broadcast_to(np.int16(0), grid.shape),
        geometry=grid,
        source=grid,
        reorientation=Reorientation(),
        name="truth",
        series_key="",
    )


def _measure_folders(
    prediction: Path, truth: Path, reading: Reading, as_json: bool
) -> None:
    from napari_liverseg.measure.folder import match_folders

    match = match_folders(prediction, truth)
    _say_unmatched(match)
    cases: dict[str, CaseMeasures] = {}
    refusals = Refusals()
    for name, (ours, theirs) in match.pairs.items():
        with refusals.told(name):
            cases[name] = measure_files(ours, theirs, reading)
    if cases and as_json:
        _print_json(as_dict(cases, match, dict(refusals.reasons)))
    elif cases:
        typer.echo(say_summary(cases))
    refusals.end(len(match.pairs), "cases could not be measured")


def _say_unmatched(match: "FolderMatch") -> None:
    sides = (("prediction", match.prediction_only), ("truth", match.truth_only))
    for side, names in sides:
        if names:
            text = f"Only in the {side} folder, not measured: {', '.join(names)}."
            typer.echo(printable(text), err=True)


def as_dict(
    cases: "Mapping[str, CaseMeasures]",
    match: "FolderMatch",
    refused: Mapping[str, str],
) -> dict[str, Any]:
    """Return what ``measure --json`` prints for two folders.

    Returns
    -------
    dict
        The blocks of a single case (``liver`` and ``tumour`` hold means over
        the cases, ``lesions`` pools all lesions, ``tumour_burden`` is a mean),
        then ``cases`` (each with its ``name``), ``summary``, ``unmatched``
        and ``refused``.
    """
    from napari_liverseg.measure.folder import summarise

    summary = summarise(cases)
    means = {
        block: {name: values["mean"] for name, values in summary[block].items()}
        for block in ("liver", "tumour", "tumour_burden")
    }
    return {
        "liver": means["liver"],
        "tumour": means["tumour"],
        "lesions": summary["lesions_global"],
        "tumour_burden": means["tumour_burden"],
        "cases": [
            {"name": name, **measures.as_dict()} for name, measures in cases.items()
        ],
        "summary": summary,
        "unmatched": {
            "prediction": list(match.prediction_only),
            "truth": list(match.truth_only),
        },
        "refused": dict(refused),
    }


def say_case(measures: "CaseMeasures") -> str:
    """Return the table of one case as text, nulls explained below it."""
    from napari_liverseg.measure.table import as_rows

    rows = as_rows(measures)
    lines = [("", "liver", "tumour", "")]
    lines += [(row.name, row.liver.text, row.tumour.text, row.unit) for row in rows]
    cells = [cell for row in rows for cell in (row.liver, row.tumour)]
    notes = dict.fromkeys(cell.note for cell in cells if cell.note)
    return "\n".join([columns(lines), *notes])


def say_summary(cases: "Mapping[str, CaseMeasures]") -> str:
    """Return the summary of a folder as text: mean, sd, range and count."""
    from napari_liverseg.measure.folder import summarise
    from napari_liverseg.measure.table import MASK_ROWS

    summary = summarise(cases)
    lines = [("", "mean", "sd", "min", "max", "n")]
    for block in ("liver", "tumour"):
        for key, name, unit in MASK_ROWS:
            values = summary[block][key]
            numbers = (_number(values[k]) for k in ("mean", "sd", "min", "max"))
            label = f"{block}: {name}{f' [{unit}]' if unit else ''}"
            lines.append((label, *numbers, str(values["n"])))  # type: ignore[arg-type]
    overall = summary["dice_global"]
    return (
        f"{columns(lines)}\n{summary['cases']} cases; Dice over all voxels: liver "
        f"{overall['liver']:.3f}, tumour {overall['tumour']:.3f}; error of the tumour "
        f"burden (RMSE): {_number(summary['tumour_burden_rmse'])}"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _print_json(content: dict[str, Any]) -> None:
    typer.echo(json.dumps(content, indent=2, allow_nan=False))

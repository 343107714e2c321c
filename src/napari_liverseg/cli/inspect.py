"""The command `inspect`: which series a path holds, without loading voxels."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_liverseg.cli.text import printable, times

if TYPE_CHECKING:
    from napari_liverseg.core.problem import Problem
    from napari_liverseg.io.series import SeriesInfo


def inspect(
    path: Annotated[
        Path,
        typer.Argument(
            help="A CT file, a DICOM folder or a zip of one.", metavar="PATH"
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the image series at PATH and what is wrong with them."""
    from napari_liverseg.io.scan import list_series

    series = list_series(path)
    if as_json:
        typer.echo(json.dumps({"series": [as_dict(one) for one in series]}, indent=2))
        return
    typer.echo("\n\n".join(describe(one) for one in series) or "No image series.")


def as_dict(series: "SeriesInfo") -> dict[str, Any]:
    """Return a series as the contract of ``inspect --json`` has it.

    Returns
    -------
    dict
        ``shape`` and ``spacing_mm`` are ``(z, y, x)``.
    """
    return {
        "uid": series.uid,
        "description": series.description,
        "modality": series.modality,
        "shape": list(series.shape),
        "spacing_mm": [float(s) for s in series.spacing_mm],
        "orientation": series.orientation,
        "kernel": series.kernel,
        "phase": series.phase,
        "files": [str(file) for file in series.files],
        "problems": [
            {"code": p.code, "severity": p.severity, "message": p.message}
            for p in series.problems
        ],
        "suggested": series.suggested,
    }


def describe(series: "SeriesInfo") -> str:
    """Return a series in a few lines for a reader."""
    title = series.description or "(no description)"
    facts = (
        series.modality,
        series.orientation,
        series.kernel and f"kernel {series.kernel}",
        series.phase,
        all(series.shape)
        and f"{times(series.shape)} voxels of {times(series.spacing_mm)} mm (z, y, x)",
        f"{len(series.files)} file{'' if len(series.files) == 1 else 's'}",
    )
    lines = [
        f"{title} [suggested]" if series.suggested else title,
        f"  uid {series.uid}",
        f"  {', '.join(fact for fact in facts if fact)}",
        *(f"  {p.severity}: {p.message} ({_key(p)})" for p in series.problems),
    ]
    return "\n".join(printable(line) for line in lines)


def _key(problem: "Problem") -> str:
    """Return the code to look a problem up by, and the option that loads it."""
    if problem.decision is None:
        return problem.code
    return f"{problem.code}; --decision {problem.decision}"

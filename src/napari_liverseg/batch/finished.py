"""Which results are there already, so that a batch that was killed goes on."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

from napari_liverseg.batch.result import FILES, LABELS_FILE, REPORT_FILE
from napari_liverseg.core.errors import ExportError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.batch.cases import Case
    from napari_liverseg.batch.order import Wish


def finished(case: Case, output: Path, wish: Wish) -> dict[str, Any] | None:
    """Return the report of a result that this batch would make again, or None.

    It is one of the same model, thresholds, decisions and options of the run,
    not older than its CT. A result of any other kind is in the way, unless it may
    be replaced.

    Parameters
    ----------
    case : Case
    output : Path
        Folder of all results.
    wish : Wish

    Raises
    ------
    ExportError
        When another result is in the way.
    """
    folder = output / case.name
    there = [name for name in FILES if (folder / name).exists()]
    if not there:
        return None
    report = _read(folder / REPORT_FILE) if len(there) == len(FILES) else None
    same = report is not None and _same(report, wish) and _same_series(report, case)
    if same and not _older(folder, case):
        return report
    if wish.overwrite:
        return None
    found = "Its folder holds another result: of another model, other options or an "
    found += "older CT."
    raise ExportError(found, "Replace it with --overwrite, or choose another folder.")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) else None


def _same(report: dict[str, Any], wish: Wish) -> bool:
    thresholds = {"liver": wish.thresholds.liver, "tumour": wish.thresholds.tumour}
    options = {"look": wish.options.look, "mirror": wish.options.mirror}
    try:
        # A decision that was allowed and not needed changes nothing.
        return (
            report["sha256"] == wish.model.sha256
            and report["version"] == wish.model.version
            # Reports of older versions lack it.
            and report.get("model_digest") in (None, wish.model_digest)
            and report["thresholds"] == thresholds
            and report["options"] == options
            and set(report["decisions"]) <= set(wish.decisions)
            and report["volumes_ml"].keys() == {"liver", "tumour"}
            and {"case", "device", "lesions", "notes", "seconds"} <= report.keys()
        )
    except (KeyError, TypeError, AttributeError):
        return False


def _same_series(report: dict[str, Any], case: Case) -> bool:
    """Whether the result is of the series that a list names by its UID."""
    from napari_liverseg.io.keys import series_key

    if case.series is None or not re.fullmatch(r"[0-9.]+", case.series):
        return True
    return bool(report["case"] == series_key(case.series, report["decisions"]))


def _older(folder: Path, case: Case) -> bool:
    """Whether a file of the CT came after the result."""
    made_ns = (folder / LABELS_FILE).stat().st_mtime_ns
    return any(stat.st_mtime_ns > made_ns for _, stat in files_of(case.path))


def files_of(path: Path) -> list[tuple[str, os.stat_result]]:
    """Return each file of a case by its path inside it, with its size and times."""
    if not path.is_dir():
        return [("", path.stat())] if path.exists() else []
    found = []
    for where, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            file = os.path.join(where, name)  # noqa: PTH118 - a thousand slices
            found.append((os.path.relpath(file, path), os.stat(file)))  # noqa: PTH116
    return found

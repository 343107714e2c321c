"""Which results are there already, so that a batch that was killed goes on."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from napari_liverseg.batch.result import FILES, LABELS_FILE, REPORT_FILE
from napari_liverseg.batch.sight import files_of, sight_of
from napari_liverseg.core.errors import ExportError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.batch.cases import Case
    from napari_liverseg.batch.order import Wish


def finished(case: Case, output: Path, wish: Wish) -> dict[str, Any] | None:
    """Return the report of a result that this batch would make again, or None.

    It is one of the same CT, model, thresholds, decisions and options of the run,
    not older than its CT. A result of any other kind is in the way, unless it may
    be replaced, or the CT is gone: whoever opens it says so.

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
    same = report is not None and _same(report, wish) and _same_ct(report, case)
    if same and not _older(folder, case):
        return report
    if wish.overwrite or not case.path.exists():
        return None
    found = "Its folder holds another result: of another model, other options, another "
    found += "or an older CT."
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
            _same_model(report, wish)
            and report["thresholds"] == thresholds
            and report["options"] == options
            and set(report["decisions"]) <= set(wish.decisions)
            and report["volumes_ml"].keys() == {"liver", "tumour"}
            and {"case", "device", "lesions", "notes", "seconds"} <= report.keys()
        )
    except (KeyError, TypeError, AttributeError):
        return False


def _same_model(report: dict[str, Any], wish: Wish) -> bool:
    if report.get("model_digest") is not None:
        return bool(report["model_digest"] == wish.model_digest)
    # Reports of older versions lack it.
    said = (report["sha256"], report["version"])
    return said == (wish.model.sha256, wish.model.version)


def _same_ct(report: dict[str, Any], case: Case) -> bool:
    """Whether the result is of the files of a case, and of the series it names."""
    from napari_liverseg.io.keys import series_key

    said, names_uid = report.get("ct_files"), _names_uid(case)
    # Reports of older versions lack it: only a UID can prove them to be the same.
    if said is None and not names_uid:
        return False
    if said is not None and said != ct_files(case, sight_of(case.path.resolve())):
        return False
    if not names_uid:
        return True
    return bool(report["case"] == series_key(case.series or "", report["decisions"]))


def ct_files(case: Case, sight: str) -> str:
    """Return a hash of which files a case is, and which of them it names.

    Parameters
    ----------
    case : Case
    sight : str
        Of its files, see `sight_of`.
    """
    # A UID may be added to a list later: the key of the series tells it.
    named = "" if _names_uid(case) else case.series or ""
    return hashlib.sha256(f"{sight}\0{named}".encode()).hexdigest()


def _names_uid(case: Case) -> bool:
    """Whether a list names the series by its UID, and not by a file's path."""
    return re.fullmatch(r"[0-9.]+", case.series or "") is not None


def _older(folder: Path, case: Case) -> bool:
    """Whether a file of the CT came after the result."""
    made_ns = (folder / LABELS_FILE).stat().st_mtime_ns
    return any(stat.st_mtime_ns > made_ns for _, stat in files_of(case.path))

"""The table of a batch: what became of each case, on disk after every one of them."""

from __future__ import annotations

import csv
import io
import os
import secrets
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from napari_liverseg.core.errors import ExportError

if TYPE_CHECKING:
    from pathlib import Path

SUMMARY_FILE = "summary.csv"

Status = Literal["done", "skipped", "refused"]


@dataclass(frozen=True)
class Row:
    """What became of one case.

    Parameters
    ----------
    name : str
    status : {'done', 'skipped', 'refused'}
        ``skipped``: its result was there already.
    liver_ml, tumour_ml : float or None
        Volumes in ml, the liver's with its tumours; None where it was refused.
    lesions : int or None
    seconds : float or None
        From opening the CT to its files.
    device : str
        Where the model ran.
    model_sha256 : str
        Of the weights.
    problems : str
        Why it was refused, or what the result cannot be trusted for.
    """

    name: str
    status: Status
    liver_ml: float | None = None
    tumour_ml: float | None = None
    lesions: int | None = None
    seconds: float | None = None
    device: str = ""
    model_sha256: str = ""
    problems: str = ""


COLUMNS = tuple(field.name for field in fields(Row))


class Summary:
    """The rows of a batch, and those of earlier batches in the same folder.

    Parameters
    ----------
    folder : Path
        Of the results; holds `SUMMARY_FILE`.

    Raises
    ------
    ExportError
        When a file of this name is there that no batch has written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / SUMMARY_FILE
        self._rows = _read(self.path)

    def put(self, *rows: Row) -> None:
        """Add rows, in the place of earlier ones of the same name, and write."""
        for row in rows:
            self._rows[row.name] = _cells(row)
        self.write()

    def problems_of(self, row: Row) -> str | None:
        """Return what an earlier row says of the result of this one, or None.

        Parameters
        ----------
        row : Row
            Of a result that is there already.
        """
        earlier = self._rows.get(row.name)
        if earlier is None or earlier["status"] not in ("done", "skipped"):
            return None
        # A result that was replaced meanwhile, as by `segment`, has other figures.
        same = _cells(replace(row, status="done", problems=""))
        if {**earlier, "status": "done", "problems": ""} != same:
            return None
        return earlier["problems"]

    def write(self) -> None:
        """Write the whole table beside its place, and then put it there.

        Raises
        ------
        ExportError
            When it cannot be written.
        """
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, COLUMNS)
        table.writeheader()
        table.writerows(self._rows[name] for name in sorted(self._rows))
        part = self.path.with_name(f".{SUMMARY_FILE}.{secrets.token_hex(4)}.part")
        try:
            with part.open("w", encoding="utf-8", newline="") as file:
                file.write(text.getvalue())
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.path)
        except OSError as error:
            found = f"'{SUMMARY_FILE}' cannot be written ({error.strerror})."
            step = "Close it where it is open, or make room, and run again."
            raise ExportError(found, step) from error
        finally:
            part.unlink(missing_ok=True)


def row_of(
    name: str, status: Status, report: dict[str, Any], problems: tuple[str, ...] = ()
) -> Row:
    """Return the row of a case by its report.

    Parameters
    ----------
    name : str
    status : {'done', 'skipped'}
    report : dict
        As `make_report` makes it.
    problems : tuple of str
        What the intake check warned of; the run's notes are added.
    """
    return Row(
        name=name,
        status=status,
        liver_ml=report["volumes_ml"]["liver"],
        tumour_ml=report["volumes_ml"]["tumour"],
        lesions=report["lesions"]["count"],
        seconds=report["seconds"],
        device=report["device"],
        model_sha256=report["sha256"],
        problems=" ".join((*problems, *report["notes"])),
    )


def warning_codes(report: dict[str, Any]) -> tuple[str, ...]:
    """Return the codes of what the intake check warned of, as a report has them."""
    # Reports of other programs, or of older versions, may lack them.
    problems = report.get("problems") or ()
    return tuple(p["code"] for p in problems if p["severity"] == "warning")


def _read(path: Path) -> dict[str, dict[str, str]]:
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = csv.DictReader(file, strict=True)
            rows = {row["name"]: row for row in table if None not in row}
            ours = tuple(table.fieldnames or ()) == COLUMNS
    except (OSError, UnicodeDecodeError, csv.Error, KeyError):
        ours, rows = False, {}
    if not ours:
        found = f"The folder of results holds a '{SUMMARY_FILE}' that is not a batch's."
        raise ExportError(found, "Move it away, or choose another folder.")
    return rows


def _cells(row: Row) -> dict[str, str]:
    """Return a row as the table holds it."""
    values = asdict(row).items()
    return {k: "" if v is None else _one_line(v) for k, v in values}


def _one_line(value: object) -> str:
    return " ".join(str(value).split())

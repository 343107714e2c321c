"""Corrected cases gathered for retraining, in the raw layout of nnU-Net."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_liverseg.core.errors import ExportError
from napari_liverseg.core.segmentation import LABELS
from napari_liverseg.io.folder_lock import locked
from napari_liverseg.io.keys import volume_key
from napari_liverseg.io.label_map import write_label_map
from napari_liverseg.io.labelled_set import DATASET, INDEX, find_labelled
from napari_liverseg.io.proven_file import prove_same_voxels, write_proven
from napari_liverseg.io.source_file import write_on_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_liverseg.core.segmentation import Segmentation
    from napari_liverseg.core.volume import CTVolume

ENDING = ".nii.gz"


def add_case(
    folder: str | Path,
    volume: CTVolume,
    segmentation: Segmentation,
    *,
    overwrite: bool = False,
) -> str:
    """Add a CT and its label map to a retraining set.

    Both are written on the CT's source grid: ``imagesTr/ID_0000.nii.gz``,
    ``labelsTr/ID.nii.gz``, and ``dataset.json`` counts them. IDs such as
    ``liver_P001_02`` name the patient by a running number, so that folds can be
    split by patient (a series without a PatientID counts as a patient of its own);
    ``cases.json`` keeps digests, never identifiers: of the series, which is keyed,
    and of the volume, since the parts of one series are cases of their own.
    ``dataset.json`` is written last, and what fails before leaves no file of a new
    case: half a case would keep the whole set from being trained on.

    Parameters
    ----------
    folder : path
        The dataset's folder, such as ``nnUNet_raw/Dataset501_Liver``; made if
        missing.
    volume : CTVolume
    segmentation : Segmentation
        On the CT's grid.
    overwrite : bool
        Whether the same volume may replace what was added of it before.

    Returns
    -------
    str
        The case's ID.

    Raises
    ------
    ExportError
        When the volume is in the set already, a file cannot be written, or somebody
        else goes on writing.
    GeometryMismatchError
        When the segmentation does not lie on the CT's grid.
    """
    folder = Path(folder)
    _make(folder)
    # Two that add at once would take the same ID, and one case would be lost.
    with locked(folder):
        return _add(folder, volume, segmentation, overwrite=overwrite)


def _add(
    folder: Path, volume: CTVolume, segmentation: Segmentation, *, overwrite: bool
) -> str:
    cases = _read_index(folder / INDEX)
    voxels = volume_key(volume.hu, volume.geometry)
    known = _find(cases, volume.series_key, voxels)
    if known and not overwrite:
        found = f"This CT is in the retraining set already, as '{known}'."
        raise ExportError(found, "Agree to overwrite it, or choose another set.")
    patient = volume.patient_key or _unnamed(cases, volume.series_key, known)
    case = known or _new_id(cases, patient)
    for name in ("imagesTr", "labelsTr"):
        _make(folder / name)
    label = folder / "labelsTr" / f"{case}{ENDING}"
    image = folder / "imagesTr" / f"{case}_0000{ENDING}"
    with _both_or_none((image, label), kept=known is not None):
        # A file without an entry in the index is left from an export cut short. The
        # CT, which a full disk fails first, comes before the label map.
        write_on_source(image, volume.hu, volume, prove_same_voxels, overwrite=True)
        write_label_map(label, segmentation, volume, overwrite=True)
    cases[case] = {
        "series": volume.series_key,
        "volume": voxels,
        "patient": patient,
    }
    _write_json(folder / INDEX, cases)
    _write_json(folder / DATASET, _dataset(len(cases)))
    return case


def _find(
    cases: dict[str, dict[str, str | None]], series: str, volume: str
) -> str | None:
    """Return the case of a volume, or else of a series whose volume nobody noted.

    Sets made before volumes were noted name the series alone.
    """
    for noted in (volume, None):
        for case, keys in cases.items():
            if (keys["series"], keys["volume"]) == (series, noted):
                return case
    return None


def _unnamed(
    cases: dict[str, dict[str, str | None]], series: str, known: str | None
) -> str | None:
    """Return whose a case without a PatientID is; the parts of a series are one's.

    They often overlap: as patients of their own, one part could be learnt from and
    the other measured on. The series' key then stands for the patient of all.
    """
    if known:
        return cases[known]["patient"]
    parts = [keys for keys in cases.values() if keys["series"] == series]
    if not parts:
        return None
    patient = next((p for k in parts if (p := k["patient"])), series)
    for keys in parts:
        keys["patient"] = keys["patient"] or patient
    return patient


@contextmanager
def _both_or_none(files: tuple[Path, Path], *, kept: bool) -> Iterator[None]:
    """Remove both files of a case when one fails, unless they were there before."""
    try:
        yield
    except BaseException:
        for file in () if kept else files:
            file.unlink(missing_ok=True)
        raise


def known_case(folder: Path, volume: CTVolume) -> str | None:
    """Return the case that `add_case` would replace, None where it is a new one.

    Parameters
    ----------
    folder : Path
        A retraining set; it may be missing.
    volume : CTVolume

    Raises
    ------
    ExportError
        When the folder is no retraining set of ours, or its index cannot be read.
    """
    cases = _read_index(folder / INDEX)
    voxels = volume_key(volume.hu, volume.geometry)
    return _find(cases, volume.series_key, voxels)


def count_cases(folder: Path) -> tuple[int, int]:
    """Return how many cases a set holds, and of how many patients, as training counts.

    Parameters
    ----------
    folder : Path
        A retraining set, or another layout of `find_labelled`; it may be empty.

    Raises
    ------
    CaseError
        When it holds a data set that cannot be read.
    """
    if not (folder / DATASET).is_file():
        return 0, 0
    cases = find_labelled(folder).cases
    return len(cases), len({case.owner for case in cases})


def _read_index(path: Path) -> dict[str, dict[str, str | None]]:
    if not path.exists():
        if (path.parent / DATASET).exists():
            found = (
                f"'{path.parent.name}' is a dataset made elsewhere, without {INDEX}."
            )
            raise ExportError(found, "Choose an empty folder.")
        return {}
    try:
        cases = json.loads(path.read_text(encoding="utf-8"))["cases"]
        return {
            str(c): {
                "series": k["series"],
                "volume": k.get("volume"),
                "patient": k["patient"],
            }
            for c, k in cases.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as broken:
        found = f"'{path.name}' of the retraining set cannot be read."
        raise ExportError(
            found, "Restore it from a copy, or choose a new folder."
        ) from (broken)


def _new_id(cases: dict[str, dict[str, str | None]], patient: str | None) -> str:
    """Return the next ID of a patient; an unknown patient gets a number of its own."""
    own = [c for c, keys in cases.items() if patient and keys["patient"] == patient]
    if own:
        number = own[0].rsplit("_", 1)[0]
        last = max(int(c.rsplit("_", 1)[1]) for c in own)
        return f"{number}_{last + 1:02d}"
    patients = [int(c.split("_P", 1)[1].split("_")[0]) for c in cases]
    return f"liver_P{max(patients, default=0) + 1:03d}_01"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failed:
        found = f"The folder '{folder.name}' cannot be written to."
        raise ExportError(found, "Choose another folder.") from failed


def _dataset(count: int) -> dict[str, Any]:
    """Return what nnU-Net v2 asks of a dataset."""
    return {
        "channel_names": {"0": "CT"},
        "labels": LABELS,
        "numTraining": count,
        "file_ending": ENDING,
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    wrapped = {"cases": content} if path.name == INDEX else content
    text = json.dumps(wrapped, indent=2) + "\n"

    def write(file: Path) -> None:
        file.write_text(text, encoding="utf-8")

    def prove(file: Path) -> None:
        if file.read_text(encoding="utf-8") != text:
            found = f"'{path.name}' did not read back as it was written."
            raise ExportError(found, "Export again.")

    write_proven(path, write, prove, overwrite=True)

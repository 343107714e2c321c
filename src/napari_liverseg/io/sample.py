"""Where the sample case lies, in a checkout as in an installed package."""

from __future__ import annotations

from pathlib import Path

from napari_liverseg.core.errors import CaseError

_PACKAGE = Path(__file__).resolve().parent.parent
# A wheel carries the folder inside the package; a checkout at its top level.
_FOLDERS = (_PACKAGE / "sample_data", _PACKAGE.parent.parent / "sample_data")


def sample_ct_path() -> Path:
    """Return the synthetic portal venous CT, NIfTI.

    Raises
    ------
    CaseError
        When the installation lacks it.
    """
    return _find("phantom_ct.nii.gz")


def sample_truth_path() -> Path:
    """Return the exact label map of the sample CT, NIfTI.

    Raises
    ------
    CaseError
        When the installation lacks it.
    """
    return _find("phantom_labels.nii.gz")


def _find(name: str) -> Path:
    for folder in _FOLDERS:
        if (folder / name).is_file():
            return folder / name
    found = f"The sample case ({name}) is not part of this installation."
    raise CaseError(found, "Install napari-liverseg again.")

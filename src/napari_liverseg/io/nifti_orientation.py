"""Whether a NIfTI file says once and clearly which way the patient lies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.problem import Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.io.nifti import NiftiHeader

AGREE_PART = 0.5
"""The two transforms agree when no corner differs by more of the smallest spacing."""


def orientation_problems(header: NiftiHeader, name: str) -> list[Problem]:
    """Return what is unclear about orientation in a 3-D NIfTI header.

    NIfTI may hold two transforms to the patient (qform and sform), one, or
    none; programs disagree about which one counts.
    """
    if header.qform_code <= 0 and header.sform_code <= 0:
        message = (
            f"'{name}' does not say how the patient lies (qform and sform codes are "
            "0), so left and right are a guess. Check the picture, or convert the "
            "original DICOM again."
        )
        return [Problem("unclear-orientation", "warning", message)]
    if header.qform_code <= 0 or header.sform_code <= 0 or _agree(header):
        return []
    if _letters(header.qform) != _letters(header.sform):
        message = (
            f"'{name}' contradicts itself: its qform runs {_letters(header.qform)}, "
            f"its sform {_letters(header.sform)}, so left and right cannot be told. "
            "Convert the original DICOM again."
        )
        return [Problem("unclear-orientation", "error", message)]
    message = (
        f"'{name}' holds two different positions (qform and sform). Other programs may "
        "use the other one; check exports against the CT there."
    )
    return [Problem("unclear-orientation", "warning", message)]


def _agree(header: NiftiHeader) -> bool:
    ends = [(0, n - 1) for n in header.dim[:3]]
    corners = np.stack(np.meshgrid(*ends), axis=-1).reshape(-1, 3)
    difference = header.qform - header.sform
    apart = np.abs(corners @ difference[:, :3].T + difference[:, 3]).max()
    return bool(apart <= AGREE_PART * min(np.abs(header.pixdim[1:4])))


def _letters(transform: NDArray[np.float64]) -> str:
    """Return towards which side each voxel axis runs, such as ``RAS``."""
    turn = transform[:, :3]
    pairs = ("LR", "PA", "IS")
    towards = np.abs(turn).argmax(axis=0)
    return "".join(pairs[w][int(turn[w, i] > 0)] for i, w in enumerate(towards))

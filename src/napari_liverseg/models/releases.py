"""Weights that others have published and that can be fetched by name."""

from __future__ import annotations

import os
from dataclasses import dataclass

HOME = "https://github.com/wasserth/TotalSegmentator/releases/download"
"""Where TotalSegmentator 2.18.0 fetches its weights from."""

MIRROR_VARIABLE = "NAPARI_LIVERSEG_MIRROR"
"""Environment variable that names an address to fetch from in the place of `HOME`."""


@dataclass(frozen=True)
class Release:
    """One published zip of weights.

    Parameters
    ----------
    name : str
        What the command line calls it, and the folder that it gets.
    path : str
        Of the zip, below `HOME` or a mirror.
    finds : str
        What it was trained to find.
    licence, notice : str
        Shown before it is fetched.
    sha256 : str
        Of the zip, in hex; empty where its makers publish none.
    """

    name: str
    path: str
    finds: str
    licence: str = "Apache-2.0"
    notice: str = (
        "TotalSegmentator, Wasserthal et al. 2023. It is not a medical device and "
        "must not be used to diagnose or treat."
    )
    sha256: str = ""

    @property
    def address(self) -> str:
        """Where it is fetched from: the mirror that the user set, or its home."""
        home = os.environ.get(MIRROR_VARIABLE) or HOME
        return f"{home.rstrip('/')}/{self.path}"

    @property
    def file(self) -> str:
        """Name of the zip."""
        return self.path.rpartition("/")[2]


RELEASES = {
    release.name: release
    for release in (
        Release(
            "liver-lesions",
            "v2.5.0-weights/Dataset591_ct_liver_lesions_842subj.zip",
            "lesions of the liver",
        ),
        Release(
            "liver-vessels",
            "v2.4.0-weights/Dataset008_HepaticVessel.zip",
            "vessels and tumours of the liver",
        ),
        Release(
            "total-fast",
            "v2.0.0-weights/Dataset297_TotalSegmentator_total_3mm_1559subj.zip",
            "117 structures at 3 mm, the liver among them",
        ),
    )
}
"""The releases that are known here, by name."""

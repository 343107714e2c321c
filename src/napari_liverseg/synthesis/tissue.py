"""The tissues of an abdomen and the Hounsfield units they take by contrast phase."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Tissue(IntEnum):
    """What a voxel is made of; the values of every tissue map in this room."""

    AIR = 0
    FAT = 1
    MUSCLE = 2
    SOFT = 3
    BONE = 4
    CORTEX = 5
    LUNG = 6
    LIVER = 7
    SPLEEN = 8
    KIDNEY = 9
    STOMACH = 10
    BOWEL = 11
    GAS = 12
    AORTA = 13
    VEIN = 14
    HEART = 15
    GLAND = 16
    GALLBLADDER = 17
    FLUID = 18
    CARTILAGE = 19
    TABLE = 20


PHASES = ("unenhanced", "arterial", "portal venous", "late")
"""Contrast phases, in the order of every per-phase tuple below."""

PHASE_SHARES = (0.25, 0.12, 0.48, 0.15)
"""How often each phase is drawn: most liver CT is portal venous."""


@dataclass(frozen=True)
class Attenuation:
    """How a tissue looks in CT.

    Parameters
    ----------
    hu : tuple of float
        Mean Hounsfield units in each of `PHASES`.
    spread : float
        Standard deviation of that mean between patients, HU.
    texture : float
        Standard deviation of the pattern inside the tissue, HU.
    """

    hu: tuple[float, float, float, float]
    spread: float
    texture: float

    @classmethod
    def plain(cls, hu: float, spread: float, texture: float) -> Attenuation:
        """Return a tissue that takes up no contrast medium."""
        return cls((hu, hu, hu, hu), spread, texture)


ATTENUATION: dict[Tissue, Attenuation] = {
    Tissue.AIR: Attenuation.plain(-1000, 8, 3),
    Tissue.FAT: Attenuation.plain(-102, 10, 10),
    Tissue.MUSCLE: Attenuation((50, 56, 62, 62), 9, 12),
    Tissue.SOFT: Attenuation((25, 35, 42, 42), 18, 22),
    Tissue.BONE: Attenuation.plain(200, 70, 70),
    Tissue.CORTEX: Attenuation.plain(480, 150, 120),
    Tissue.LUNG: Attenuation.plain(-800, 60, 70),
    Tissue.LIVER: Attenuation((55, 68, 108, 90), 14, 4),
    Tissue.SPLEEN: Attenuation((48, 110, 118, 95), 12, 5),
    Tissue.KIDNEY: Attenuation((33, 150, 180, 150), 22, 14),
    Tissue.STOMACH: Attenuation((32, 48, 55, 50), 20, 20),
    Tissue.BOWEL: Attenuation((32, 50, 58, 54), 18, 28),
    Tissue.GAS: Attenuation.plain(-880, 60, 40),
    Tissue.AORTA: Attenuation((40, 290, 160, 115), 30, 5),
    Tissue.VEIN: Attenuation((40, 60, 150, 110), 20, 6),
    Tissue.HEART: Attenuation((42, 190, 135, 105), 25, 14),
    Tissue.GLAND: Attenuation((38, 92, 92, 74), 13, 14),
    Tissue.GALLBLADDER: Attenuation.plain(8, 9, 4),
    Tissue.FLUID: Attenuation.plain(8, 9, 5),
    Tissue.CARTILAGE: Attenuation.plain(105, 30, 25),
    Tissue.TABLE: Attenuation.plain(-550, 250, 120),
}
"""Values a radiologist would expect, wide enough for scanners and patients to differ.

The phase means follow the ranges that abdominal CT texts give; they are drawn
anew for each image, so no single value carries weight.
"""

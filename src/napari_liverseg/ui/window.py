"""Windows: which Hounsfield units are spread from black to white."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """A display window of a CT.

    Parameters
    ----------
    name : str
        What radiologists call it.
    width_hu, level_hu : float
        Full width, > 0, and centre.
    """

    name: str
    width_hu: float
    level_hu: float

    @property
    def limits(self) -> tuple[float, float]:
        """The units shown black and white."""
        half = self.width_hu / 2
        return self.level_hu - half, self.level_hu + half

    @classmethod
    def from_limits(cls, low: float, high: float, name: str = "") -> Window:
        """Return the window between two values."""
        return cls(name, high - low, (low + high) / 2)

    def __str__(self) -> str:
        """Return width and level as scanners print them."""
        return f"W {self.width_hu:.0f}  L {self.level_hu:.0f}"


ABDOMEN = Window("Abdomen", 400, 40)
PRESETS = (
    ABDOMEN,
    Window("Liver", 150, 30),
    Window("Soft tissue", 350, 50),
    Window("Lung", 1500, -600),
    Window("Bone", 1800, 400),
)

"""How a chain of intensity transforms adds up to one normalisation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from napari_liverseg.models.contract import Normalisation


@dataclass(frozen=True)
class Intensity:
    """What was done to Hounsfield units so far: ``gain * base + offset``.

    Parameters
    ----------
    clip : tuple of float or None
        HU between which `base` is kept.
    statistics : {'fixed', 'mean-sd', 'min-max'}
        Whether `base` is the clipped HU, or the same brought to mean 0 and
        deviation 1, or to 0..1, by each image's own values.
    gain, offset : float
    """

    clip: tuple[float, float] | None = None
    statistics: Literal["fixed", "mean-sd", "min-max"] = "fixed"
    gain: float = 1.0
    offset: float = 0.0

    @property
    def untouched(self) -> bool:
        """Whether the values are still Hounsfield units."""
        return self == Intensity()

    def scaled(self, gain: float, offset: float) -> Intensity:
        """Return this followed by ``gain * value + offset``.

        Raises
        ------
        ValueError
            When the gain is not above 0.
        """
        if not gain > 0:
            msg = "a scale that does not rise"
            raise ValueError(msg)
        return replace(self, gain=self.gain * gain, offset=self.offset * gain + offset)

    def clipped(self, low: float, high: float) -> Intensity:
        """Return this followed by clipping to a range of its values.

        Raises
        ------
        ValueError
            When the range does not rise, or follows on an image's own statistics,
            so that it is no range of HU.
        """
        if self.statistics != "fixed":
            msg = "a clip after each image's own statistics"
            raise ValueError(msg)
        first, last = ((v - self.offset) / self.gain for v in (low, high))
        if self.clip is not None:
            first, last = max(first, self.clip[0]), min(last, self.clip[1])
        if not first < last:
            msg = "a range that does not rise"
            raise ValueError(msg)
        return replace(self, clip=(first, last))

    def by_statistics(self, statistics: Literal["mean-sd", "min-max"]) -> Intensity:
        """Return this followed by each image's own; scales before it cancel out."""
        return Intensity(self.clip, statistics)

    @property
    def normalisation(self) -> Normalisation:
        """The part of it that inference does."""
        if self.statistics != "fixed":
            return Normalisation(self.clip, statistics=self.statistics)
        return Normalisation(self.clip, -self.offset / self.gain, 1 / self.gain)

    @property
    def rest(self) -> tuple[float, float]:
        """Gain and offset that `normalisation` leaves to the network's entrance."""
        return (1.0, 0.0) if self.statistics == "fixed" else (self.gain, self.offset)

    @property
    def lowest(self) -> float | None:
        """What `normalisation` makes of air, or None where that cannot be told."""
        if self.statistics == "min-max":
            return 0.0
        if self.statistics == "fixed" and self.clip is not None:
            return (self.clip[0] * self.gain) + self.offset
        return None

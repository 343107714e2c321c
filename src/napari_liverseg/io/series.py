"""What a folder holds, told before any pixel is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.core.problem import Decision, Problem

NO_VOLUME = {"localizer", "not-ct", "not-a-volume", "single-slice"}
"""A series with nothing but these problems that no decision mends is no CT volume."""


@dataclass(frozen=True)
class SeriesInfo:
    """One image series, or one image file, known by its headers.

    Parameters
    ----------
    uid : str
        What names the series to `open_ct`, once in a listing: SeriesInstanceUID, or
        a file's name, with its path from the opened folder (``p1/ct.nii.gz``).
    description, modality : str
        SeriesDescription and Modality, empty where the format has none; the
        description of a file is its name, in a folder its `uid`.
    shape : tuple of int
        Voxels ``(z, y, x)`` as the opened volume has them.
    spacing_mm : tuple of float
        Distances ``(z, y, x)`` between voxel centres, measured between slice
        positions; 0 where nothing can be measured.
    orientation : str
        ``axial``, ``coronal`` or ``sagittal``, whichever is closest; empty where
        unknown.
    kernel, phase : str
        Convolution kernel and contrast phase, empty where not tagged.
    files : tuple of Path
        In slice order.
    problems : tuple of Problem
        What the headers already tell.
    suggested : bool
        Whether this is the one that we would open.
    """

    uid: str
    description: str
    modality: str
    shape: tuple[int, int, int]
    spacing_mm: Triple
    orientation: str
    kernel: str
    phase: str
    files: tuple[Path, ...]
    problems: tuple[Problem, ...] = ()
    suggested: bool = False

    @property
    def loadable(self) -> bool:
        """Whether it opens as it is, without any decision."""
        return self.loadable_with(())

    def loadable_with(self, decisions: Collection[Decision]) -> bool:
        """Whether every error found has been decided about."""
        return all(p.decision and p.decision in decisions for p in self.errors)

    @property
    def may_be_meant(self) -> bool:
        """Whether it is a CT volume, even one that cannot be opened as it is.

        Planning views, other modalities, single positions and pictures without a
        place are none, and nobody misses them when another series is opened.
        """
        lasting = {p.code for p in self.errors if not p.decision}
        if "not-a-volume" in lasting and self.orientation:
            # Slices with a place, as of a CT that jumps sideways.
            return True
        return not lasting or not lasting <= NO_VOLUME

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that refuse to load."""
        return tuple(p for p in self.problems if p.severity == "error")

    def __str__(self) -> str:
        """Describe the series in one line for a list to choose from."""
        shape = "x".join(str(n) for n in self.shape)
        parts = [self.description or "(no description)", f"{shape} voxels"]
        if all(self.spacing_mm):
            parts.append("x".join(f"{s:.3g}" for s in self.spacing_mm) + " mm")
        parts += [word for word in (self.orientation, self.kernel, self.phase) if word]
        return ", ".join(parts) + (" (suggested)" if self.suggested else "")


class SeveralSeriesError(CaseError):
    """More than one series could be meant; the user chooses, never we.

    Parameters
    ----------
    name : str
        Base name of what was opened.
    series : tuple of SeriesInfo
        All that was found, loadable or not.
    """

    def __init__(self, name: str, series: tuple[SeriesInfo, ...]) -> None:
        self.series = series
        meant = [info for info in series if info.may_be_meant]
        meant.sort(key=lambda info: not info.loadable)
        listed = "\n".join(line for info in meant for line in _told(info))
        super().__init__(
            f"'{name}' holds {len(meant)} series that could be meant:\n{listed}\n",
            "Choose one by its UID.",
        )


class UndecidedError(CaseError):
    """A series that opens once the user has decided about its errors.

    Parameters
    ----------
    found : str
        The first error in plain words, with what can be decided.
    decisions : tuple of {'resample', 'keep-first'}
        All that have still to be taken.
    """

    def __init__(self, found: str, decisions: tuple[Decision, ...]) -> None:
        self.decisions = decisions
        super().__init__(found)


def _told(info: SeriesInfo) -> Iterator[str]:
    """Yield the lines of one series in a list to choose from."""
    named = info.uid == info.description
    yield f"  {info}" if named else f"  {info.uid}: {info}"
    for problem in info.errors:
        kind = "needs a decision" if problem.decision else "cannot be opened"
        yield f"    {kind}: {problem.message}"

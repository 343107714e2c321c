"""What a folder holds, told before any pixel is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_liverseg.core.errors import CaseError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.core.problem import Decision, Problem


@dataclass(frozen=True)
class SeriesInfo:
    """One image series, or one image file, known by its headers.

    Parameters
    ----------
    uid : str
        What names the series to `open_ct`: SeriesInstanceUID, or a file name.
    description, modality : str
        SeriesDescription and Modality, empty where the format has none.
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
        openable = [info for info in series if not info.errors] or list(series)
        listed = "\n".join(f"  {info.uid}: {info}" for info in openable)
        super().__init__(
            f"'{name}' holds {len(openable)} series that could be meant:\n{listed}\n",
            "Choose one by its UID.",
        )

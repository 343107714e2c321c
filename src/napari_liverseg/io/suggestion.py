"""Which series of a folder we would open, were we asked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_liverseg.io.kernel import sharpness

if TYPE_CHECKING:
    from napari_liverseg.io.series import SeriesInfo

SAME_COVERAGE_MM = 20.0
"""Series whose coverage falls in the same step of this width count as equally big."""


def suggest(series: tuple[SeriesInfo, ...]) -> tuple[SeriesInfo, ...]:
    """Return the same series with exactly one suggested, if any can be opened."""
    openable = [info for info in series if info.loadable]
    best = max(openable, key=_merit, default=None)
    return tuple(replace(info, suggested=info is best) for info in series)


def _merit(info: SeriesInfo) -> tuple[bool, bool, float, int, int]:
    """Rank by kind, then coverage, then a soft kernel, then the number of slices."""
    in_hu = all(p.code != "not-hounsfield" for p in info.problems)
    coverage = round(info.shape[0] * info.spacing_mm[0] / SAME_COVERAGE_MM)
    return (
        in_hu,
        info.orientation == "axial",
        coverage,
        -sharpness(info.kernel),
        info.shape[0],
    )

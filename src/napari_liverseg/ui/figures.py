"""Numbers as a radiologist reads them: units, and no digit too many."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_liverseg.core.volume import CTVolume


BY = "\N{MULTIPLICATION SIGN}"


def millilitres(volume_ml: float) -> str:
    """Return a volume, one decimal below 10 ml and none above."""
    return f"{volume_ml:.1f} ml" if volume_ml < 9.95 else f"{volume_ml:,.0f} ml"


def lesions(count: int) -> str:
    """Return a number of lesions in words."""
    return {0: "no lesions", 1: "1 lesion"}.get(count, f"{count} lesions")


def duration(seconds: float) -> str:
    """Return a span of time, coarser the longer it is."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    if seconds < 3600:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"


def grid(volume: CTVolume) -> str:
    """Return a CT's size as users know it: columns, rows, slices and mm."""
    z, y, x = volume.geometry.shape
    dz, dy, dx = volume.geometry.spacing_mm
    spacing = f" {BY} ".join(
        (f"{dx:.2f}", f"{dy:.2f}", f"{dz:.1f}\N{NO-BREAK SPACE}mm")
    )
    return f"{x} {BY} {y} {BY} {z}, {spacing}"


def masks(liver_ml: float, lesion_count: int, tumour_ml: float) -> str:
    """Return what the masks hold in one line."""
    text = f"Liver {millilitres(liver_ml)}, {lesions(lesion_count)}"
    return f"{text} of {millilitres(tumour_ml)}" if lesion_count else text

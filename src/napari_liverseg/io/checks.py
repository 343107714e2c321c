"""Which problems a series has, told from its headers and named by code."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.geometry import reorient_to_lps
from napari_liverseg.core.problem import Problem
from napari_liverseg.io.spacing_checks import spacing_problems, usual_gap
from napari_liverseg.io.stack import slice_axes, stack
from napari_liverseg.io.tilt_checks import tilt_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from napari_liverseg.io.headers import SliceHeader
    from napari_liverseg.io.stack import Stack

ORIENTATION_TOLERANCE = 1e-3
"""Direction cosines of slices in one series may differ by this much (0.06 degrees)."""

PIXEL_SPACING_TOLERANCE = 1e-3
"""Pixel spacings of slices in one series may differ by this part."""

PERPENDICULAR_TOLERANCE = 1e-2
"""Row and column directions must be unit vectors at right angles within this."""

THICKNESS_TOLERANCE = 0.05
"""SliceThickness differs from the distance of the slices beyond this part of it."""

EXPORT_AGAIN = "Export the series again from the scanner or the archive."


def find_problems(headers: tuple[SliceHeader, ...]) -> tuple[Problem, ...]:
    """Return all problems that the headers of one series tell of.

    Parameters
    ----------
    headers : tuple of SliceHeader
        The slices of one series in any order, not empty.
    """
    wrong_kind = _not_ct(headers) or _localizer(headers)
    if wrong_kind:
        return (wrong_kind,)
    problems = _damaged(headers)
    shapeless = (
        _placeless(headers) + _mixed_shape(headers) + _mixed_orientation(headers)
    )
    if not shapeless:
        problems += _stack_problems(stack(headers))
    return tuple(problems + shapeless + _unscaled(headers))


def _stack_problems(slices: Stack) -> list[Problem]:
    unique = slices.kept_first()
    problems = _duplicates(slices)
    if len(unique.headers) == 1:
        return [*problems, _single_slice(unique.headers[0])]
    problems += tilt_problems(unique) + spacing_problems(unique)
    return problems + _oblique(unique) + _thickness(unique)


def _not_ct(headers: tuple[SliceHeader, ...]) -> Problem | None:
    other = sorted({h.modality for h in headers} - {"CT"})
    name = headers[0].path.name
    if other:
        kind = other[0] or "of no stated modality"
        found = f"'{name}' is {kind}, not CT."
    elif not headers[0].rows:
        found = f"'{name}' holds no image."
    elif any(h.colour for h in headers):
        found = f"'{name}' is a colour picture, not CT slices."
    else:
        return None
    return Problem("not-ct", "error", f"{found} Open a CT series instead.")


def _localizer(headers: tuple[SliceHeader, ...]) -> Problem | None:
    if not all("LOCALIZER" in h.image_type for h in headers):
        return None
    message = (
        f"These {len(headers)} images are the scanner's planning views (localizer), "
        "not a volume. Open the axial series instead."
    )
    return Problem("localizer", "error", message)


def _damaged(headers: tuple[SliceHeader, ...]) -> list[Problem]:
    damaged = {h.path: h.damage for h in headers if h.damage}
    if not damaged:
        return []
    path, reason = next(iter(damaged.items()))
    rest = f" and {len(damaged) - 1} more files" if len(damaged) > 1 else ""
    message = f"'{path.name}'{rest} cannot be read: it {reason}. {EXPORT_AGAIN}"
    return [Problem("unreadable-file", "error", message)]


def _placeless(headers: tuple[SliceHeader, ...]) -> list[Problem]:
    lacking = [h for h in headers if not _has_place(h)]
    if not lacking:
        return []
    message = (
        f"{len(lacking)} of {len(headers)} slices, such as '{lacking[0].path.name}', "
        "do not say where they lie in the patient, so they make no volume. "
        "Open another series."
    )
    return [Problem("not-a-volume", "error", message)]


def _has_place(header: SliceHeader) -> bool:
    if header.position is None or header.orientation is None:
        return False
    if header.pixel_spacing_mm is None or min(header.pixel_spacing_mm) <= 0:
        return False
    pair = np.reshape(np.asarray(header.orientation), (2, 3))
    apart = np.abs(pair @ pair.T - np.eye(2)).max()
    return bool(apart <= PERPENDICULAR_TOLERANCE)


def _mixed_shape(headers: tuple[SliceHeader, ...]) -> list[Problem]:
    sizes = _groups(headers, lambda h: (h.rows, h.columns))
    if len(sizes) > 1:
        found = " and ".join(
            f"{len(g)} of {g[0].rows}x{g[0].columns} (such as '{g[0].path.name}')"
            for g in sizes
        )
        message = f"Slices differ in size, rows x columns: {found}. {EXPORT_AGAIN}"
        return [Problem("mixed-shape", "error", message)]
    spacings = [h for h in headers if h.pixel_spacing_mm]
    odd = [h for h in spacings if not _same_pixels(h, spacings[0])]
    if not odd:
        return []
    message = (
        f"Slices differ in pixel spacing: '{spacings[0].path.name}' has "
        f"{_millimetres(spacings[0])}, '{odd[0].path.name}' has "
        f"{_millimetres(odd[0])}. {EXPORT_AGAIN}"
    )
    return [Problem("mixed-shape", "error", message)]


def _same_pixels(header: SliceHeader, other: SliceHeader) -> bool:
    ours, theirs = np.array(header.pixel_spacing_mm), np.array(other.pixel_spacing_mm)
    return bool(np.all(np.abs(ours - theirs) <= PIXEL_SPACING_TOLERANCE * theirs))


def _millimetres(header: SliceHeader) -> str:
    return "x".join(f"{s:.4g}" for s in header.pixel_spacing_mm or ()) + " mm"


def _mixed_orientation(headers: tuple[SliceHeader, ...]) -> list[Problem]:
    placed = [h for h in headers if _has_place(h)]
    groups: list[list[SliceHeader]] = []
    for header in placed:
        for group in groups:
            if _same_orientation(header, group[0]):
                group.append(header)
                break
        else:
            groups.append([header])
    if len(groups) <= 1:
        return []
    found = " and ".join(
        f"{len(g)} {plane_of(g[0])} (such as '{g[0].path.name}')" for g in groups[:3]
    )
    message = (
        f"One series holds slices of {len(groups)} orientations: {found}. "
        "Export the axial slices as a series of their own."
    )
    return [Problem("mixed-orientation", "error", message)]


def _same_orientation(header: SliceHeader, other: SliceHeader) -> bool:
    apart = np.abs(np.subtract(header.orientation, other.orientation))  # type: ignore[arg-type]
    return bool(apart.max() <= ORIENTATION_TOLERANCE)


def _duplicates(slices: Stack) -> list[Problem]:
    first = slices.is_first_at_position
    if first.all():
        return []
    repeated = int(np.flatnonzero(~first)[0])
    one, two = slices.headers[repeated - 1], slices.headers[repeated]
    message = (
        f"{int((~first).sum())} of {len(first)} slices lie where another slice lies "
        f"already: '{two.path.name}' at the place of '{one.path.name}' "
        f"({slices.depths_mm[repeated]:.1f} mm). The series may hold two phases or a "
        "part twice. Export them apart, or decide 'keep-first' to use the first "
        "slice at each position."
    )
    return [Problem("duplicate-positions", "error", message, "keep-first")]


def _single_slice(header: SliceHeader) -> Problem:
    message = (
        f"There is only one slice position ('{header.path.name}'), and a volume needs "
        "two at least. Open the folder that holds the whole series."
    )
    return Problem("single-slice", "error", message)


def _oblique(slices: Stack) -> list[Problem]:
    geometry, _ = reorient_to_lps(slices.geometry())
    return [oblique_problem(geometry.tilt_degrees)] if geometry.is_oblique else []


def oblique_problem(degrees: float) -> Problem:
    """Return the warning that a grid runs at an angle to the patient's axes."""
    message = (
        f"The slices are tilted by {degrees:.1f} degrees against the patient's axes. "
        "They are shown as scanned; letters at the edges name the closest direction."
    )
    return Problem("oblique", "warning", message)


def _thickness(slices: Stack) -> list[Problem]:
    spacing = usual_gap(slices.gaps_mm)
    stated = Counter(h.thickness_mm for h in slices.headers if h.thickness_mm)
    if not stated:
        return []
    thickness = stated.most_common(1)[0][0]
    if abs(thickness - spacing) <= THICKNESS_TOLERANCE * spacing:
        return []
    message = (
        f"SliceThickness says {thickness:.4g} mm, but the slices lie {spacing:.4g} mm "
        f"apart; {spacing:.4g} mm is used."
    )
    return [Problem("thickness-differs", "note", message)]


def _unscaled(headers: tuple[SliceHeader, ...]) -> list[Problem]:
    bare = [h for h in headers if not h.slope or h.intercept is None]
    # "US" (unspecified) and "" stand in many real CTs that are in HU.
    foreign = [h for h in headers if h.rescale_type not in ("HU", "HU_MOD", "US", "")]
    if bare:
        found = f"'{bare[0].path.name}' has no rescale to Hounsfield units"
    elif foreign:
        found = f"'{foreign[0].path.name}' is in '{foreign[0].rescale_type}', not HU"
    elif any(
        "DERIVED" in h.image_type and "PERFUSION" in h.image_type for h in headers
    ):
        found = "These are perfusion maps, not Hounsfield units"
    else:
        return []
    message = (
        f"{found}; the model expects HU. Check the picture before you trust masks."
    )
    return [Problem("not-hounsfield", "warning", message)]


def plane_of(header: SliceHeader) -> str:
    """Return ``axial``, ``coronal`` or ``sagittal``, empty where unknown."""
    if not _has_place(header):
        return ""
    normal = np.abs(slice_axes(header)[0])
    return ("sagittal", "coronal", "axial")[int(normal.argmax())]


def _groups(
    headers: Iterable[SliceHeader], key: Callable[[SliceHeader], Hashable]
) -> list[list[SliceHeader]]:
    groups: dict[Hashable, list[SliceHeader]] = {}
    for header in headers:
        groups.setdefault(key(header), []).append(header)
    return sorted(groups.values(), key=len, reverse=True)

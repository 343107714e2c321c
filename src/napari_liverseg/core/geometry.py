"""Where voxels lie in the patient: the one home of the axis convention.

Convention of the whole package: arrays, spacings and world millimetres are
ordered ``(z, y, x)``; the world is DICOM's LPS (+x left, +y posterior, +z
superior). Only `io` converts from and to file conventions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Triple = tuple[float, float, float]
Matrix = tuple[Triple, Triple, Triple]

IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

SAME_GRID_MM = 1e-3
"""Two grids are the same when no corner voxel lies further apart than this."""

OBLIQUE_DEGREES = 0.5
"""An axis tilted more than this against the patient's axes counts as oblique."""


@dataclass(frozen=True)
class Geometry:
    """A voxel grid in patient space, without its voxels.

    Parameters
    ----------
    shape : tuple of int
        Voxels along ``(z, y, x)``.
    spacing_mm : tuple of float
        Distance between voxel centres along each array axis, > 0.
    origin_mm : tuple of float
        World ``(z, y, x)`` of the centre of voxel ``(0, 0, 0)``.
    direction : 3x3 tuple
        Column ``j`` is the unit world vector ``(z, y, x)`` of array axis ``j``.
    """

    shape: tuple[int, int, int]
    spacing_mm: Triple = (1.0, 1.0, 1.0)
    origin_mm: Triple = (0.0, 0.0, 0.0)
    direction: Matrix = IDENTITY

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    @property
    def extent_mm(self) -> Triple:
        """Field of view along each array axis, voxel edges included."""
        z, y, x = (n * s for n, s in zip(self.shape, self.spacing_mm, strict=True))
        return z, y, x

    @property
    def tilt_degrees(self) -> float:
        """Largest angle between an array axis and its nearest patient axis."""
        cosines = np.abs(np.asarray(self.direction)).max(axis=0)
        return float(np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0))).max())

    @property
    def is_oblique(self) -> bool:
        """Whether some axis is tilted by more than `OBLIQUE_DEGREES`."""
        return self.tilt_degrees > OBLIQUE_DEGREES

    def affine(self) -> NDArray[np.float64]:
        """Return the 4x4 matrix from voxel index to world mm, both ``(z, y, x)``."""
        affine = np.eye(4)
        affine[:3, :3] = np.asarray(self.direction) * np.asarray(self.spacing_mm)
        affine[:3, 3] = self.origin_mm
        return affine

    def corners_mm(self) -> NDArray[np.float64]:
        """Return the world ``(z, y, x)`` of the 8 corner centres, shape (8, 3)."""
        ends = [(0, n - 1) for n in self.shape]
        indices = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
        affine = self.affine()
        return np.asarray(indices @ affine[:3, :3].T + affine[:3, 3])

    def matches(self, other: Geometry, tolerance_mm: float = SAME_GRID_MM) -> bool:
        """Whether both grids have the same shape and the same corners in space."""
        if self.shape != other.shape:
            return False
        apart = np.abs(self.corners_mm() - other.corners_mm()).max()
        return bool(apart <= tolerance_mm)

    def __str__(self) -> str:
        """Describe the grid in the words a reader can compare, axes ``z, y, x``."""
        shape = "x".join(str(n) for n in self.shape)
        spacing = "x".join(f"{s:.4g}" for s in self.spacing_mm)
        origin = ", ".join(f"{o:.2f}" for o in self.origin_mm)
        rows = "; ".join(" ".join(f"{v:.3f}" for v in row) for row in self.direction)
        return (
            f"{shape} voxels of {spacing} mm from ({origin}) mm, "
            f"direction [{rows}] (z, y, x)"
        )


@dataclass(frozen=True)
class Reorientation:
    """A lossless change between an array as stored and its LPS-oriented view.

    Parameters
    ----------
    axes : tuple of int
        ``axes[i]`` is the stored axis that becomes LPS axis ``i`` (z, y, x).
    flips : tuple of bool
        Whether LPS axis ``i`` runs against its stored axis.
    """

    axes: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    def to_lps(self, stored: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return a view of `stored` with axes along +z, +y, +x of the patient."""
        return np.transpose(stored, self.axes)[self._slices()]

    def to_stored(self, lps: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return a view of `lps` in the axis order and directions of the file."""
        return np.transpose(lps[self._slices()], np.argsort(self.axes))

    def _slices(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if flip else None) for flip in self.flips)


def reorient_to_lps(stored: Geometry) -> tuple[Geometry, Reorientation]:
    """Return the LPS-oriented geometry of a grid and the way there.

    Axes are only permuted and flipped, never resampled: an oblique grid stays
    oblique. Each world axis takes the stored axis that runs closest to it.
    """
    direction = np.asarray(stored.direction)
    axes = _closest_axes(direction)
    turned = direction[:, axes]
    flips = turned[np.arange(3), np.arange(3)] < 0
    shape = np.asarray(stored.shape)[axes]
    spacing = np.asarray(stored.spacing_mm)[axes]
    last = np.where(flips, shape - 1, 0) * spacing
    origin = np.asarray(stored.origin_mm) + turned @ last
    signed = turned * np.where(flips, -1.0, 1.0)
    geometry = Geometry(
        shape=_ints(shape),
        spacing_mm=_triple(spacing),
        origin_mm=_triple(origin),
        direction=as_matrix(signed),
    )
    return geometry, Reorientation(_ints(axes), tuple(bool(f) for f in flips))  # type: ignore[arg-type]


def as_matrix(values: NDArray[np.floating]) -> Matrix:
    """Return a 3x3 array as nested tuples, with negative zeros made positive."""
    rows = np.asarray(values, dtype=float) + 0.0
    return _triple(rows[0]), _triple(rows[1]), _triple(rows[2])


def _closest_axes(direction: NDArray[np.float64]) -> NDArray[np.intp]:
    """Pair world and array axes greedily, the clearest pair first."""
    weights = np.abs(direction).copy()
    axes = np.zeros(3, dtype=np.intp)
    for _ in range(3):
        world, array = np.unravel_index(np.argmax(weights), weights.shape)
        axes[world] = array
        weights[world, :] = -1
        weights[:, array] = -1
    return axes


def _triple(values: NDArray[np.generic]) -> Triple:
    a, b, c = (float(v) for v in values)
    return a, b, c


def _ints(values: NDArray[np.generic]) -> tuple[int, int, int]:
    a, b, c = (int(v) for v in values)
    return a, b, c

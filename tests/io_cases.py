"""A small CT and its grids for the reading tests, and the way to the real data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_liverseg.core.geometry import Geometry, as_matrix

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"

SHAPE = (7, 24, 20)
GRID = Geometry(SHAPE, (2.5, 0.8, 0.7), (-31.5, 12.25, -7.75))


def real(name: str) -> Path:
    """Return a file or folder of the real data, or skip."""
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"the optional folder of real cases lacks {name}")
    return path


def oblique(geometry: Geometry = GRID, degrees: float = 17.0) -> Geometry:
    """Turn a grid about z and then about x."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_z = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    about_x = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    direction = as_matrix(about_x @ about_z @ np.asarray(geometry.direction))
    return Geometry(geometry.shape, geometry.spacing_mm, geometry.origin_mm, direction)


def turned(
    array: np.ndarray, geometry: Geometry, axes=(0, 1, 2), flips=(False,) * 3
) -> tuple[np.ndarray, Geometry]:
    """Store an array along other axes and directions, in the same place."""
    signs = np.where(flips, -1, 1)
    order = list(axes)
    stored = np.transpose(array, axes)[tuple(slice(None, None, s) for s in signs)]
    direction = np.asarray(geometry.direction)[:, order]
    spacing = np.asarray(geometry.spacing_mm)[order]
    last = np.where(flips, np.asarray(stored.shape) - 1, 0) * spacing
    origin = np.asarray(geometry.origin_mm) + direction @ last
    grid = Geometry(
        stored.shape, tuple(spacing), tuple(origin), as_matrix(direction * signs)
    )
    return np.ascontiguousarray(stored), grid


def world(geometry: Geometry) -> np.ndarray:
    """Return the world (z, y, x) of every voxel, shape (z, y, x, 3)."""
    indices = np.stack(
        np.meshgrid(*(np.arange(n) for n in geometry.shape), indexing="ij"), axis=-1
    )
    affine = geometry.affine()
    return indices @ affine[:3, :3].T + affine[:3, 3]


def ramp(places_mm: np.ndarray) -> np.ndarray:
    """Return HU that change linearly over the patient, so that any shift shows."""
    z, y, x = np.moveaxis(places_mm, -1, 0)
    return 7.0 * z - 11.0 * y + 5.0 * x


def ct(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Return HU of air, a body and an off-centre tumour, all voxels different-ish."""
    rng = np.random.default_rng(7)
    hu = rng.integers(20, 140, shape).astype(np.int16)
    hu[:, :3] = -1000
    hu[..., :2] = -1000
    hu[2:4, 6:9, 11:15] = 20
    return hu


def codes(problems) -> set[str]:
    return {p.code for p in problems}

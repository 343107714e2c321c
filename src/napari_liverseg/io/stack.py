"""Slices put in order along their normal, and the straight grid they lie on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.core.geometry import Geometry, as_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.io.headers import SliceHeader

DUPLICATE_MM = 0.01
"""Slices closer together than this lie at the same position."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices of one orientation and shape, sorted along their normal.

    Parameters
    ----------
    headers : tuple of SliceHeader
        In rising order along the normal; at one position in the order in which
        they were acquired.
    depths_mm : ndarray, shape (n,)
        Distance of each slice along the normal from the world's origin. This,
        never SliceThickness or SliceLocation, tells how far slices are apart.
    places : ndarray of int, shape (n,)
        Number of each slice's position, rising; slices at one position share it.
    drifts_mm : ndarray, shape (n, 2)
        How far each slice's corner lies aside of the first one's, along the
        array's y and x. All zero in a straight stack.
    axes : ndarray, shape (3, 3)
        Rows are the unit vectors of the array's z, y and x, in DICOM's (x, y, z).
    """

    headers: tuple[SliceHeader, ...]
    depths_mm: NDArray[np.float64]
    places: NDArray[np.intp]
    drifts_mm: NDArray[np.float64]
    axes: NDArray[np.float64]

    @property
    def gaps_mm(self) -> NDArray[np.float64]:
        """Distances between neighbouring slices, shape (n - 1,)."""
        return np.diff(self.depths_mm)

    @property
    def is_first_at_position(self) -> NDArray[np.bool_]:
        """Which slices are the first at their position, shape (n,)."""
        return np.concatenate([[True], np.diff(self.places) > 0])

    def kept_first(self) -> Stack:
        """Return the stack with one slice at each position, the first acquired."""
        return self.only(np.flatnonzero(self.is_first_at_position))

    def only(self, indices: NDArray[np.intp]) -> Stack:
        """Return the stack of some of its slices."""
        return Stack(
            headers=tuple(self.headers[i] for i in indices),
            depths_mm=self.depths_mm[indices],
            places=self.places[indices],
            drifts_mm=self.drifts_mm[indices] - self.drifts_mm[indices[0]],
            axes=self.axes,
        )

    def geometry(self) -> Geometry:
        """Return the even, straight grid through the first and the last slice.

        For a stack without problems this is the grid that SimpleITK's
        ImageSeriesReader gives for the same slices in the same order.
        """
        first, count = self.headers[0], len(self.headers)
        assert first.position is not None
        assert first.pixel_spacing_mm is not None
        reach = float(self.depths_mm[-1] - self.depths_mm[0])
        x, y, z = first.position
        return Geometry(
            shape=(count, first.rows, first.columns),
            spacing_mm=(reach / max(count - 1, 1), *first.pixel_spacing_mm),
            origin_mm=(z, y, x),
            direction=as_matrix(self.axes.T[::-1]),
        )


def stack(headers: tuple[SliceHeader, ...]) -> Stack:
    """Sort slices that all have a position and share one orientation.

    Ties at one position are broken by acquisition, instance number and file
    name, so that the order never depends on the disk.
    """
    axes = slice_axes(headers[0])
    positions = np.array([h.position for h in headers], dtype=float)
    depths = positions @ axes[0]
    places = _places(depths)
    order = sorted(
        range(len(headers)),
        key=lambda i: (
            places[i],
            headers[i].acquisition,
            headers[i].instance,
            headers[i].path.name,
            headers[i].frame,
        ),
    )
    aside = (positions - positions[order[0]]) @ axes[1:].T
    return Stack(
        headers=tuple(headers[i] for i in order),
        depths_mm=depths[order],
        places=places[order],
        drifts_mm=aside[order],
        axes=axes,
    )


def _places(depths: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the number of each slice's position; slices that lie together share it.

    By distance and not by rounding: on the edge of a step, rounding would part
    slices of two phases that lie together, and sort them by phase no more.
    """
    rising = np.argsort(depths, kind="stable")
    apart = np.diff(depths[rising], prepend=-np.inf) > DUPLICATE_MM
    places = np.empty(len(depths), np.intp)
    places[rising] = np.cumsum(apart) - 1
    return places


def slice_axes(header: SliceHeader) -> NDArray[np.float64]:
    """Return unit vectors along the normal, down a column and along a row.

    ImageOrientationPatient is rounded in most files; the three are made exactly
    perpendicular so that the grid has no shear.
    """
    row, column = np.reshape(np.asarray(header.orientation, dtype=float), (2, 3))
    row = row / np.linalg.norm(row)
    column = column - (column @ row) * row
    column = column / np.linalg.norm(column)
    return np.stack([np.cross(row, column), column, row])

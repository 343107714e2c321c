"""Where the image that a network sees lies in a CT."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from napari_liverseg.inference.nnunet_resampling import (
    NEGLIGIBLE,
    nearest_operator,
    spline_operator,
)
from napari_liverseg.inference.preprocessing import axis_operator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.models.contract import Input, Shape

Way = Literal["averaging", "linear", "nearest"]


@dataclass(frozen=True)
class Turn:
    """Between the axes of a volume and those of a network.

    Parameters
    ----------
    axes, flips : tuple
        See `Frame`.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def to_network(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a view of a volume along the network's axes."""
        turned = np.transpose(array, self.axes)
        return turned[tuple(slice(None, None, -1 if f else None) for f in self.flips)]

    def along_network(self, spacing_mm: Triple) -> Triple:
        """Return what belongs to the volume's axes in the network's order."""
        z, y, x = (spacing_mm[axis] for axis in self.axes)
        return z, y, x

    def along_volume(self, shape: Shape) -> Shape:
        """Return what belongs to the network's axes in the volume's order."""
        z, y, x = (shape[int(i)] for i in np.argsort(self.axes))
        return z, y, x

    def to_volume(self, box: Box, shape: tuple[int, ...]) -> Box:
        """Return a box of a network's grid of `shape` along the volume's axes."""
        sides = zip(box, shape, self.flips, strict=True)
        turned = [
            slice(n - side.stop, n - side.start) if flip else side
            for side, n, flip in sides
        ]
        z, y, x = (turned[int(i)] for i in np.argsort(self.axes))
        return z, y, x

    def box_to_network(self, box: Box, shape: Shape) -> Box:
        """Return a box of a volume's grid of `shape` along the network's axes."""
        z, y, x = (
            slice(shape[axis] - box[axis].stop, shape[axis] - box[axis].start)
            if flip
            else box[axis]
            for axis, flip in zip(self.axes, self.flips, strict=True)
        )
        return z, y, x


def turn_to(wanted: Input, volume: CTVolume) -> Turn:
    """Return the way to the axes that a model wants: its orientation, transposed."""
    order, against = (0, 1, 2), (False, False, False)
    if wanted.orientation == "RAS":
        against = (False, True, True)
    elif wanted.orientation == "stored":
        a, b, c = (int(i) for i in np.argsort(volume.reorientation.axes))
        order, against = (a, b, c), volume.reorientation.flips
    z, y, x = (order[axis] for axis in wanted.transpose)
    return Turn((z, y, x), (against[z], against[y], against[x]))


@dataclass(frozen=True)
class Frame:
    """The way from a network's axes and grid to the CT's.

    Parameters
    ----------
    axes : tuple of int
        Network axis ``i`` is axis ``axes[i]`` of the volume.
    flips : tuple of bool
        Whether network axis ``i`` runs against that axis.
    native_box : tuple of slice
        Part of the CT that the whole model grid covers, edge to edge.
    grid_shape : tuple of int
        Voxels of the whole model grid, along the volume's axes.
    grid_box : tuple of slice
        Where the network's image lies in that grid, along the volume's axes.
    back : tuple of {'averaging', 'linear', 'nearest'}
        How each axis of the volume is resampled on the way back: as our own
        models are, or as nnU-Net resamples logits, which averages nothing where
        the CT is the coarser grid.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    native_box: Box
    grid_shape: Shape
    grid_box: Box
    back: tuple[Way, Way, Way] = ("averaging", "averaging", "averaging")

    @property
    def turn(self) -> Turn:
        """The way between both sets of axes."""
        return Turn(self.axes, self.flips)

    @property
    def image_box(self) -> Box:
        """Where the network's image lies in the grid, along the network's axes."""
        return self.turn.box_to_network(self.grid_box, self.grid_shape)

    @property
    def image_shape(self) -> Shape:
        """Voxels of the network's image, along its axes."""
        z, y, x = (side.stop - side.start for side in self.image_box)
        return z, y, x

    @property
    def covered(self) -> Box:
        """Part of the CT that the network's image covers, to whole voxels."""
        sides = []
        for native, kept, n in zip(
            self.native_box, self.grid_box, self.grid_shape, strict=True
        ):
            ratio = (native.stop - native.start) / n
            start = native.start + math.floor(kept.start * ratio)
            stop = native.start + math.ceil(kept.stop * ratio)
            sides.append(slice(start, min(stop, native.stop)))
        z, y, x = sides
        return z, y, x

    def cut(self, box: Box) -> Frame:
        """Return the frame of a part of the image, along the network's axes."""
        inside = self.turn.to_volume(box, self.image_shape)
        z, y, x = (
            slice(whole.start + part.start, whole.start + part.stop)
            for whole, part in zip(self.grid_box, inside, strict=True)
        )
        return replace(self, grid_box=(z, y, x))

    def operator(self, axis: int) -> torch.Tensor:
        """Return the matrix from the whole grid to `native_box` along an axis.

        Parameters
        ----------
        axis : int
            Of the volume.

        Returns
        -------
        Tensor, float32, shape (voxels of the native box, voxels of the grid)
        """
        native = self.native_box[axis]
        n_in, n_out = self.grid_shape[axis], native.stop - native.start
        if self.back[axis] == "nearest":
            return nearest_operator(n_in, n_out)
        if self.back[axis] == "linear":
            weights = spline_operator(n_in, n_out, order=1).float()
            return torch.where(weights.abs() > NEGLIGIBLE, weights, 0.0)
        return axis_operator(n_in, n_out)

    def to_volume_axes(self, channels: torch.Tensor) -> torch.Tensor:
        """Return what a network made of the image along the volume's axes.

        A view, unless an axis runs backwards: torch has no negative strides.

        Parameters
        ----------
        channels : Tensor, shape (C, *network axes)

        Returns
        -------
        Tensor, shape (C, z, y, x)
        """
        backwards = [1 + axis for axis, flip in enumerate(self.flips) if flip]
        turned = channels.flip(backwards) if backwards else channels
        order = (1 + int(axis) for axis in np.argsort(self.axes))
        return turned.permute(0, *order)

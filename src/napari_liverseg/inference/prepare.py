"""From a CT to the image that a network sees, whoever trained it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from napari_liverseg.core.progress import never_cancelled, stop_if
from napari_liverseg.inference.body import body_box
from napari_liverseg.inference.look import at_least, box_on_image
from napari_liverseg.inference.nnunet_resampling import (
    NEGLIGIBLE,
    nearest_operator,
    nnunet_shape,
    nonzero_box,
    resample_nnunet,
    separate_axis,
    spline_operator,
)
from napari_liverseg.inference.normalisation import normalise_as
from napari_liverseg.inference.preprocessing import (
    axis_operator,
    model_shape,
    to_model_grid,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.core.progress import IsCancelled
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.models.contract import Input, Shape

Way = Literal["averaging", "linear", "nearest"]


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


@dataclass(frozen=True, eq=False)
class Prepared:
    """What a network sees of a CT.

    Parameters
    ----------
    image : Tensor, float32
        Normalised, along the network's axes.
    frame : Frame
        Where it lies in the CT.
    """

    image: torch.Tensor
    frame: Frame

    def cut(self, box: Box) -> Prepared:
        """Return the part of the image in a box along the network's axes."""
        turn = _Turn(self.frame.axes, self.frame.flips)
        inside = turn.to_volume(box, tuple(self.image.shape))
        z, y, x = (
            slice(whole.start + part.start, whole.start + part.stop)
            for whole, part in zip(self.frame.grid_box, inside, strict=True)
        )
        return Prepared(self.image[box], replace(self.frame, grid_box=(z, y, x)))


def prepare(
    volume: CTVolume, wanted: Input, is_cancelled: IsCancelled = never_cancelled
) -> Prepared:
    """Turn, crop, resample and normalise a CT as a model expects it.

    Parameters
    ----------
    volume : CTVolume
    wanted : Input
    is_cancelled : callable
        Asked between slabs of slices or axes.

    Raises
    ------
    CancelledError
        Once `is_cancelled` returns True.
    """
    turn = _turn(volume, wanted)
    hu = turn.to_network(volume.hu)
    spacing = turn.along_network(volume.geometry.spacing_mm)
    native = nonzero_box(hu) if wanted.crop == "nonzero" else _whole(hu.shape)
    make = _as_nnunet if wanted.resampling == "nnunet" else _averaged
    grid = make(hu[native], spacing, wanted, is_cancelled)
    return Prepared(grid.image, _frame(turn, native, hu.shape, grid, spacing, wanted))


def prepare_around(
    volume: CTVolume,
    wanted: Input,
    box: Box,
    least: Shape,
    body: Box | None = None,
    is_cancelled: IsCancelled = never_cancelled,
) -> Prepared | None:
    """Return what a network sees of a part of a CT.

    Where voxels of the whole CT have a say in it, as in nnU-Net's resampling, its
    crop, or statistics of an image, the whole is prepared and then cut.

    Parameters
    ----------
    volume : CTVolume
    wanted : Input
    box : tuple of slice
        Of the CT.
    least : tuple of int
        Voxels of the image at least, along the network's axes, as far as the CT
        reaches, or the body for a model that is shown the body alone.
    body : tuple of slice or None
        Box of the CT around the body, where it is known.
    is_cancelled : callable
        See `prepare`.

    Returns
    -------
    Prepared or None
        None where the model's own crop has left the box out.
    """
    sees_all = wanted.crop == "nonzero" or (wanted.crop == "body" and body is None)
    is_fixed = wanted.normalisation.statistics == "fixed"
    if sees_all or not is_fixed or wanted.resampling == "nnunet":
        whole = prepare(volume, wanted, is_cancelled)
        inside = box_on_image(box, whole.frame)
        shape = _shape(whole.image.shape)
        return None if inside is None else whole.cut(at_least(inside, least, shape))
    turn = _turn(volume, wanted)
    hu = turn.to_network(volume.hu)
    spacing = turn.along_network(volume.geometry.spacing_mm)
    target = wanted.spacing_mm or spacing
    shape = model_shape(_shape(hu.shape), spacing, target)
    empty = _OnGrid(torch.empty(0), _whole(shape), shape)
    frame = _frame(turn, _whole(hu.shape), hu.shape, empty, spacing, wanted)
    seen = _whole(shape)
    if wanted.crop == "body" and body is not None:
        seen = box_on_image(body, frame) or seen
    part = _part(box_on_image(box, frame), seen, least)
    if part is None:
        return None
    image = to_model_grid(hu, spacing, target, is_cancelled, part)
    frame = replace(frame, grid_box=turn.to_volume(part, shape))
    return Prepared(normalise_as(image, wanted.normalisation), frame)


def _part(inside: Box | None, seen: Box, least: Shape) -> Box | None:
    """Return a box, no smaller than `least`, within what is seen of a grid."""
    if inside is None:
        return None
    sides = zip(inside, seen, strict=True)
    moved = [
        slice(max(a.start, b.start) - b.start, min(a.stop, b.stop) - b.start)
        for a, b in sides
    ]
    if any(side.stop <= side.start for side in moved):
        return None
    z, y, x = moved
    shape = [side.stop - side.start for side in seen]
    grown = zip(at_least((z, y, x), least, shape), seen, strict=True)
    z, y, x = (slice(a.start + b.start, a.stop + b.start) for a, b in grown)
    return z, y, x


def _frame(
    turn: _Turn,
    native: Box,
    shape: tuple[int, ...],
    grid: _OnGrid,
    spacing_mm: Triple,
    wanted: Input,
) -> Frame:
    return Frame(
        turn.axes,
        turn.flips,
        turn.to_volume(native, shape),
        turn.along_volume(grid.shape),
        turn.to_volume(grid.box, grid.shape),
        _way_back(turn, spacing_mm, wanted),
    )


def largest_image(volume: CTVolume, wanted: Input) -> Shape:
    """Return the most voxels that `prepare` can make of a CT, along network axes.

    That is the whole grid; which part of it holds the patient, or is not 0, is
    found only by looking.

    Parameters
    ----------
    volume : CTVolume
        Its voxels are not looked at.
    wanted : Input
    """
    turn = _turn(volume, wanted)
    z, y, x = (volume.hu.shape[axis] for axis in turn.axes)
    spacing = turn.along_network(volume.geometry.spacing_mm)
    make = nnunet_shape if wanted.resampling == "nnunet" else model_shape
    return make((z, y, x), spacing, wanted.spacing_mm or spacing)


def _way_back(turn: _Turn, spacing_mm: Triple, wanted: Input) -> tuple[Way, Way, Way]:
    """Return how logits are resampled, along the volume's axes."""
    if wanted.resampling == "averaging":
        return "averaging", "averaging", "averaging"
    apart = separate_axis(wanted.spacing_mm or spacing_mm, spacing_mm)
    ways: list[Way] = ["linear", "linear", "linear"]
    if apart is not None:
        ways[turn.axes[apart]] = "nearest"
    return ways[0], ways[1], ways[2]


@dataclass(frozen=True, eq=False)
class _OnGrid:
    """An image in a box of a model's grid, all along the network's axes."""

    image: torch.Tensor
    box: Box
    shape: Shape


def _averaged(
    hu: NDArray[Any], spacing_mm: Triple, wanted: Input, is_cancelled: IsCancelled
) -> _OnGrid:
    """Resample as our own models do, then crop, then normalise."""
    target = wanted.spacing_mm or spacing_mm
    coarse = to_model_grid(hu, spacing_mm, target, is_cancelled)
    shape = _shape(coarse.shape)
    box = body_box(coarse.numpy()) if wanted.crop == "body" else _whole(shape)
    return _OnGrid(normalise_as(coarse[box], wanted.normalisation), box, shape)


def _as_nnunet(
    hu: NDArray[Any], spacing_mm: Triple, wanted: Input, is_cancelled: IsCancelled
) -> _OnGrid:
    """Normalise, then resample: nnU-Net's splines see clipped numbers."""
    if wanted.crop == "body":
        msg = "the body is boxed on our own grid, which nnU-Net's resampling lacks"
        raise ValueError(msg)
    stop_if(is_cancelled)
    stored = torch.from_numpy(np.array(hu, dtype=np.float32, order="C"))
    image = normalise_as(stored, wanted.normalisation)
    target = wanted.spacing_mm or spacing_mm
    shape = nnunet_shape(_shape(image.shape), spacing_mm, target)
    fine = resample_nnunet(image, shape, spacing_mm, target, is_cancelled)
    return _OnGrid(fine, _whole(shape), shape)


@dataclass(frozen=True)
class _Turn:
    """Between the axes of a volume and those of a network, see `Frame`."""

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def to_network(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a view of a volume along the network's axes."""
        turned = np.transpose(array, self.axes)
        return turned[tuple(slice(None, None, -1 if f else None) for f in self.flips)]

    def along_network(self, spacing_mm: Triple) -> Triple:
        z, y, x = (spacing_mm[axis] for axis in self.axes)
        return z, y, x

    def along_volume(self, shape: Shape) -> Shape:
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


def _turn(volume: CTVolume, wanted: Input) -> _Turn:
    """Return the way to the axes that a model wants: its orientation, transposed."""
    order, against = (0, 1, 2), (False, False, False)
    if wanted.orientation == "RAS":
        against = (False, True, True)
    elif wanted.orientation == "stored":
        a, b, c = (int(i) for i in np.argsort(volume.reorientation.axes))
        order, against = (a, b, c), volume.reorientation.flips
    z, y, x = (order[axis] for axis in wanted.transpose)
    return _Turn((z, y, x), (against[z], against[y], against[x]))


def _whole(shape: tuple[int, ...]) -> Box:
    z, y, x = (slice(0, n) for n in shape)
    return z, y, x


def _shape(shape: tuple[int, ...]) -> Shape:
    z, y, x = shape
    return z, y, x

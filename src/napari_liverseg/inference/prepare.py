"""From a CT to the image that a network sees, whoever trained it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from napari_liverseg.core.progress import never_cancelled, stop_if
from napari_liverseg.inference.body import body_box
from napari_liverseg.inference.frame import Frame, turn_to
from napari_liverseg.inference.look import at_least, box_on_image
from napari_liverseg.inference.nnunet_resampling import (
    nnunet_shape,
    nonzero_box,
    resample_nnunet,
    separate_axis,
)
from napari_liverseg.inference.normalisation import normalise_as
from napari_liverseg.inference.placement import filled
from napari_liverseg.inference.preprocessing import (
    model_shape,
    to_model_grid,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.core.geometry import Triple
    from napari_liverseg.core.progress import IsCancelled
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.inference.frame import Turn, Way
    from napari_liverseg.models.contract import Input, Shape, Windows


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
        return Prepared(self.image[box], self.frame.cut(box))


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
    turn = turn_to(wanted, volume)
    hu = turn.to_network(volume.hu)
    spacing = turn.along_network(volume.geometry.spacing_mm)
    native = nonzero_box(hu) if wanted.crop == "nonzero" else _whole(hu.shape)
    make = _as_nnunet if wanted.resampling == "nnunet" else _averaged
    grid = make(hu[native], spacing, wanted, is_cancelled)
    covered = turn.to_volume(native, hu.shape)
    frame = _whole_grid(turn, covered, grid.shape, spacing, wanted)
    return Prepared(grid.image, frame.cut(grid.box))


def prepare_around(
    volume: CTVolume,
    wanted: Input,
    box: Box,
    windows: Windows,
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
    windows : Windows
        The part is widened until they fill it, as far as the CT reaches, or the body
        for a model that is shown the body alone.
    body : tuple of slice or None
        Box of the CT around the body, where it is known.
    is_cancelled : callable
        See `prepare`.

    Returns
    -------
    Prepared or None
        None where the model's own crop has left the box out.
    """
    if _needs_all(wanted, body):
        whole = prepare(volume, wanted, is_cancelled)
        inside = _inside(box, whole.frame, windows)
        return None if inside is None else whole.cut(inside)
    turn = turn_to(wanted, volume)
    hu = turn.to_network(volume.hu)
    spacing = turn.along_network(volume.geometry.spacing_mm)
    target = wanted.spacing_mm or spacing
    shape = model_shape(_shape(hu.shape), spacing, target)
    frame = _whole_grid(turn, _whole(volume.hu.shape), shape, spacing, wanted)
    if wanted.crop == "body" and body is not None:
        frame = frame.cut(box_on_image(body, frame) or _whole(shape))
    inside = _inside(box, frame, windows)
    if inside is None:
        return None
    frame = frame.cut(inside)
    part = to_model_grid(hu, spacing, target, is_cancelled, frame.image_box)
    return Prepared(normalise_as(part, wanted.normalisation), frame)


def _needs_all(wanted: Input, body: Box | None) -> bool:
    """Whether voxels outside of a part have a say in what is seen of it."""
    crops = wanted.crop == "nonzero" or (wanted.crop == "body" and body is None)
    is_measured = wanted.normalisation.statistics != "fixed"
    return crops or is_measured or wanted.resampling == "nnunet"


def _inside(box: Box, frame: Frame, windows: Windows) -> Box | None:
    """Return where a box of the CT lies in an image, with what its windows see."""
    found = box_on_image(box, frame)
    if found is None:
        return None
    z, y, x = (
        filled(side.stop - side.start, window, windows)
        for side, window in zip(found, windows.patch, strict=True)
    )
    return at_least(found, (z, y, x), frame.image_shape)


def _whole_grid(
    turn: Turn, covered: Box, shape: Shape, spacing_mm: Triple, wanted: Input
) -> Frame:
    """Return the frame of a grid, along the network's axes, over a part of a CT."""
    grid = turn.along_volume(shape)
    back = _way_back(turn, spacing_mm, wanted)
    return Frame(turn.axes, turn.flips, covered, grid, _whole(grid), back)


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
    turn = turn_to(wanted, volume)
    z, y, x = (volume.hu.shape[axis] for axis in turn.axes)
    spacing = turn.along_network(volume.geometry.spacing_mm)
    make = nnunet_shape if wanted.resampling == "nnunet" else model_shape
    return make((z, y, x), spacing, wanted.spacing_mm or spacing)


def _way_back(turn: Turn, spacing_mm: Triple, wanted: Input) -> tuple[Way, Way, Way]:
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


def _whole(shape: tuple[int, ...]) -> Box:
    z, y, x = (slice(0, n) for n in shape)
    return z, y, x


def _shape(shape: tuple[int, ...]) -> Shape:
    z, y, x = shape
    return z, y, x

"""What a worker is asked for and what it answers: all that crosses the network."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_liverseg.core.segmentation import Segmentation
from napari_liverseg.core.volume import CTVolume
from napari_liverseg.inference.options import RunOptions
from napari_liverseg.models.bundle import MonaiBundle
from napari_liverseg.models.digest import digest_of
from napari_liverseg.models.nnunet_model import NnUNetModel
from napari_liverseg.models.two_stage import TwoStage, stages_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.core.geometry import Geometry, Reorientation
    from napari_liverseg.core.probabilities import RunRecord, Thresholds
    from napari_liverseg.core.problem import Decision
    from napari_liverseg.models.contract import Model
    from napari_liverseg.models.mapping import ChannelMapping
    from napari_liverseg.models.two_stage import LiverFrom

Send = Literal["auto", "paths", "bytes"]

FASTEST = 1
"""Level of zlib: label maps are mostly background, and pack well at any level."""


@dataclass(frozen=True)
class Wish:
    """What a batch was asked to do with every case.

    Parameters
    ----------
    model : Model
    thresholds : Thresholds
    decisions : tuple of {'resample', 'keep-first'}
    overwrite : bool
        Replace other results that are there.
    send : {'auto', 'paths', 'bytes'}
        Whether workers read the CTs, or are sent their voxels; ``auto``: they
        read what they see of this installation's files.
    options : RunOptions
        Where to look, mirror images and so on.
    """

    model: Model
    thresholds: Thresholds
    decisions: tuple[Decision, ...] = ()
    overwrite: bool = False
    send: Send = "auto"
    options: RunOptions = field(default_factory=RunOptions)

    @cached_property
    def model_digest(self) -> str:
        """See `digest_of`; it may read all of the model's files, and is kept."""
        return digest_of(self.model)


@dataclass(frozen=True)
class StageCard:
    """A stage of a model: what a worker needs to read it as it is read here.

    Parameters
    ----------
    folder : str
        Where it lies here; the worker may see it too.
    channels : ChannelMapping or None
        What the channels of an nnU-Net or a bundle are: its user may have said it in
        a file that the worker lacks. None for other kinds, and where nobody said it.
    """

    folder: str
    channels: ChannelMapping | None = None


@dataclass(frozen=True)
class ModelCard:
    """A model as a worker must have it.

    Parameters
    ----------
    name, version : str
        What reports say, be it called or dated otherwise where the worker has it.
    digest : str
        Of everything that decides about its results, see `digest_of`.
    stages : tuple of StageCard
        Two where the first finds the liver for the second.
    liver : {'both', 'finder'} or None
        See `TwoStage`; None where there is one stage.
    """

    name: str
    version: str
    digest: str
    stages: tuple[StageCard, ...] = field(repr=False)
    liver: LiverFrom | None = None


@dataclass(frozen=True, eq=False)
class Parcel:
    """A model's files on their way to a worker.

    Parameters
    ----------
    files : mapping of str to bytes
        By their paths, see `contract.Model`.
    """

    files: Mapping[str, bytes] = field(repr=False)

    @property
    def nbytes(self) -> int:
        """Size of all files together."""
        return sum(map(len, self.files.values()))


@dataclass(frozen=True)
class Order:
    """One case for a worker; its text shows no path, since workers log it.

    Parameters
    ----------
    model : ModelCard
    device : str
        As `inference.devices.resolve` takes it.
    thresholds : Thresholds
    decisions : tuple of {'resample', 'keep-first'}
    path : str
        The CT, where the worker is to read it.
    series : str or None
        Its ``uid`` where the path holds several.
    sight : str
        What the CT's files look like from here, see `sight_of`.
    options : RunOptions
        Where to look, mirror images and so on.
    """

    model: ModelCard
    device: str
    thresholds: Thresholds
    decisions: tuple[Decision, ...] = ()
    path: str = field(default="", repr=False)
    series: str | None = field(default=None, repr=False)
    sight: str = field(default="", repr=False)
    options: RunOptions = field(default_factory=RunOptions)


@dataclass(frozen=True, eq=False)
class Voxels:
    """All of a CT that leaves this computer: no header, no name.

    Parameters
    ----------
    hu : ndarray, shape (z, y, x), int16 or float32
    geometry : Geometry
    reorientation : Reorientation
        Some models see a CT with the axes of its file.
    """

    hu: NDArray[Any] = field(repr=False)
    geometry: Geometry = field(repr=False)
    reorientation: Reorientation = field(repr=False)


@dataclass(frozen=True, eq=False)
class Done:
    """A segmented case, packed.

    Parameters
    ----------
    labels : bytes
        Label map inside `box`, uint8 in C order, by zlib.
    box : tuple of slice
        Outside of it is background.
    run : RunRecord
    seconds, peak_memory_mb : float
        See `Making`.
    volume : mapping of str to object, or None
        Fields of the CT but its voxels, where the worker has read it.
    """

    labels: bytes = field(repr=False)
    box: Box
    run: RunRecord
    seconds: float
    peak_memory_mb: float
    volume: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Refused:
    """Why a case could not be segmented, as a `LiversegError` has it."""

    found: str = field(repr=False)
    next_step: str = field(repr=False)


@dataclass(frozen=True)
class Unseen:
    """The worker does not see the files that the order names."""


Answer = Done | Refused | Unseen


@dataclass(frozen=True)
class Greeting:
    """What a worker says of itself.

    Parameters
    ----------
    version : str
        Of this package.
    installation : str
        See `io.keys.installation`; the same where both share the user's data.
    has_model : bool
    """

    version: str
    installation: str
    has_model: bool


def card_of(model: Model) -> ModelCard:
    """Return how to ask for a model."""
    liver = model.liver if isinstance(model, TwoStage) else None
    stages = tuple(_stage_card(stage) for stage in stages_of(model))
    return ModelCard(model.name, model.version, digest_of(model), stages, liver)


def _stage_card(model: Model) -> StageCard:
    channels = model.mapping if isinstance(model, NnUNetModel | MonaiBundle) else None
    return StageCard(str(model.folder.resolve()), channels)


def pack(segmentation: Segmentation, box: Box) -> bytes:
    """Return the labels inside a box as bytes."""
    inside = np.ascontiguousarray(segmentation.labels[box])
    return zlib.compress(inside.data, FASTEST)


def unpack(done: Done, geometry: Geometry) -> Segmentation:
    """Return the label map of an answer on its CT's grid."""
    labels = np.zeros(geometry.shape, np.uint8)
    shape = labels[done.box].shape
    inside = np.frombuffer(zlib.decompress(done.labels), np.uint8)
    labels[done.box] = inside.reshape(shape)
    return Segmentation(labels, geometry)


def voxels_of(volume: CTVolume) -> Voxels:
    """Return the voxels of a CT as they are sent; views may run backwards."""
    hu = np.ascontiguousarray(volume.hu)
    return Voxels(hu, volume.geometry, volume.reorientation)


def without_voxels(volume: CTVolume) -> dict[str, Any]:
    """Return the fields of a CT but its voxels."""
    names = (field.name for field in fields(volume) if field.name != "hu")
    return {name: getattr(volume, name) for name in names}


def empty_volume(of: Mapping[str, Any]) -> CTVolume:
    """Return a CT of the fields of another, with voxels that take no memory."""
    return CTVolume(hu=np.broadcast_to(np.int16(0), of["geometry"].shape), **of)

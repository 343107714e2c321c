"""What a run will need, bounded before the CT is resampled or the liver found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from napari_liverseg.inference.finder import finder_of
from napari_liverseg.inference.groups import Groups
from napari_liverseg.inference.live_memory import network_bytes
from napari_liverseg.inference.plan import (
    FLOAT,
    HALF,
    MOST_FLOAT_LOGITS,
    MOST_WINDOWS,
    OVERHEAD,
    SHARE,
    found_bytes,
    gigabytes,
    make_plan,
)
from napari_liverseg.inference.prepare import largest_image
from napari_liverseg.models.two_stage import TwoStage

if TYPE_CHECKING:
    from napari_liverseg.core.probabilities import Look
    from napari_liverseg.core.volume import CTVolume
    from napari_liverseg.inference.devices import Device
    from napari_liverseg.models.contract import Model

Fits = Literal["yes", "perhaps", "no"]


@dataclass(frozen=True)
class Need:
    """Memory of one kind that a run takes, and what there is of it, in bytes.

    Parameters
    ----------
    where : str
        What the memory is called.
    least, most : int
        What the run's own plan will say lies between them.
    enough : int
        With so much the plan is sure to be accepted; the run itself holds some
        of it already when it is made.
    free : int
        Now.
    """

    where: str
    least: int
    most: int
    enough: int
    free: int

    @property
    def fits(self) -> Fits:
        """Whether the run's own plan will be accepted."""
        room = SHARE * self.free
        if self.least > room:
            return "no"
        return "yes" if self.enough <= room else "perhaps"

    @property
    def sentence(self) -> str:
        """What is needed and what is free, in a radiologist's words."""
        if self.fits == "yes":
            need = f"Needs at most {gigabytes(self.most)} of {self.where}"
            return f"{need}; {gigabytes(self.free)} are free."
        need = f"May need up to {gigabytes(self.most)}"
        if self.fits == "no":
            need = f"Needs at least {gigabytes(self.least)}"
        room = f"{gigabytes(int(SHARE * self.free))} of the {gigabytes(self.free)}"
        return f"{need} of {self.where}; a run may take {room} that are free."


@dataclass(frozen=True)
class Forecast:
    """What is known of a run's memory before it.

    Parameters
    ----------
    look : {'liver', 'body', 'everywhere'}
    ram : Need
        Main memory, the CT aside.
    on_device : Need or None
        Memory of a GPU; None on the processor.
    """

    look: Look
    ram: Need
    on_device: Need | None = None

    @property
    def fits(self) -> Fits:
        """The worse of both memories."""
        return self._tightest.fits

    @property
    def sentence(self) -> str:
        """What to tell before the run, and what to do where it does not fit."""
        tightest = self._tightest
        if tightest.fits == "no":
            return f"{tightest.sentence} {self._remedy}"
        if tightest.fits == "perhaps":
            return f"{tightest.sentence} If that is too little, the run says so."
        return " ".join(need.sentence for need in self._needs)

    @property
    def _needs(self) -> tuple[Need, ...]:
        return (self.ram,) if self.on_device is None else (self.on_device, self.ram)

    @property
    def _tightest(self) -> Need:
        order: tuple[Fits, ...] = ("no", "perhaps", "yes")
        return min(self._needs, key=lambda need: order.index(need.fits))

    @property
    def _remedy(self) -> str:
        if self.ram.fits != "no":
            return "Choose the device 'cpu'."
        if self.look != "liver":
            return "Close other programs, or look around the liver ('More')."
        return "Close other programs."


def forecast(model: Model, volume: CTVolume, device: Device, look: Look) -> Forecast:
    """Return what the run of a model on a CT will need, without running anything.

    The most is what the CT's whole grid takes, the least what one window does.

    Parameters
    ----------
    model : Model
        Its networks are loaded the first time, to see how large they are.
    volume : CTVolume
        Its voxels are not looked at.
    device : Device
        With the memory that is free on it now.
    look : {'liver', 'body', 'everywhere'}

    Raises
    ------
    ModelError
        The weights are not what they should be.
    MissingExtraError
        An optional package is not installed.
    """
    stages = [_bound(stage, volume, device, look) for stage in _stages(model, look)]
    # What one model found is kept, and may be joined with what the next one finds.
    maps = 2 * (len(stages) - 1) * found_bytes(volume.hu.size)
    most = max(stage.most_ram for stage in stages) + maps
    loaded = sum(stage.weights for stage in stages) + stages[-1].image
    least = max(stage.least_ram for stage in stages)
    on_cpu = device.kind == "cpu"
    where = "memory" if on_cpu else "main memory"
    ram = Need(where, least, most, most + loaded, stages[-1].free_ram)
    if on_cpu:
        return Forecast(look, ram)
    alone = max(stage.one_window for stage in stages)
    kept = sum(stage.weights for stage in stages[:-1])
    room = int(SHARE * device.free_bytes)
    filled = min(max(stage.all_windows for stage in stages), room)
    where = f"memory on {device.name}"
    on_device = Need(where, alone, max(alone, filled), alone + kept, device.free_bytes)
    return Forecast(look, ram, on_device)


@dataclass(frozen=True)
class _Bounds:
    """What one model of a run takes, in bytes.

    Parameters
    ----------
    least_ram, most_ram : int
        Main memory.
    weights, image : int
        Of that, what is loaded before the plan is made.
    one_window, all_windows : int
        On a GPU, with the smallest batch and with the largest.
    free_ram : int
    """

    least_ram: int
    most_ram: int
    weights: int
    image: int
    one_window: int
    all_windows: int
    free_ram: int


def _stages(model: Model, look: Look) -> list[Model]:
    """Return the models that a run goes through."""
    pays = isinstance(model, TwoStage) or look == "liver"
    finder = finder_of(model) if pays else None
    return [model] if finder is None else [*_stages(finder, look), model]


def _bound(model: Model, volume: CTVolume, device: Device, look: Look) -> _Bounds:
    size = network_bytes(model, model.load_networks)
    groups = Groups(model.output)
    patch = model.windows.patch
    image = largest_image(volume, model.input)
    z, y, x = (max(n, window) for n, window in zip(image, patch, strict=True))
    known = look == "everywhere" and model.input.crop == "none"
    most, least = (
        make_plan(model, size, device, shape, MOST_WINDOWS, 1, volume.hu.size)
        for shape in ((z, y, x), (z, y, x) if known else patch)
    )
    logits = groups.kept.channels * z * y * x
    most_ram = most.ram_bytes
    if most.dtype == torch.half:
        # A part of this image may be small enough to be kept in full precision.
        most_ram += max(MOST_FLOAT_LOGITS - HALF * logits, 0)
    one_window = size.weights + OVERHEAD + size.window
    return _Bounds(
        least_ram=least.ram_bytes,
        most_ram=most_ram,
        weights=size.weights,
        image=FLOAT * math.prod(image),
        one_window=one_window,
        # The sums are a part of the main memory that a run may take instead.
        all_windows=one_window + (MOST_WINDOWS - 1) * size.window + most_ram,
        free_ram=most.free_ram_bytes,
    )

"""What a run will need, told before it starts and refused when it cannot fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import torch

from napari_liverseg.core.errors import DeviceError
from napari_liverseg.inference.groups import Groups
from napari_liverseg.inference.sums import DISK
from napari_liverseg.inference.windows import Step

if TYPE_CHECKING:
    from napari_liverseg.inference.devices import Device
    from napari_liverseg.inference.live_memory import NetworkBytes
    from napari_liverseg.models.contract import Model, Shape, Windows

FLOAT, HALF = 4, 2
MOST_FLOAT_LOGITS = 1_000_000_000
"""Logits that would take more bytes are kept in half precision."""

MOST_WINDOWS = 8
"""Windows at once; more keep a GPU no busier."""

OVERHEAD = 250_000_000
"""Bytes for libraries and small buffers."""

SHARE = 0.9
"""Of the free memory that a plan may fill."""

MAPS = 3
"""Bytes that a voxel around the liver takes in the end: two probabilities and the
decision."""

LIVER_SHARE = 0.4
"""Of a CT that the box of a liver takes, at most, in practice."""


@dataclass(frozen=True)
class Plan:
    """How a run uses memory.

    Parameters
    ----------
    device : str
        Where the network runs.
    windows : int
        To run; each is looked at `passes` times.
    passes : int
        Folds times mirror images: the factor in time.
    batch : int
        Windows at once.
    accumulate_on : str
        Where sums are kept.
    dtype : torch.dtype
        Of the logits that are kept.
    ram_bytes, device_bytes : int
        Needed at the worst moment, the CT aside; `device_bytes` is 0 on a CPU.
    free_ram_bytes, free_device_bytes : int
        Free now.
    """

    device: str
    windows: int
    passes: int
    batch: int
    accumulate_on: str
    dtype: torch.dtype
    ram_bytes: int
    device_bytes: int
    free_ram_bytes: int
    free_device_bytes: int

    @property
    def fits(self) -> bool:
        """Whether the run can be begun."""
        on_device = self.device_bytes <= SHARE * self.free_device_bytes
        return self.ram_bytes <= SHARE * self.free_ram_bytes and (
            on_device or self.device == "cpu"
        )

    def steps(self) -> tuple[Step, ...]:
        """Return the ways to run, each needing less memory than the one before."""
        first = Step(self.device, self.batch, self.accumulate_on)
        steps = [first]
        steps += [Step(self.device, n, self.accumulate_on) for n in _halves(self.batch)]
        if self.device != "cpu":
            steps.append(Step(self.device, 1, "cpu"))
            steps.append(Step("cpu", 1, "cpu"))
        steps.append(Step("cpu", 1, DISK))
        return tuple(dict.fromkeys(steps))

    def __str__(self) -> str:
        """Say what is needed and what is free."""
        main = _of(self.ram_bytes, self.free_ram_bytes)
        if self.device == "cpu":
            return f"needs {main}"
        gpu = _of(self.device_bytes, self.free_device_bytes)
        return f"needs {gpu} on {self.device}, and in main memory {main}"

    @property
    def sentence(self) -> str:
        """What to tell before the run."""
        # Not 'windows': to a radiologist these are of width and level.
        parts = "1 part" if self.windows == 1 else f"{self.windows} parts"
        passes = f", each {self.passes} times" if self.passes > 1 else ""
        return f"{parts}{passes}; {self}"


def make_plan(  # noqa: PLR0913 - each is one fact of the run
    model: Model,
    networks: NetworkBytes,
    device: Device,
    image: Shape,
    windows: int,
    passes: int,
    volume_voxels: int,
) -> Plan:
    """Return the plan of a run.

    Parameters
    ----------
    model : Model
    networks : NetworkBytes
    device : Device
        With the memory that is free on it now.
    image : tuple of int
        Voxels ``(z, y, x)`` that the network is moved over.
    windows, passes : int
        See `Plan`.
    volume_voxels : int
        Voxels of the CT.
    """
    groups = Groups(model.output)
    voxels = math.prod(image)
    kept = groups.kept.channels * voxels
    dtype = torch.float32 if kept * FLOAT <= MOST_FLOAT_LOGITS else torch.half
    size = FLOAT if dtype == torch.float32 else HALF
    sums = kept * size + _row_bytes(model.windows, groups.channels, image)
    weights, window = networks.weights, networks.window
    # The image, the probability that finds the box, and what is found in the box.
    ram = 2 * FLOAT * voxels + found_bytes(volume_voxels) + OVERHEAD
    free_ram = int(psutil.virtual_memory().available)
    if device.kind == "cpu":
        # Compiled, a network has its weights twice: as they came, and in order.
        return Plan(
            "cpu", windows, passes, 1, "cpu", dtype,
            ram + sums + 2 * weights + window, 0, free_ram, 0,
        )  # fmt: skip
    room = int(SHARE * device.free_bytes) - weights - OVERHEAD
    # Where the sums are, the image is too.
    kept_there = sums + FLOAT * voxels
    on_device = kept_there + window <= room
    beside = kept_there if on_device else 0
    batch = max(min((room - beside) // max(window, 1), MOST_WINDOWS, windows), 1)
    needed = weights + OVERHEAD + batch * window + beside
    return Plan(
        device.name, windows, passes, int(batch), device.name if on_device else "cpu",
        dtype, ram + sums, needed, free_ram, device.free_bytes,
    )  # fmt: skip


def found_bytes(volume_voxels: int) -> int:
    """Return what the maps of a run on a CT take, guessed before the liver is found."""
    return MAPS * int(LIVER_SHARE * volume_voxels)


def refuse_unless_it_fits(plan: Plan) -> None:
    """Raise a sentence when a run cannot fit.

    Raises
    ------
    DeviceError
        With what would fit.
    """
    if plan.fits:
        return
    found = f"This run does not fit into memory: it {plan}."
    step = "Close other programs, or look at the liver alone ('More')."
    if plan.ram_bytes <= SHARE * plan.free_ram_bytes:
        step = "Choose the device 'cpu', which has enough memory."
    raise DeviceError(found, step)


def _row_bytes(windows: Windows, channels: int, image: Shape) -> int:
    """Return the bytes of the rows that are open at once, at both fronts."""
    deep = min(windows.patch[0], max(image[0], 1))
    step = max(int(windows.patch[0] * (1 - windows.overlap)), 1)
    count = min(2 * math.ceil(windows.patch[0] / step), math.ceil(image[0] / step) + 1)
    plane = max(image[1], windows.patch[1]) * max(image[2], windows.patch[2])
    return FLOAT * (channels + 1) * deep * plane * count


def _halves(batch: int) -> list[int]:
    halves = []
    while batch > 1:
        batch //= 2
        halves.append(batch)
    return halves


def _of(needed: int, free: int) -> str:
    return f"{gigabytes(needed)}, {gigabytes(free)} free"


def gigabytes(size: int) -> str:
    """Return bytes in the words of a plan."""
    return f"{size / 1e9:.1f} GB"

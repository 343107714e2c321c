"""Where a training runs: devices, processes, number format."""

from __future__ import annotations

import datetime
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.plugins.environments import (
    LightningEnvironment,
    SLURMEnvironment,
)
from lightning.pytorch.strategies import DDPStrategy

from napari_liverseg.core.errors import DeviceError
from napari_liverseg.inference.fallback import is_out_of_memory
from napari_liverseg.inference.precision import multiplies_bf16
from napari_liverseg.training.cores import usable_cores
from napari_liverseg.training.launch import (
    by_torchrun,
    cores_of_task,
    processes,
    slurm_tasks,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

WAIT = datetime.timedelta(hours=12)
"""How long a process waits for one that still measures its cases."""

MOST_WORKERS = 16

LOST_WORKER = "DataLoader worker"
"""How PyTorch begins to say that one was ended: by the system, or for want of memory
that processes share, of which containers have little."""

BETWEEN_PROCESSES = ("gloo", "NCCL")
"""Words in what is said of a process that others wait for in vain."""


@dataclass(frozen=True)
class Place:
    """Where a training runs.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    devices : int
        Processes on this computer, one a GPU; on a CPU so many processes.
    workers : int or None
        Processes beside each of them that draw patches; None takes what the
        processor has to spare, of the cores that this process may use.
    """

    device: str = "auto"
    devices: int = 1
    workers: int | None = None

    @property
    def kind(self) -> str:
        """``cpu``, ``cuda`` or ``mps``.

        Raises
        ------
        DeviceError
            When there are fewer GPUs than asked for, or none, or not this one.
        """
        kind, _, number = self.device.partition(":")
        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if kind == "auto":
            kind = "cuda" if gpus else "cpu"
        if kind == "cuda" and gpus < self.devices:
            found = f"{self.devices} GPUs were asked for, and PyTorch sees {gpus}."
            raise DeviceError(found, "Ask for fewer --devices, or --device cpu.")
        if kind == "cuda" and number and int(number) >= gpus:
            found = f"The device '{self.device}' is not there: PyTorch sees {gpus}."
            raise DeviceError(found, f"Choose one of cuda:0 to cuda:{gpus - 1}.")
        if kind == "mps" and not torch.backends.mps.is_available():
            found = "The device 'mps' is not there: PyTorch sees no Apple GPU."
            raise DeviceError(found, "Train with --device cpu.")
        return kind

    @property
    def one(self) -> str:
        """The device of the first process, by its number where one was asked for."""
        kind = self.kind
        return self.device if self.device.partition(":")[0] == kind else kind

    @property
    def drawing(self) -> int:
        """How many processes draw patches beside each training process."""
        if self.workers is not None:
            return self.workers
        here, _ = processes(os.environ, self.devices)
        cores, own = usable_cores(), cores_of_task(os.environ)
        # SLURM may have bound this process to its own cores, or to those of all.
        mine = cores // here if own is None else min(cores, own)
        return max(0, min(mine - 1, MOST_WORKERS))

    @property
    def world(self) -> int:
        """How many processes train together, on all computers."""
        here, nodes = processes(os.environ, self.devices)
        return here * nodes

    def trainer_options(self) -> dict[str, Any]:
        """Return what Lightning's Trainer is told of devices and processes."""
        devices, nodes = processes(os.environ, self.devices)
        kind = self.kind
        options: dict[str, Any] = {
            "accelerator": "gpu" if kind == "cuda" else kind,
            "devices": devices,
            "num_nodes": nodes,
        }
        if kind == "cuda" and ":" in self.device and devices == 1:
            options["devices"] = [int(self.device.partition(":")[2])]
        if devices * nodes > 1:
            options["strategy"] = DDPStrategy(timeout=WAIT)
        if "SLURM_JOB_ID" in os.environ and not by_torchrun(os.environ):
            # Saving on a signal is our own; a job is queued again by its script.
            slurm = slurm_tasks(os.environ) > 1
            plugin = SLURMEnvironment(auto_requeue=False) if slurm else None
            options["plugins"] = [plugin or LightningEnvironment()]
        return options


@contextmanager
def enough_memory(kind: str) -> Iterator[None]:
    """Say in a sentence that memory, or a process beside this one, was lost.

    Parameters
    ----------
    kind : {'cpu', 'cuda', 'mps'}

    Raises
    ------
    DeviceError
        In place of an error that means this; others pass through.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if LOST_WORKER in str(error):
            found = "A process that draws patches has ended early; memory may be short."
            step = "Close other programs, and go on with --resume --workers 0."
            raise DeviceError(found, step) from error
        if any(word in str(error) for word in BETWEEN_PROCESSES):
            found = "Another process of this training has ended, or is out of reach."
            raise DeviceError(
                found, "See what it says; go on with --resume."
            ) from error
        if not is_out_of_memory(error):
            raise
        found = f"There is not enough memory on '{kind}' for this training."
        step = (
            "Close other programs and go on with --resume; or take a smaller batch, "
            "such as --set batch=1, or a smaller patch, and train into another folder."
        )
        raise DeviceError(found, step) from error


def precision_for(wanted: str, kind: str) -> str:
    """Return Lightning's name of a number format, refused where it does not pay.

    Parameters
    ----------
    wanted : {'auto', 'fp32', 'bf16', 'fp16'}
    kind : {'cpu', 'cuda', 'mps'}

    Raises
    ------
    DeviceError
        When the device does not compute it in hardware.
    """
    if wanted == "auto":
        # On a CPU fp32 gives the same bits every time.
        return "bf16-mixed" if kind == "cuda" and multiplies_bf16(kind) else "32-true"
    if wanted == "bf16":
        is_there = multiplies_bf16(kind)
    else:
        is_there = wanted == "fp32" or kind == "cuda"
    if not is_there:
        raise _lacks(wanted, kind)
    return {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[wanted]


def _lacks(wanted: str, kind: str) -> DeviceError:
    found = f"The recipe asks for {wanted}, which the device '{kind}' does not have."
    return DeviceError(found, "Set precision to auto or fp32 in the recipe.")

"""Where a network can run, asked without loading PyTorch before it is needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from napari_liverseg.core.errors import DeviceError

if TYPE_CHECKING:
    from types import ModuleType

CHOICES = ("auto", "cpu", "cuda", "mps")
"""Names that `resolve` takes, beside ``cuda:0``, ``cuda:1`` and so on."""


@dataclass(frozen=True)
class Device:
    """One place where a network can run.

    Parameters
    ----------
    name : str
        ``cpu``, ``mps`` or ``cuda:N``.
    title : str
        What its maker calls it.
    free_bytes, total_bytes : int
        Memory when the device was asked.
    """

    name: str
    title: str
    free_bytes: int
    total_bytes: int

    @property
    def kind(self) -> str:
        """``cpu``, ``mps`` or ``cuda``."""
        return self.name.partition(":")[0]

    def __str__(self) -> str:
        """Describe the device for a list."""
        return f"{self.name} ({self.title}, {self.free_bytes / 1e9:.1f} GB free)"


def available_devices() -> tuple[Device, ...]:
    """Return what this computer has, the fastest kind first, ``cpu`` last.

    Raises
    ------
    DeviceError
        When PyTorch cannot be loaded.
    """
    torch = load_torch()
    found = [_cuda(torch, i) for i in range(_cuda_count(torch))]
    found.sort(key=lambda device: -device.free_bytes)
    if torch.backends.mps.is_available():
        found.append(_in_main_memory("mps", "Apple GPU"))
    return (*found, _in_main_memory("cpu", "processor"))


def resolve(name: str = "auto") -> Device:
    """Return the device of a name.

    Parameters
    ----------
    name : str
        ``auto`` (cuda, then mps, then cpu), ``cpu``, ``mps``, ``cuda`` (the one
        with the most free memory) or ``cuda:N``.

    Raises
    ------
    DeviceError
        When the name is unknown, the device is missing, or PyTorch cannot be
        loaded.
    """
    wanted = name.strip().lower()
    kind, _, number = wanted.partition(":")
    numbered = kind == "cuda" and number.isascii() and number.isdigit()
    if wanted not in CHOICES and not numbered:
        found = f"There is no kind of device called '{name}'."
        raise DeviceError(found, f"Choose one of: {', '.join(CHOICES)}, cuda:0.")
    if numbered:
        wanted = f"cuda:{int(number)}"
    devices = available_devices()
    for device in devices:
        if wanted in ("auto", device.name, device.kind):
            return device
    names = ", ".join(device.name for device in devices)
    raise DeviceError(_missing(kind, wanted), f"Choose one of: {names}.")


def wait_for(name: str) -> None:
    """Wait until a device, as torch names it, has done all that it was given."""
    torch = load_torch()
    kind = torch.device(name).type
    if kind == "cuda":
        torch.cuda.synchronize(name)
    elif kind == "mps":
        torch.mps.synchronize()


def load_torch() -> ModuleType:
    """Return the module `torch`.

    Raises
    ------
    DeviceError
        When it cannot be loaded, with what to do about it.
    """
    try:
        import torch
    except (ImportError, OSError) as error:
        found = f"PyTorch could not be loaded ({error})."
        raise DeviceError(found, _repair(error)) from error
    return torch


def _repair(error: Exception) -> str:
    """Return what helps; Windows fails with 1114 when Qt was loaded before torch."""
    if "1114" in str(error) or getattr(error, "winerror", None) == 1114:
        return (
            "Close napari and start it with 'napari-liverseg view', which loads "
            "PyTorch before the window; if that fails too, install the current "
            "Microsoft Visual C++ Redistributable."
        )
    return "Install PyTorch again: pip install --force-reinstall torch"


def _missing(kind: str, wanted: str) -> str:
    if kind == "cuda":
        return f"The device '{wanted}' is not there: PyTorch sees no such NVIDIA GPU."
    return f"The device '{wanted}' is not there: PyTorch sees no Apple GPU."


def _cuda_count(torch: ModuleType) -> int:
    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0


def _cuda(torch: ModuleType, index: int) -> Device:
    free, total = torch.cuda.mem_get_info(index)
    held = torch.cuda.memory_reserved(index)
    allowed = int(torch.cuda.get_per_process_memory_fraction(index) * total)
    # What torch holds and does not use, such as an earlier run's, is ours to take.
    idle = held - torch.cuda.memory_allocated(index)
    free = max(min(free, allowed - held), 0) + idle
    title = torch.cuda.get_device_name(index)
    return Device(f"cuda:{index}", title, int(free), int(total))


def _in_main_memory(name: str, title: str) -> Device:
    memory = psutil.virtual_memory()
    return Device(name, title, int(memory.available), int(memory.total))

"""What a GPU needs that a CPU does not: to be capped and described."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


def is_cuda(device: str) -> bool:
    """Whether a device, as torch names it, is an NVIDIA GPU."""
    return torch.device(device).type == "cuda"


@contextmanager
def capped(device: str, most_bytes: int) -> Iterator[bool]:
    """Let this process take no more of a GPU's memory; yield whether it is capped."""
    if not is_cuda(device):
        yield False
        return
    total = torch.cuda.get_device_properties(device).total_memory
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    torch.cuda.set_per_process_memory_fraction(min(most_bytes / total, 1.0), device)
    try:
        yield most_bytes < total
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def peaks(device: str) -> dict[str, float]:
    """Return the most memory in use, and held by torch, since a cap was set, in GB."""
    if not is_cuda(device):
        return {}
    return {
        "peak_used_gb": torch.cuda.max_memory_allocated(device) / 1e9,
        "peak_held_gb": torch.cuda.max_memory_reserved(device) / 1e9,
    }


def describe(device: str) -> dict[str, Any]:
    """Return what a device is and what drives it."""
    if not is_cuda(device):
        return {"device": device}
    card = torch.cuda.get_device_properties(device)
    return {
        "device": device,
        "name": card.name,
        "memory_gb": card.total_memory / 1e9,
        "multiprocessors": card.multi_processor_count,
        "capability": f"{card.major}.{card.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
    }

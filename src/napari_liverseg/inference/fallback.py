"""What to try next when memory runs out, and how to tell that it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_liverseg.core.errors import DeviceError
from napari_liverseg.inference.sums import DISK

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_liverseg.inference.windows import Step

_SIGNS = ("out of memory", "not enough memory", "can't allocate memory", "be oom.")
"""Words of CUDA, of PyTorch's CPU allocator on Windows and Linux, and of MONAI."""


def first_that_fits(
    steps: tuple[Step, ...], attempt: Callable[[Step], torch.Tensor]
) -> tuple[torch.Tensor, Step, tuple[str, ...]]:
    """Return the first result that memory allows, how it was got, and notes.

    Parameters
    ----------
    steps : tuple of Step
        From the fastest to the most modest.
    attempt : callable
        Runs one step, and goes on where the one before it stopped; errors other
        than lack of memory pass through.

    Raises
    ------
    DeviceError
        When memory does not suffice for the last step either.
    """
    notes: list[str] = []
    for step, modest in zip(steps, (*steps[1:], None), strict=True):
        result = _unless_out_of_memory(attempt, step)
        if result is not None:
            return result, step, tuple(notes)
        if modest is not None:
            notes.append(_note(step, modest))
            _release(step.device)
    found = f"There is not enough memory on '{steps[-1].device}' to run the model."
    raise DeviceError(found, "Close other programs, or crop the CT, and run again.")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on whatever device."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in words for sign in _SIGNS)


def _unless_out_of_memory(
    attempt: Callable[[Step], torch.Tensor], step: Step
) -> torch.Tensor | None:
    """Return the result or None; on return the error, and what it held, is gone."""
    try:
        return attempt(step)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def _note(step: Step, modest: Step) -> str:
    if modest.device != step.device:
        how = f"the model ran on '{modest.device}' instead, which takes longer"
    elif modest.accumulate_on != step.accumulate_on:
        where = "on the disk" if modest.accumulate_on == DISK else "in main memory"
        how = f"results were kept {where}"
    else:
        how = f"windows were run {_times(modest.batch)} at a time"
    return f"Memory of '{step.device}' ran out: {how}."


def _times(batch: int) -> str:
    return "one" if batch == 1 else str(batch)


def _release(device: str) -> None:
    """Give cached memory back, since the next step may need it elsewhere."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()

"""A network over a volume larger than it can see at once, window by window."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from monai.inferers import sliding_window_inference

from napari_liverseg.core.progress import stop_if
from napari_liverseg.inference.preprocessing import AIR

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.inference.preprocessing import Shape
    from napari_liverseg.models.spec import ModelSpec

Network = torch.nn.Module


@dataclass(frozen=True)
class Step:
    """How to run: where the network is, how many windows at once, where sums are."""

    device: str
    batch: int
    accumulate_on: str


@dataclass
class Tally:
    """Windows done and time left, told without ever running backwards.

    Parameters
    ----------
    total : int
        Windows of one whole run.
    on_progress, is_cancelled : callable
        See `napari_liverseg.core.progress`.
    """

    total: int
    on_progress: OnProgress
    is_cancelled: IsCancelled
    told: int = 0
    done: int = 0
    started: float = field(default_factory=time.perf_counter)

    def restart(self) -> None:
        """Begin again from the first window."""
        self.done, self.started = 0, time.perf_counter()

    def before_batch(self) -> None:
        """Raise `CancelledError` when the user asked to stop."""
        stop_if(self.is_cancelled)

    def after_batch(self, windows: int) -> None:
        """Tell how far the run is."""
        self.done += windows
        self.told = max(self.told, self.done)
        passed = time.perf_counter() - self.started
        left = remaining(passed / self.done * (self.total - self.done))
        text = f"Segmenting: window {self.done} of {self.total}, {left} left"
        self.on_progress(self.told, self.total + 1, text)


def slide(
    network: Network, image: torch.Tensor, model: ModelSpec, step: Step, tally: Tally
) -> torch.Tensor:
    """Return the network's logits on a whole image, windows blended by a Gaussian.

    Parameters
    ----------
    network : Module
        On ``step.device``; maps ``(n, 1, z, y, x)`` to ``(n, 3, z, y, x)``.
    image : Tensor, float32, shape (z, y, x)
        Normalised CT on the model's grid, on the CPU; where it is smaller than
        a window it is padded with air.
    model : ModelSpec
        Window and overlap.
    step : Step
        Where and with how many windows at once.
    tally : Tally
        Told and asked once per batch.

    Returns
    -------
    Tensor, float32, shape (3, z, y, x)
        On ``step.accumulate_on``.

    Raises
    ------
    CancelledError
        Before the next batch once the user asked to stop.
    """

    def run(windows: torch.Tensor) -> torch.Tensor:
        tally.before_batch()
        logits = cast("torch.Tensor", network(windows))
        tally.after_batch(windows.shape[0])
        return logits

    infer = cast("Callable[..., torch.Tensor]", sliding_window_inference)
    logits = infer(
        inputs=image[None, None],
        roi_size=model.patch,
        sw_batch_size=step.batch,
        predictor=run,
        overlap=model.overlap,
        mode="gaussian",
        padding_mode="constant",
        cval=AIR,
        sw_device=torch.device(step.device),
        device=torch.device(step.accumulate_on),
    )
    return logits[0]


def count_windows(shape: Shape, patch: Shape, overlap: float) -> int:
    """Return how many windows `slide` runs over a volume.

    Parameters
    ----------
    shape, patch : tuple of int
        Voxels ``(z, y, x)`` of the volume and of a window.
    overlap : float
        Share of a window covered again by the next.
    """
    counts = [1]
    for size, window in zip(shape, patch, strict=True):
        stride = max(int(window * (1 - overlap)), 1)
        counts.append(1 + max(0, -(-(size - window) // stride)))
    return int(np.prod(counts))


def remaining(seconds: float) -> str:
    """Return a duration in the words of a progress bar."""
    if seconds < 1:
        return "less than a second"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min"

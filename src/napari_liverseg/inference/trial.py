"""How fast a way of computing is on windows, and which labels come of it."""

from __future__ import annotations

import statistics
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from napari_liverseg.core.progress import stop_if
from napari_liverseg.inference.beliefs import decide_plane
from napari_liverseg.inference.devices import wait_for
from napari_liverseg.inference.groups import Groups
from napari_liverseg.inference.runner import Recipe, Runner

if TYPE_CHECKING:
    from napari_liverseg.core.progress import IsCancelled
    from napari_liverseg.inference.predictor import Predictor
    from napari_liverseg.models.contract import Output

REPEATS, MOST_REPEATS, ENOUGH_S = 3, 9, 0.5
"""Repeats of each way: more than the least until they took so long together. A batch
takes a GPU milliseconds, of which single ones say little."""

AGREEING = 0.999
"""Share of the windows' foreground, and of their voxels, that must keep its label."""


class Trial:
    """Windows on which ways of computing a model are tried.

    Parameters
    ----------
    predictor : Predictor
    windows : Tensor, float32, shape (n, 1, z, y, x)
        Normalised. The first is timed, of all the labels are told.
    batch : int
        How many the network sees at once.
    is_cancelled : callable
        Asked before each batch.
    """

    def __init__(
        self,
        predictor: Predictor,
        windows: torch.Tensor,
        batch: int,
        is_cancelled: IsCancelled,
    ) -> None:
        self._networks = predictor.networks[:1]
        self._device = predictor.device.name
        self._output = predictor.model.output
        self._windows, self._batch = windows, batch
        self._is_cancelled = is_cancelled

    def shows_liver(self) -> bool:
        """Whether the network finds anything in the first window to compare by."""
        try:
            found = labels(self._runner(Recipe())(self._windows[:1]), self._output)
        except (RuntimeError, MemoryError):
            return False
        return found is not None and bool((found > 0).any())

    def run(
        self, recipe: Recipe, worth: float = float("inf")
    ) -> tuple[float, torch.Tensor | None]:
        """Return seconds a window, and the labels of all windows.

        Seconds are infinite where it fails; there are no labels where it says no
        numbers, or takes `worth` or longer.
        """
        try:
            runner = self._runner(recipe)
            seconds = self._time(runner)
            return seconds, self._label(runner) if seconds < worth else None
        except (RuntimeError, MemoryError):
            return float("inf"), None

    def _runner(self, recipe: Recipe) -> Runner:
        return Runner(self._networks, recipe=recipe).to(self._device)

    def _time(self, runner: Runner) -> float:
        # What copies take says nothing about the network.
        windows = self._filled(self._windows[:1]).to(self._device)
        times: list[float] = []
        while len(times) < REPEATS or (
            len(times) < MOST_REPEATS and sum(times) < ENOUGH_S
        ):
            stop_if(self._is_cancelled)
            wait_for(self._device)
            started = perf_counter()
            runner(windows)
            wait_for(self._device)
            times.append(perf_counter() - started)
        return statistics.median(times[1:]) / self._batch

    def _label(self, runner: Runner) -> torch.Tensor | None:
        every = []
        for some in torch.split(self._windows, self._batch):
            stop_if(self._is_cancelled)
            found = labels(runner(self._filled(some))[: len(some)], self._output)
            if found is None:
                return None
            every.append(found)
        return torch.cat(every)

    def _filled(self, windows: torch.Tensor) -> torch.Tensor:
        """Return as many windows as a batch has, the last one again and again."""
        missing = self._batch - len(windows)
        return torch.cat([windows, windows[-1:].expand(missing, -1, -1, -1, -1)])


def agree(found: torch.Tensor, reference: torch.Tensor) -> bool:
    """Whether labels agree, those of the foreground too, of which there is less.

    Parameters
    ----------
    found, reference : Tensor of uint8, of one shape
    """
    both = ((found > 0) & (found == reference)).sum()
    foreground = ((found > 0).sum() + (reference > 0).sum()) / 2
    same = (found == reference).float().mean()
    return bool(same >= AGREEING) and bool(both >= AGREEING * foreground)


def labels(logits: torch.Tensor, output: Output) -> torch.Tensor | None:
    """Return 0 background, 1 liver, 2 tumour, uint8, shape (n, z, y, x).

    Parameters
    ----------
    logits : Tensor, shape (n, channels, z, y, x)
    output : Output

    Returns
    -------
    Tensor or None
        None where some logit is no number.
    """
    if not bool(torch.isfinite(logits).all()):
        return None
    groups = Groups(output)
    decided = []
    for window in logits.cpu():
        planes = list(groups.reduce(window.float()).numpy())
        decided.append(torch.from_numpy(decide_plane(planes, groups.kept)))
    return torch.stack(decided)

"""A network over a volume larger than it can see at once, window by window."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from napari_liverseg.core.progress import stop_if
from napari_liverseg.inference.blending import window_weights
from napari_liverseg.inference.placement import centre_out, count_windows, lay_out
from napari_liverseg.inference.sums import Sums, memory_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_liverseg.core.progress import IsCancelled, OnProgress
    from napari_liverseg.inference.groups import Groups
    from napari_liverseg.inference.placement import Corner, Row
    from napari_liverseg.models.contract import Shape, Windows

    Network = Callable[[torch.Tensor], torch.Tensor]
    OnPlanes = Callable[[torch.Tensor, int, int], None]


@dataclass(frozen=True)
class Step:
    """How to run: where the network is, how many windows at once, where sums are.

    Sums are on a device, or on the disk, see `sums.DISK`.
    """

    device: str
    batch: int
    accumulate_on: str


@dataclass
class Tally:
    """Windows done and time left, told without ever running backwards.

    Parameters
    ----------
    on_progress, is_cancelled : callable
        See `napari_liverseg.core.progress`.
    total : int
        Windows of the whole run.
    """

    on_progress: OnProgress
    is_cancelled: IsCancelled
    total: int = 0
    done: int = 0
    started: float = field(default_factory=time.perf_counter)

    def start(self, total: int) -> None:
        """Begin to count."""
        self.total, self.done, self.started = total, 0, time.perf_counter()

    def before_batch(self) -> None:
        """Raise `CancelledError` when the user asked to stop."""
        stop_if(self.is_cancelled)

    def after_batch(self, windows: int) -> None:
        """Tell how far the run is."""
        self.done += windows
        passed = time.perf_counter() - self.started
        left = remaining(passed / self.done * (self.total - self.done))
        text = f"Segmenting: part {self.done} of {self.total}, {left} left"
        self.on_progress(self.done, self.total + 1, text)


class Sweep:
    """One pass of windows over an image, which goes on where it was interrupted.

    Parameters
    ----------
    image : Tensor, float32, shape (z, y, x)
        Normalised CT on the model's grid; where it is smaller than a window it is
        padded. It is moved to where the sums are.
    windows : Windows
        Smaller ones are taken for an image that does not fill them, see
        `Windows.for_image`.
    groups : Groups
        What is kept of the network's channels.
    region : ndarray of bool, shape (z, y, x), or None
        Windows that hold none of it are not run; what no window saw is background.
    focus : float or None
        Plane from which the sweep works outwards; None is the middle.
    """

    def __init__(
        self,
        image: torch.Tensor,
        windows: Windows,
        groups: Groups,
        *,
        region: NDArray[np.bool_] | None = None,
        focus: float | None = None,
    ) -> None:
        self.windows = windows = windows.for_image(_shape(image))
        self._groups = groups
        self._before, self._image = _pad(image, windows)
        self._shape, shape = _shape(image), _shape(self._image)
        rows = lay_out(shape, windows, _pad_region(region, self._before, shape))
        middle = image.shape[0] / 2 if focus is None else focus
        self.rows = centre_out(rows, windows.patch, middle + self._before[0])
        self.count = count_windows(rows)
        self._left = {row.z: deque(row.corners) for row in rows}
        self._queue = deque(self.rows)
        self._sums: Sums | None = None

    @property
    def shape(self) -> Shape:
        """Voxels ``(z, y, x)`` of the image, padding included."""
        return _shape(self._image)

    def sample(self, count: int) -> torch.Tensor:
        """Return windows from all over the sweep, shape (at most count, 1, z, y, x).

        The first is the middle one of those that are run first.
        """
        corners = [(row.z, y, x) for row in self.rows for y, x in row.corners]
        middle = len(self.rows[0].corners) // 2
        step = max(len(corners) / count, 1.0)
        places = {
            (middle + int(number * step)) % len(corners): None
            for number in range(min(count, len(corners)))
        }
        pz, py, px = self.windows.patch
        cuts = [
            self._image[z : z + pz, y : y + py, x : x + px]
            for z, y, x in (corners[place] for place in places)
        ]
        return torch.stack(cuts)[:, None]

    def slabs(self) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield the plane where some windows begin, and those, (n, 1, z, y, x).

        Planes are counted in the image with its padding.
        """
        for row in self.rows:
            yield row.z, self._batch(row, row.corners)

    def go(
        self,
        network: Network,
        step: Step,
        tally: Tally,
        on_planes: OnPlanes | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        """Run what is left and return the logits, shape (kept channels, z, y, x).

        An error, such as lack of memory, leaves every window that is done
        behind: call again, with a more modest step. Sums take memory from the
        first call on, not before.

        Parameters
        ----------
        network : callable
            Maps ``(n, 1, z, y, x)`` to ``(n, channels, z, y, x)``.
        step : Step
        tally : Tally
            Told and asked once per batch.
        on_planes : callable or None
            Called with ``(logits, start, stop)`` when planes of the image are final.
        dtype : torch.dtype
            Of the logits that are kept; the first call decides.

        Raises
        ------
        CancelledError
            Before the next batch once the user asked to stop.
        """
        keep = step.accumulate_on
        sums = self._sums = self._sums or self._new_sums(dtype, keep)
        sums.move(keep)
        # Windows are cut where the sums are: a GPU then waits for no copy of each.
        self._image = self._image.to(memory_of(keep))
        while self._queue:
            row = self._queue[0]
            left = self._left[row.z]
            sums.open(row)
            while left:
                corners = list(left)[: step.batch]
                tally.before_batch()
                sums.add(row, corners, network(self._batch(row, corners)))
                for _ in corners:
                    left.popleft()
                tally.after_batch(len(corners))
            # Finished before it leaves the queue: when memory runs out here, the next
            # call finishes it.
            finished = sums.finish(row)
            self._queue.popleft()
            for start, stop in finished:
                self._tell(on_planes, self._cut(sums.logits), start, stop)
        return self._cut(sums.logits)

    def _new_sums(self, dtype: torch.dtype, place: str) -> Sums:
        rows = tuple(sorted(self.rows, key=lambda row: row.z))
        weights = window_weights(self.windows)
        return Sums(self.shape, rows, weights, self._groups, dtype, place)

    def _batch(self, row: Row, corners: Sequence[Corner]) -> torch.Tensor:
        pz, py, px = self.windows.patch
        slab = self._image[row.z : row.z + pz]
        windows = [slab[:, y : y + py, x : x + px] for y, x in corners]
        return torch.stack(windows)[:, None]

    def _cut(self, logits: torch.Tensor) -> torch.Tensor:
        """Return logits without the padding."""
        z, y, x = (
            slice(b, b + n) for b, n in zip(self._before, self._shape, strict=True)
        )
        return logits[:, z, y, x]

    def _tell(
        self, on_planes: OnPlanes | None, logits: torch.Tensor, start: int, stop: int
    ) -> None:
        first = max(start - self._before[0], 0)
        last = min(stop - self._before[0], self._shape[0])
        if on_planes is not None and last > first:
            on_planes(logits, first, last)


def slide(
    network: Network,
    image: torch.Tensor,
    windows: Windows,
    groups: Groups,
    step: Step,
) -> torch.Tensor:
    """Return a network's logits on a whole image in one go, see `Sweep`."""
    tally = Tally(lambda *_: None, lambda: False)
    sweep = Sweep(image, windows, groups)
    tally.start(sweep.count)
    return sweep.go(network, step, tally)


def _pad(image: torch.Tensor, windows: Windows) -> tuple[Shape, torch.Tensor]:
    """Return the voxels put before each axis, and the image no smaller than a window.

    The smaller half comes first, as in MONAI and nnU-Net.
    """
    missing = [
        max(window - n, 0) for n, window in zip(image.shape, windows.patch, strict=True)
    ]
    z, y, x = (m // 2 for m in missing)
    if not any(missing):
        return (z, y, x), image
    sides: list[int] = []
    for before, total in zip((x, y, z), reversed(missing), strict=True):
        sides += [before, total - before]
    padded = functional.pad(image, sides, value=windows.padding)
    return (z, y, x), padded


def _pad_region(
    region: NDArray[np.bool_] | None, before: Shape, shape: Shape
) -> NDArray[np.bool_] | None:
    if region is None:
        return None
    lengths = zip(before, region.shape, shape, strict=True)
    return np.pad(region, [(b, whole - b - n) for b, n, whole in lengths])


def _shape(image: torch.Tensor) -> Shape:
    z, y, x = image.shape
    return z, y, x


def remaining(seconds: float) -> str:
    """Return a duration in the words of a progress bar."""
    if seconds < 1:
        return "less than a second"
    if seconds < 90:
        return f"about {seconds:.0f} s"
    return f"about {seconds / 60:.0f} min"

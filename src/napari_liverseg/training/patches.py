"""Training patches by number: the same number gives the same patch, wherever it starts.

Nothing is drawn from a global state, so that an interrupted training goes on with the
patches, and their alterations, that an uninterrupted one would have seen.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from napari_liverseg.training.alter import Alterer
from napari_liverseg.training.drawn_patches import DrawnPatches
from napari_liverseg.training.stop import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from napari_liverseg.core.box import Box
    from napari_liverseg.models.contract import Shape
    from napari_liverseg.synthesis.sample import PatchGrid
    from napari_liverseg.training.prepared_case import PreparedCase
    from napari_liverseg.training.segmentation_recipe import SegmentationRecipe

AIR_HU = -1024
"""Around cases smaller than a patch; inference pads with air too."""

Sample = tuple[torch.Tensor, ...]


class Patches(Dataset[Sample]):
    """Altered patches of the cases that train a fold, and drawn ones where it says so.

    Parameters
    ----------
    cases : sequence of PreparedCase
    grid : PatchGrid
    recipe : SegmentationRecipe
        Its sampling, augmentation, drawn share and seed.
    fold : int
        Folds draw different patches.
    world : int
        Training processes.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        grid: PatchGrid,
        recipe: SegmentationRecipe,
        fold: int,
        world: int = 1,
    ) -> None:
        self.cases, self.patch, self.fold = tuple(cases), grid.shape, fold
        self.sampling, self.seed = recipe.sampling, recipe.seed
        self.alterer = Alterer(recipe.augmentation, self.patch)
        self.drawn = recipe.drawn
        if recipe.drawn is not None:
            seed = (recipe.seed, fold)
            epoch = recipe.steps_per_epoch * recipe.batch * world
            self.drawn_patches = DrawnPatches(
                recipe.drawn, grid, seed, epoch, self.cases
            )

    def __getitem__(self, number: int) -> Sample:
        """Return HU, float32 (1, z, y, x), and labels, uint8 (1, z, y, x).

        Where some are drawn all have weights, uint8 (1, z, y, x), see `synthesis`;
        they are 1 in patches of cases.
        """
        rng = np.random.default_rng((self.seed, self.fold, number))
        if self.drawn is None:
            return self._cut(number, rng)
        if rng.random() < self.drawn.share:
            return self.drawn_patches[number]
        hu, labels = self._cut(number, rng)
        return hu, labels, torch.ones_like(labels)

    def _cut(
        self, number: int, rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        case = self.cases[self._turn(number)]
        centre = self._centre(case, rng)
        plan = self.alterer.plan(rng)
        hu, labels = cut(case, centre, plan.shape)
        return self.alterer.alter(hu, labels, plan)

    def _turn(self, number: int) -> int:
        """Return whose turn it is: every case once, in an order drawn anew each time.

        Of the first patches of a run no case is left out.
        """
        turn, place = divmod(number, len(self.cases))
        rng = np.random.default_rng((self.seed, self.fold, 7, turn))
        return int(rng.permutation(len(self.cases))[place])

    def _centre(
        self, case: PreparedCase, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Return the voxel at the middle of a patch, moved about those drawn."""
        where = rng.random()
        places = None
        if where < self.sampling.lesion and case.lesion.size:
            places = case.lesion
        elif where < self.sampling.lesion + self.sampling.organ:
            places = case.clear if self.patch[0] == 1 else case.organ
        shape = case.labels.shape
        if places is None:
            return np.asarray(rng.integers(shape), np.int64)
        voxel = np.unravel_index(int(rng.choice(places)), shape)
        quarter = np.array(self.patch) // 4
        return np.asarray(voxel + rng.integers(-quarter, quarter + 1), np.int64)


def cut(
    case: PreparedCase, centre: NDArray[np.int64], shape: Shape
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Return a box of a case around a voxel, moved inside it where it fits.

    Parameters
    ----------
    case : PreparedCase
    centre : ndarray of int, shape (3,)
    shape : tuple of int
        Voxels wanted; air is put around smaller cases.

    Returns
    -------
    hu : ndarray of float32, of `shape`
    labels : ndarray of uint8, of `shape`
    """
    box: list[slice] = []
    sides: list[tuple[int, int]] = []
    for middle, wanted, n in zip(centre, shape, case.labels.shape, strict=True):
        missing = max(wanted - n, 0)
        start = int(np.clip(middle - wanted // 2, 0, max(n - wanted, 0)))
        box.append(slice(start, start + min(wanted, n)))
        sides.append((missing // 2, missing - missing // 2))
    inside: Box = (box[0], box[1], box[2])
    hu = np.pad(case.hu[inside], sides, constant_values=AIR_HU)
    return hu.astype(np.float32), np.pad(case.labels[inside], sides)


class Numbers(Sampler[int]):
    """The numbers of the patches of one process, from a step of the training on.

    Parameters
    ----------
    steps_per_epoch, batch : int
    rank, world : int
        Which of how many processes this is; together they see every number once.
    first_step : int
        Where the training begins or goes on.
    """

    def __init__(
        self, steps_per_epoch: int, batch: int, rank: int, world: int, first_step: int
    ) -> None:
        self.steps_per_epoch, self.batch = steps_per_epoch, batch
        self.rank, self.world, self.step = rank, world, first_step

    def set_epoch(self, epoch: int) -> None:
        """Begin a new epoch, unless this one is only gone on with."""
        if self.step // self.steps_per_epoch != epoch:
            self.step = epoch * self.steps_per_epoch

    def __len__(self) -> int:
        return self.steps_per_epoch * self.batch

    def __iter__(self) -> Iterator[int]:
        end = (self.step // self.steps_per_epoch + 1) * self.steps_per_epoch
        for step in range(self.step, end):
            first = (step * self.world + self.rank) * self.batch
            yield from range(first, first + self.batch)


class PatchLoader(DataLoader[Sample]):
    """Batches of patches; Lightning asks it for a state, which the step is."""

    def state_dict(self) -> dict[str, int]:
        """Return nothing: the checkpoint's step says where to go on."""
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Take nothing; `Numbers` was made with the step to go on from."""


def make_loader(
    patches: Patches, numbers: Numbers, workers: int, pin: Callable[[], bool]
) -> PatchLoader:
    """Return batches of patches, drawn by so many processes beside the training."""
    return PatchLoader(
        patches,
        batch_size=numbers.batch,
        sampler=numbers,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin(),
        worker_init_fn=_leave_signals_to_the_training,
    )


def _leave_signals_to_the_training(_worker: int) -> None:
    """Ignore Ctrl-C and SIGTERM in a process that draws.

    Terminals and clusters send them to every process; one that draws would end, and
    the training break down instead of saving.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)

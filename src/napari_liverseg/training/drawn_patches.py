"""Training patches that are drawn: altered anatomies, imaged anew, by number."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_liverseg.core.errors import CaseError
from napari_liverseg.synthesis.sample import PatchGrid, draw_sample
from napari_liverseg.training.bodies import (
    atlas_body,
    case_body,
    phantom_body,
    scan_body,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_liverseg.synthesis.body import Body
    from napari_liverseg.training.prepared_case import PreparedCase
    from napari_liverseg.training.segmentation_recipe import Drawn

SHARES = {"scan": 0.14, "slab": 0.12, "atlas": 0.06, "phantom": 0.68}
"""How often each anatomy is drawn where the public ones are at hand."""

SCANS = {
    kind: tuple(
        f"abdomen-3mm/{name}" for name in (f"ct{end}", f"labels{end}", "labels.json")
    )
    for kind, end in {"scan": ".nii.gz", "slab": "_short.nii.gz"}.items()
}
"""An unenhanced CT to the liver's dome, and the lower 9 cm of a portal venous one."""

ATLAS = ("atlas/labels.nrrd", "atlas/names.ctbl")
"""Files of the public anatomies, in their folder."""

VARIANTS = 12
"""Completed or scaled variants of each public anatomy."""

MOST_CASES = 4
"""Bodies of cases that are drawn from at a time: each takes tens of megabytes."""

LANES = 32
"""A patch takes its anatomy from the lane of its place in the epoch, and each lane has
one phantom at a time. Processes that take turns in drawing the batches of an epoch so
share no phantom, as long as their number times that of the patches of a step divides
this. A phantom takes as long to draw as twenty patches."""

PATCHES_PER_PHANTOM = 40
"""After so many numbers of its lane a phantom is replaced."""


def refuse_missing(drawn: Drawn) -> None:
    """Refuse a folder of public anatomies that lacks some of their files.

    Raises
    ------
    CaseError
        Names them.
    """
    if drawn.public is None:
        return
    wanted = dict.fromkeys((*SCANS["scan"], *SCANS["slab"], *ATLAS))
    missing = [n for n in wanted if not (Path(drawn.public) / n).is_file()]
    if missing:
        found = f"The folder of drawn.public lacks {', '.join(missing)}."
        raise CaseError(found, "Choose the right folder, or leave drawn.public out.")


def even_workers(most: int) -> int:
    """Return the largest power of two up to a number of processes: it divides LANES."""
    return 1 << (most.bit_length() - 1) if most > 0 else 0


class DrawnPatches:
    """Patches of one seed: the same number gives the same patch.

    Parameters
    ----------
    drawn : Drawn
    grid : PatchGrid
    seed : tuple of int
    epoch : int
        Patches of an epoch, those of all training processes.
    cases : sequence of PreparedCase
        Those that train, on a grid with the patches' spacing.
    """

    def __init__(
        self,
        drawn: Drawn,
        grid: PatchGrid,
        seed: tuple[int, ...],
        epoch: int,
        cases: Sequence[PreparedCase] = (),
    ) -> None:
        self.drawn, self.grid, self.seed, self.epoch = drawn, grid, seed, epoch
        self.cases = tuple(cases)
        self._phantoms: dict[int, tuple[int, Body]] = {}
        self._public: dict[tuple[str, int], Body] = {}
        self._cases: dict[int, Body] = {}
        others = SHARES if drawn.public else {"phantom": 1.0}
        self._shares = {k: share * (1 - drawn.cases) for k, share in others.items()}
        self._shares["case"] = drawn.cases

    def __getitem__(
        self, number: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return HU, float32, labels, uint8, and weights, uint8, each (1, z, y, x)."""
        # Salted: the caller has drawn from the number itself.
        rng = np.random.default_rng((*self.seed, 11, number))
        body = self._draw_body(number, rng)
        sample = draw_sample(body, self.grid, rng, self.drawn.inside)
        hu, labels, weights = (
            torch.from_numpy(part)[None]
            for part in (sample.hu, sample.labels, sample.weights)
        )
        return hu, labels, weights

    def _draw_body(self, number: int, rng: np.random.Generator) -> Body:
        kinds, shares = zip(*self._shares.items(), strict=True)
        kind = kinds[int(rng.choice(len(kinds), p=shares))]
        lane = number % self.epoch % LANES
        if kind == "phantom":
            return self._phantom(lane, number // LANES)
        if kind == "case":
            turn = number // (LANES * PATCHES_PER_PHANTOM)
            return self._case((turn * MOST_CASES + lane % MOST_CASES) % len(self.cases))
        key = (kind, lane % VARIANTS)
        if key not in self._public:
            self._public[key] = self._make(*key)
        return self._public[key]

    def _case(self, which: int) -> Body:
        """Return the body of a case; few are kept, the oldest goes first."""
        if which not in self._cases:
            while len(self._cases) >= MOST_CASES:
                self._cases.pop(next(iter(self._cases)))
            self._cases[which] = self._make("case", which)
        return self._cases[which]

    def _phantom(self, lane: int, turn: int) -> Body:
        """Return a lane's phantom, drawn anew once it has served."""
        # Not all lanes draw a new one at once.
        ahead = lane * PATCHES_PER_PHANTOM // LANES
        generation = (turn + ahead) // PATCHES_PER_PHANTOM
        if lane not in self._phantoms or self._phantoms[lane][0] != generation:
            which = generation * LANES + lane
            self._phantoms[lane] = generation, self._make("phantom", which)
        return self._phantoms[lane][1]

    def _make(self, kind: str, which: int) -> Body:
        if kind == "case":
            return case_body(self.cases[which], self.grid.spacing_mm)
        rng = np.random.default_rng((*self.seed, 1_000_003, which))
        if kind == "phantom" or self.drawn.public is None:
            return phantom_body(rng, self.drawn.phantom_mm)
        folder = Path(self.drawn.public)
        if kind == "atlas":
            labels, names = (folder / name for name in ATLAS)
            return atlas_body(labels, names, rng)
        ct, labels, names = (folder / name for name in SCANS[kind])
        return scan_body(ct, labels, names, rng)

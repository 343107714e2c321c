"""An endless stream of training samples that starts again anywhere."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.data import Dataset

from napari_liverseg.synthesis.sample import PatchGrid, draw_sample
from napari_liverseg.training.bodies import atlas_body, phantom_body, scan_body

if TYPE_CHECKING:
    from pathlib import Path

    from napari_liverseg.synthesis.body import Body


@dataclass(frozen=True)
class Sources:
    """Where anatomies come from.

    Parameters
    ----------
    folder : Path or None
        Holds ``abdomen-3mm`` (a CT with whole-body labels) and ``atlas`` (a
        label map of one abdomen); None trains on phantoms alone.
    shares : tuple of float
        How often the scan, the atlas and a phantom are drawn.
    variants : int
        Completed or scaled variants of the scan and of the atlas.
    phantom_pool : int
        Phantoms that are in use at a time.
    samples_per_phantom : int
        One phantom of the pool is replaced after so many samples.
    phantom_mm : float
        Voxel size of the phantoms' anatomy; the public ones stay at 3 mm.
    inside_share : float
        Share of the samples that are centred inside the liver, see `draw_sample`.
    """

    folder: Path | None
    shares: tuple[float, float, float] = (0.2, 0.06, 0.74)
    variants: int = 12
    phantom_pool: int = 16
    samples_per_phantom: int = 6
    phantom_mm: float = 3.0
    inside_share: float = 0.0


class SampleStream(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Samples by number: the same number and seed give the same sample.

    Parameters
    ----------
    sources : Sources
    grid : PatchGrid
    seed : int
    start, count : int
        Numbers of the first sample and of how many there are.
    """

    def __init__(
        self, sources: Sources, grid: PatchGrid, seed: int, start: int, count: int
    ) -> None:
        self.sources, self.grid, self.seed = sources, grid, seed
        self.start, self.count = start, count
        self._bodies: OrderedDict[tuple[str, int], Body] = OrderedDict()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return HU, shape (1, z, y, x) float32, and labels (z, y, x) uint8."""
        number = self.start + index
        rng = np.random.default_rng((self.seed, number))
        body = self._draw_body(number, rng)
        hu, labels = draw_sample(body, self.grid, rng, self.sources.inside_share)
        return torch.from_numpy(hu)[None], torch.from_numpy(labels)

    def _draw_body(self, number: int, rng: np.random.Generator) -> Body:
        shares = self.sources.shares if self.sources.folder else (0.0, 0.0, 1.0)
        kind = ("scan", "atlas", "phantom")[int(rng.choice(3, p=shares))]
        if kind == "phantom":
            newest = number // self.sources.samples_per_phantom
            which = newest + int(rng.integers(self.sources.phantom_pool))
        else:
            which = int(rng.integers(self.sources.variants))
        return self._body(kind, which)

    def _body(self, kind: str, which: int) -> Body:
        key = (kind, which)
        if key not in self._bodies:
            self._bodies[key] = self._make(kind, which)
        self._bodies.move_to_end(key)
        while len(self._bodies) > 2 * self.sources.variants + self.sources.phantom_pool:
            self._bodies.popitem(last=False)
        return self._bodies[key]

    def _make(self, kind: str, which: int) -> Body:
        rng = np.random.default_rng((self.seed, 1_000_003, which))
        folder = self.sources.folder
        if kind == "phantom" or folder is None:
            return phantom_body(rng, self.sources.phantom_mm)
        if kind == "atlas":
            atlas = folder / "atlas"
            return atlas_body(atlas / "labels.nrrd", atlas / "names.ctbl", rng)
        scan = folder / "abdomen-3mm"
        return scan_body(
            scan / "ct.nii.gz", scan / "labels.nii.gz", scan / "labels.json", rng
        )

"""Altering a training patch as its recipe says, with MONAI's transforms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, pi, radians
from typing import TYPE_CHECKING, Any

import torch
from monai.transforms import (
    Compose,
    Rand3DElasticd,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityFixedMeand,
    RandSimulateLowResolutiond,
)
from monai.utils import convert_to_tensor

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_liverseg.models.contract import Shape
    from napari_liverseg.training.augmentation import Augmentation

IMAGE, LABEL = "image", "label"
BOTH = (IMAGE, LABEL)

ROOM = 1.25
"""Side of what is cut for a patch that will be turned or stretched, in patches: its
corners are then filled with what lies beside it."""


def room_for(patch: Shape) -> Shape:
    """Return the voxels that are cut for a patch that will be turned or stretched.

    A lone slice stays one: with its neighbours the last slice of a case would be moved
    out of the middle, and another one learnt from.
    """
    z, y, x = (n + 2 * ceil(n * (ROOM - 1) / 2) if n > 1 else n for n in patch)
    return z, y, x


@dataclass(frozen=True)
class Plan:
    """What was drawn for one patch.

    Parameters
    ----------
    shape : tuple of int
        What to cut, larger than the patch where it will be turned.
    seed : int
        Of the transforms.
    is_turned, is_scaled, is_elastic : bool
    sigma, shift : float
        Of the deformation, in voxels.
    """

    shape: Shape
    seed: int
    is_turned: bool = False
    is_scaled: bool = False
    is_elastic: bool = False
    sigma: float = 1.0
    shift: float = 0.0

    @property
    def is_moved(self) -> bool:
        """Whether voxels change their place."""
        return self.is_turned or self.is_scaled or self.is_elastic


class Alterer:
    """Alters patches of one shape.

    Parameters
    ----------
    augmentation : Augmentation
    patch : tuple of int
        Voxels ``(z, y, x)`` of what comes out.
    """

    def __init__(self, augmentation: Augmentation, patch: Shape) -> None:
        self.augmentation, self.patch = augmentation, patch

    def plan(self, rng: np.random.Generator) -> Plan:
        """Draw which alterations of place a patch gets, and the seed of the rest."""
        given = self.augmentation
        drawn = rng.random(3)
        chosen = (given.rotation, given.scaling, given.elastic)
        turned, scaled, elastic = (
            bool(d < way.probability) for d, way in zip(drawn, chosen, strict=True)
        )
        moved = turned or scaled or elastic
        seed = int(rng.integers(2**32))
        sigma, shift = (
            float(rng.uniform(*span))
            for span in (given.elastic.sigma, given.elastic.shift)
        )
        shape = room_for(self.patch) if moved else self.patch
        return Plan(shape, seed, turned, scaled, elastic, sigma, shift)

    def alter(
        self, hu: NDArray[np.float32], labels: NDArray[np.uint8], plan: Plan
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return an altered patch.

        Parameters
        ----------
        hu : ndarray of float32, shape of the plan
        labels : ndarray of uint8, shape of the plan
        plan : Plan

        Returns
        -------
        hu : Tensor, float32, shape (1, z, y, x) of the patch
        labels : Tensor, uint8, shape (1, z, y, x)
        """
        sample: Any = {
            IMAGE: torch.from_numpy(hu)[None],
            LABEL: torch.from_numpy(labels)[None],
        }
        steps = [self._move(plan)] if plan.is_moved else []
        together = Compose([*steps, *self._rest])
        together.set_random_state(seed=plan.seed)
        altered = together(sample)
        # Plain tensors: MONAI's own ones, with their history, slow every step down.
        image, label = (convert_to_tensor(altered[key]) for key in BOTH)
        return image.float().contiguous(), label.to(torch.uint8).contiguous()

    def _move(self, plan: Plan) -> Any:
        """Return one transform that turns, stretches and deforms in one step."""
        given = self.augmentation
        nothing = (0.0, 0.0, 0.0)
        angles = tuple(radians(d) for d in given.rotation.degrees)
        low, high = given.scaling.factor
        # The grid of the result is stretched, so the image shrinks by what MONAI adds.
        stretch = ((1 / high - 1, 1 / low - 1),) * 3
        ranges = {
            "rotate_range": angles if plan.is_turned else nothing,
            "scale_range": stretch if plan.is_scaled else nothing,
        }
        common = {
            "keys": BOTH,
            "prob": 1.0,
            "spatial_size": self.patch,
            "mode": ("bilinear", "nearest"),
            "padding_mode": "border",
        }
        if not plan.is_elastic:
            return RandAffined(**common, **ranges)
        magnitude = plan.shift / smoothed_noise(plan.sigma)
        return Rand3DElasticd(
            **common,
            **ranges,
            sigma_range=(plan.sigma, plan.sigma),
            magnitude_range=(magnitude, magnitude),
        )

    @cached_property
    def _rest(self) -> list[Any]:
        """What leaves every voxel in its place, and mirror images."""
        given = self.augmentation
        flips = [
            RandFlipd(BOTH, given.flipping.probability, spatial_axis="zyx".index(axis))
            for axis in given.flipping.axes
        ]
        low, high = given.contrast.factor
        blur = {f"sigma_{axis}": given.blur.sigma for axis in "xyz"}
        return [
            *flips,
            RandGaussianNoised(IMAGE, given.noise.probability, std=given.noise.sd_hu),
            RandGaussianSmoothd(IMAGE, prob=given.blur.probability, **blur),
            RandScaleIntensityFixedMeand(
                IMAGE,
                prob=given.contrast.probability,
                factors=(low - 1, high - 1),
                fixed_mean=True,
            ),
            RandSimulateLowResolutiond(
                IMAGE,
                prob=given.resolution.probability,
                zoom_range=given.resolution.factor,
            ),
        ]


def smoothed_noise(sigma: float) -> float:
    """Return the root mean square of what MONAI deforms by, before its magnitude.

    That is uniform noise from -1 to 1, smoothed by a Gaussian of `sigma` voxels
    along three axes.
    """
    return float((1 / 3) ** 0.5 * (2 * pi**0.5 * sigma) ** -1.5)

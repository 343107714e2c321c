"""How much two masks overlap, voxel by voxel, by the LiTS definitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class VoxelCounts:
    """The four numbers that every overlap measure is made of.

    Parameters
    ----------
    prediction, truth : int
        Voxels of each mask.
    both : int
        Voxels in both masks.
    total : int
        Voxels of the whole volume, background included.
    """

    prediction: int
    truth: int
    both: int
    total: int

    @property
    def either(self) -> int:
        """Voxels in at least one of the masks."""
        return self.prediction + self.truth - self.both


@dataclass(frozen=True)
class Agreement:
    """Overlap of a predicted mask with the truth, all as fractions of 1.

    None means that the measure would divide by an empty mask.

    Parameters
    ----------
    dice : float
        ``2 |P and T| / (|P| + |T|)``; 1 where both masks are empty (as LiTS
        scores it), 0 where one is.
    jaccard : float
        ``|P and T| / |P or T|``; 1 where both masks are empty.
    voe : float
        Volumetric overlap error, ``1 - jaccard``.
    rvd : float or None
        Relative volume difference ``(|T| - |P|) / |P|``: the argument order of
        the LiTS scorer. **Positive where the prediction is too small**, which
        is the reverse of what much of the literature prints. None where the
        prediction is empty.
    sensitivity : float or None
        ``|P and T| / |T|``; None where the truth is empty.
    precision : float or None
        ``|P and T| / |P|``; None where the prediction is empty.
    accuracy : float
        Share of all voxels of the volume on which both agree. Background
        dominates it: it is near 1 for any small structure, and grows with the
        field of view. Never judge a mask by it alone.
    """

    dice: float
    jaccard: float
    voe: float
    rvd: float | None
    sensitivity: float | None
    precision: float | None
    accuracy: float


def count_voxels(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], total: int | None = None
) -> VoxelCounts:
    """Count two masks and what they share.

    Parameters
    ----------
    prediction, truth : ndarray of bool, shape (z, y, x)
        May be a crop that holds every voxel of both masks.
    total : int or None
        Voxels of the whole volume where the masks are a crop of it.
    """
    return VoxelCounts(
        prediction=int(np.count_nonzero(prediction)),
        truth=int(np.count_nonzero(truth)),
        both=int(np.count_nonzero(prediction & truth)),
        total=prediction.size if total is None else total,
    )


def measure_agreement(counts: VoxelCounts) -> Agreement:
    """Turn voxel counts into overlap measures, see `Agreement`."""
    dice = dice_of(counts.both, counts.prediction, counts.truth)
    jaccard = counts.both / counts.either if counts.either else 1.0
    return Agreement(
        dice=dice,
        jaccard=jaccard,
        voe=1.0 - jaccard,
        rvd=ratio(counts.truth - counts.prediction, counts.prediction),
        sensitivity=ratio(counts.both, counts.truth),
        precision=ratio(counts.both, counts.prediction),
        accuracy=1.0 - (counts.either - counts.both) / counts.total,
    )


def dice_of(both: int, prediction: int, truth: int) -> float:
    """Return the Dice coefficient of voxel counts; 1 where there are none."""
    return 2.0 * both / (prediction + truth) if prediction + truth else 1.0


def ratio(part: float, whole: float) -> float | None:
    """Return ``part / whole``, or None where the whole is 0."""
    return part / whole if whole else None

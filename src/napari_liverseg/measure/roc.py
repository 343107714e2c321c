"""How well a number tells two groups apart: ROC, its area, a cut-off and its rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import rankdata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

DRAWS = 2000
"""Bootstrap samples; the ends of the interval then move by a few thousandths."""

NORMAL_95 = 1.959964
"""Standard deviations on either side that hold 95 % of a normal distribution."""


@dataclass(frozen=True, eq=False)
class Roc:
    """Rates at each cut-off, from the strictest to the most lenient.

    Parameters
    ----------
    cut_offs : ndarray of float, shape (n,)
        A score counts as positive from here; the first is infinite.
    false_positive_rate, sensitivity : ndarray of float, shape (n,)
    """

    cut_offs: NDArray[np.float64]
    false_positive_rate: NDArray[np.float64]
    sensitivity: NDArray[np.float64]


@dataclass(frozen=True)
class Rates:
    """What a cut-off does, each rate with its 95 % Wilson interval.

    Parameters
    ----------
    sensitivity, specificity : float or None
        None without positives or negatives.
    sensitivity_95, specificity_95 : tuple of float or None
    positives, negatives : int
    """

    sensitivity: float | None
    specificity: float | None
    sensitivity_95: tuple[float, float] | None
    specificity_95: tuple[float, float] | None
    positives: int
    negatives: int


def roc_curve(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> Roc:
    """Return the curve of scores that should be high for positives.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
    positive : ndarray of bool, shape (n,)

    Raises
    ------
    ValueError
        When all or none are positive.
    """
    _refuse_one_group(positive)
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], positive[order]
    last_of_tie = np.flatnonzero(np.append(np.diff(ordered) != 0, True))
    found = np.cumsum(hits)[last_of_tie]
    false = 1 + last_of_tie - found
    return Roc(
        np.concatenate([[np.inf], ordered[last_of_tie]]),
        np.concatenate([[0.0], false / np.count_nonzero(~positive)]),
        np.concatenate([[0.0], found / np.count_nonzero(positive)]),
    )


def auc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Return the chance that a positive scores above a negative, ties counting half.

    Raises
    ------
    ValueError
        When all or none are positive.
    """
    _refuse_one_group(positive)
    count = np.count_nonzero(positive)
    ranks = rankdata(scores)[positive].sum()
    area = (ranks - count * (count + 1) / 2) / (count * (positive.size - count))
    return float(area)


def auc_interval(
    scores: NDArray[np.float64],
    positive: NDArray[np.bool_],
    patients: Sequence[str],
    seed: int = 0,
) -> tuple[float, float] | None:
    """Return the 95 % percentile bootstrap interval of the area, drawing patients.

    Parameters
    ----------
    scores : ndarray of float, shape (n,)
    positive : ndarray of bool, shape (n,)
    patients : sequence of str
        Of each score. Whole patients are drawn: pictures of one are alike.
    seed : int

    Returns
    -------
    tuple of float or None
        None where there is one patient, which says nothing of others, fewer than
        half of the samples hold both groups, or all of them have one area, as where
        nothing is confused: an interval without a width would pass for certainty.
    """
    names, owner = np.unique(np.asarray(patients), return_inverse=True)
    if names.size < 2:
        return None
    own = [np.flatnonzero(owner == number) for number in range(names.size)]
    rng = np.random.default_rng(seed)
    areas = []
    for _ in range(DRAWS):
        drawn = rng.integers(names.size, size=names.size)
        chosen = np.concatenate([own[number] for number in drawn])
        group = positive[chosen]
        if group.any() and not group.all():
            areas.append(auc(scores[chosen], group))
    if len(areas) < DRAWS / 2:
        return None
    low, high = np.percentile(areas, [2.5, 97.5])
    return (float(low), float(high)) if low < high else None


def best_cut_off(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Return the cut-off with the largest sensitivity + specificity (Youden's).

    It lies half-way to the next lower score, so that it does not sit on a score.

    Raises
    ------
    ValueError
        When all or none are positive.
    """
    curve = roc_curve(scores, positive)
    gain = (curve.sensitivity - curve.false_positive_rate)[1:]  # the first finds none
    best = 1 + int(np.argmax(gain))
    at = float(curve.cut_offs[best])
    below = float(curve.cut_offs[best + 1]) if best + 1 < curve.cut_offs.size else 0.0
    return (at + below) / 2


def rates_at(
    cut_off: float, scores: NDArray[np.float64], positive: NDArray[np.bool_]
) -> Rates:
    """Return sensitivity and specificity where scores count from a cut-off on."""
    called = scores >= cut_off
    positives, negatives = int(positive.sum()), int((~positive).sum())
    found = int((called & positive).sum())
    spared = int((~called & ~positive).sum())
    return Rates(
        found / positives if positives else None,
        spared / negatives if negatives else None,
        wilson_95(found, positives),
        wilson_95(spared, negatives),
        positives,
        negatives,
    )


def wilson_95(part: int, whole: int) -> tuple[float, float] | None:
    """Return Wilson's 95 % interval of a share, None where the whole is 0."""
    if not whole:
        return None
    share, z2 = part / whole, NORMAL_95**2
    middle = (share + z2 / (2 * whole)) / (1 + z2 / whole)
    spread = share * (1 - share) / whole + z2 / (4 * whole**2)
    half = NORMAL_95 * float(np.sqrt(spread)) / (1 + z2 / whole)
    return max(0.0, middle - half), min(1.0, middle + half)


def _refuse_one_group(positive: NDArray[np.bool_]) -> None:
    if positive.all() or not positive.any():
        msg = "a ROC needs positives and negatives"
        raise ValueError(msg)

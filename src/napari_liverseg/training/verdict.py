"""What a classifier reaches on pictures of patients that it never saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_liverseg.measure.roc import (
    auc,
    auc_interval,
    best_cut_off,
    rates_at,
    wilson_95,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from napari_liverseg.measure.roc import Rates


@dataclass(frozen=True, eq=False)
class Scores:
    """Probabilities of one class, and the truth.

    Parameters
    ----------
    shares : ndarray of float, shape (n,)
    positive : ndarray of bool, shape (n,)
    patients : tuple of str
    """

    shares: NDArray[np.float64]
    positive: NDArray[np.bool_]
    patients: tuple[str, ...]

    @property
    def has_both(self) -> bool:
        """Whether there are positives and negatives."""
        return bool(self.positive.any()) and not bool(self.positive.all())


@dataclass(frozen=True, eq=False)
class Answers:
    """Probabilities that a network gave, and the truth.

    Parameters
    ----------
    shares : ndarray of float, shape (n, classes)
    labels : ndarray of int, shape (n,)
    patients : tuple of str
    """

    shares: NDArray[np.float64]
    labels: NDArray[np.int64]
    patients: tuple[str, ...]

    def of(self, place: int) -> Scores:
        """Return those of one class, by its number."""
        return Scores(self.shares[:, place], self.labels == place, self.patients)


@dataclass(frozen=True)
class OneClass:
    """How well one class is told from all others.

    Parameters
    ----------
    name : str
    cut_off : float
        Chosen without the test part.
    area : float or None
        Under the ROC of the test part; None where that is all of one group.
    area_95 : tuple of float or None
        By bootstrap over patients.
    rates : Rates
        Of the test part at the cut-off.
    """

    name: str
    cut_off: float
    area: float | None
    area_95: tuple[float, float] | None
    rates: Rates


@dataclass(frozen=True, eq=False)
class Verdict:
    """All figures of the test part.

    Parameters
    ----------
    accuracy : float
        Share of pictures whose likeliest class is theirs; with two classes, whose
        class by the cut-off is.
    accuracy_95 : tuple of float
    classes : tuple of OneClass
        The positive one of two, or each of several.
    confusion : ndarray of int, shape (classes, classes)
        Rows are the truth, columns what was called.
    """

    accuracy: float
    accuracy_95: tuple[float, float]
    classes: tuple[OneClass, ...]
    confusion: NDArray[np.int64]


def judge(
    names: Sequence[str],
    positive: str | None,
    validation: Answers,
    test: Answers,
    seed: int,
) -> Verdict:
    """Choose cut-offs on the validation part, and judge them on the test part.

    Parameters
    ----------
    names : sequence of str
        Of the classes.
    positive : str or None
        Of two classes the one that is looked for; None looks for each of several.
    validation, test : Answers
        Each has pictures of every class.
    seed : int
    """
    wanted = names if positive is None else [positive]
    results = tuple(_one(name, names, validation, test, seed) for name in wanted)
    called = test.shares.argmax(1)
    if positive is not None:
        place = names.index(positive)
        is_called = test.shares[:, place] >= results[0].cut_off
        called = np.where(is_called, place, 1 - place)
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (test.labels, called), 1)
    right = int(np.trace(confusion))
    interval = wilson_95(right, test.labels.size)
    assert interval is not None
    return Verdict(right / test.labels.size, interval, results, confusion)


def tell_apart(name: str, cut_off: float, scores: Scores, seed: int) -> OneClass:
    """Return how well scores tell a class from the rest at a cut-off.

    Parameters
    ----------
    name : str
        Of the class.
    cut_off : float
        Chosen on other pictures.
    scores : Scores
    seed : int
        Of the bootstrap.
    """
    area, interval = None, None
    if scores.has_both:
        given = scores.shares, scores.positive
        area, interval = auc(*given), auc_interval(*given, scores.patients, seed)
    rates = rates_at(cut_off, scores.shares, scores.positive)
    return OneClass(name, cut_off, area, interval, rates)


def _one(
    name: str, names: Sequence[str], validation: Answers, test: Answers, seed: int
) -> OneClass:
    place = names.index(name)
    known = validation.of(place)
    chosen = best_cut_off(known.shares, known.positive)
    return tell_apart(name, chosen, test.of(place), seed)

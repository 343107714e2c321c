"""ROC figures against scikit-learn where it is there, and against hand counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_liverseg.measure.roc import (
    auc,
    auc_interval,
    best_cut_off,
    rates_at,
    roc_curve,
    wilson_95,
)

SCORES = np.array([0.1, 0.4, 0.35, 0.8])
TRUTH = np.array([False, False, True, True])


def test_the_area_of_four_scores_is_three_quarters():
    assert auc(SCORES, TRUTH) == 0.75
    curve = roc_curve(SCORES, TRUTH)
    assert curve.sensitivity.tolist() == [0, 0.5, 0.5, 1, 1]
    assert curve.false_positive_rate.tolist() == [0, 0, 0.5, 0.5, 1]
    area = np.trapezoid(curve.sensitivity, curve.false_positive_rate)
    assert area == pytest.approx(0.75)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_the_area_is_that_under_the_curve_and_the_share_of_ordered_pairs(pairs):
    scores = np.array([score / 5 for score, _ in pairs])
    truth = np.array([is_positive for _, is_positive in pairs])
    if truth.all() or not truth.any():
        with pytest.raises(ValueError, match="positives and negatives"):
            auc(scores, truth)
        return
    high, low = scores[truth][:, None], scores[~truth][None]
    wanted = float(((high > low) + 0.5 * (high == low)).mean())
    curve = roc_curve(scores, truth)
    assert auc(scores, truth) == pytest.approx(wanted)
    area = np.trapezoid(curve.sensitivity, curve.false_positive_rate)
    assert area == pytest.approx(wanted)
    cut_off = best_cut_off(scores, truth)
    rates = rates_at(cut_off, scores, truth)
    best = (curve.sensitivity - curve.false_positive_rate)[1:].max()
    assert rates.sensitivity + rates.specificity - 1 == pytest.approx(best)


def test_the_interval_holds_the_area_and_widens_when_patients_are_few():
    rng = np.random.default_rng(1)
    truth = np.arange(80) % 2 == 0
    scores = np.where(truth, 0.6, 0.4) + 0.2 * rng.standard_normal(80)
    alone = auc_interval(scores, truth, [str(n) for n in range(80)])
    shared = auc_interval(scores, truth, [str(n // 8) for n in range(80)])
    assert alone[0] < auc(scores, truth) < alone[1]
    assert alone == auc_interval(scores, truth, [str(n) for n in range(80)])
    assert shared != alone
    assert auc_interval(scores, truth, ["one", *["two"] * 79]) is not None


def test_one_patient_says_nothing_of_others():
    assert auc_interval(SCORES, TRUTH, ["one"] * 4) is None


def test_rates_without_a_group_are_unknown():
    rates = rates_at(0.5, SCORES, np.zeros(4, bool))
    assert rates.sensitivity is None
    assert rates.specificity == 0.75
    assert wilson_95(0, 0) is None


def test_wilson_of_nine_in_ten():
    low, high = wilson_95(9, 10)
    assert (low, high) == pytest.approx((0.5958, 0.9821), abs=1e-3)


def test_what_is_never_confused_has_no_interval_without_a_width():
    truth = np.array([True, True, False, False])
    patients = [str(number) for number in range(4)]
    assert auc_interval(truth.astype(float), truth, patients) is None
    assert auc_interval(1.0 - truth, truth, patients) is None

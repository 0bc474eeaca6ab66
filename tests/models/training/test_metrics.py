"""The figures, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score

from models.training.metrics import (
    calibration_error_by_chance,
    expected_calibration_error,
    level_scores,
    mean_metric,
    risk_coverage,
)

CLASSES = 6
labels = st.lists(st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=60)


@given(labels)
@settings(max_examples=30, deadline=None)
def test_f1_counts_every_class_of_the_taxonomy_as_scikit_learn_does_when_told_all_labels(
    pairs: list[tuple[int, int]],
) -> None:
    truth, predicted = np.array(pairs, np.int64).T
    scores = level_scores(truth, predicted, np.full(len(truth), 0.5), CLASSES)
    every = list(range(CLASSES))
    assert scores.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert scores.micro_f1 == pytest.approx(f1_score(truth, predicted, labels=every, average="micro"))
    assert scores.macro_f1 == pytest.approx(f1_score(truth, predicted, labels=every, average="macro", zero_division=0))


def test_an_absent_class_counts_nought_and_is_not_left_out() -> None:
    truth = np.array([0, 1])
    assert level_scores(truth, truth, np.ones(2), 2).macro_f1 == 1.0
    assert level_scores(truth, truth, np.ones(2), 10).macro_f1 == pytest.approx(0.2)


def test_the_mean_metric_is_the_mean_of_four() -> None:
    truth, predicted = np.array([0, 1, 2]), np.array([0, 1, 1])
    one = level_scores(truth, truth, np.ones(3), 3)
    two = level_scores(truth, predicted, np.ones(3), 3)
    assert mean_metric(one, two) == pytest.approx((1 + 1 + two.micro_f1 + two.macro_f1) / 4)


def test_no_item_is_no_figure() -> None:
    nothing = np.zeros(0, np.int64)
    with pytest.raises(ValueError, match="no item"):
        level_scores(nothing, nothing, np.zeros(0), 3)


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.array([True, True, True, False, True, False])
    # two bins are in use: four items at 0.95 of which 3/4 are right, two at 0.55 of which 1/2 are
    assert expected_calibration_error(confidence, right) == pytest.approx((4 * 0.20 + 2 * 0.05) / 6)


@pytest.mark.parametrize("items", [1, 20, 1000])
def test_chance_alone_makes_the_mean_deviation_of_a_binomial(items: int) -> None:
    """All answers in one bin: the error is |share right - probability|, whose mean is known."""
    hits = np.arange(items + 1)
    expected = float((stats.binom.pmf(hits, items, 0.7) * np.abs(hits / items - 0.7)).sum())
    spread = float(stats.binom.std(items, 0.7)) / items
    found = calibration_error_by_chance(np.full(items, 0.7), draws=400)
    assert found == pytest.approx(expected, abs=5 * spread / 400**0.5)
    assert found == calibration_error_by_chance(np.full(items, 0.7), draws=400)


def test_certainty_falls_into_the_last_bin() -> None:
    assert expected_calibration_error(np.ones(3), np.ones(3, np.bool_)) == 0.0


def test_risk_at_each_coverage_by_hand() -> None:
    confidence = np.array([0.2, 0.9, 0.6, 0.8])
    right = np.array([False, True, False, True])
    points = risk_coverage(confidence, right, np.array([0.25, 0.5, 0.75, 1.0]))
    assert [(p.coverage, p.threshold, p.risk) for p in points] == [
        (0.25, 0.9, 0.0),
        (0.5, 0.8, 0.0),
        (0.75, 0.6, pytest.approx(1 / 3)),
        (1.0, 0.2, 0.5),
    ]

"""The one definition of every figure: F1 over ALL classes, accuracy, calibration error, risk-coverage."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
DoubleArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LevelScores:
    """Figures of one level. macro_f1 averages over every class, those without a single item too (they count 0)."""

    accuracy: float
    micro_f1: float
    macro_f1: float
    ece: float


def level_scores(truth: IntArray, predicted: IntArray, confidence: DoubleArray, classes: int) -> LevelScores:
    """truth, predicted: [N] class indices; confidence: [N], the predicted class's probability.

    Raises ValueError without a single item.
    """
    if not len(truth):
        raise ValueError("no item to score")
    right = truth == predicted
    hits = np.bincount(truth[right], minlength=classes)
    support = np.bincount(truth, minlength=classes) + np.bincount(predicted, minlength=classes)
    f1 = np.divide(2.0 * hits, support, out=np.zeros(classes), where=support > 0)
    return LevelScores(
        accuracy=float(right.mean()),
        micro_f1=float(2.0 * hits.sum() / support.sum()),
        macro_f1=float(f1.mean()),
        ece=expected_calibration_error(confidence, right),
    )


def mean_metric(level1: LevelScores, level2: LevelScores) -> float:
    """The mean of micro-F1 and macro-F1 of both levels."""
    return (level1.micro_f1 + level1.macro_f1 + level2.micro_f1 + level2.macro_f1) / 4


def expected_calibration_error(confidence: DoubleArray, right: NDArray[np.bool_], bins: int = 15) -> float:
    """Mean |accuracy - confidence| over equal-width bins, weighted by their items (Guo et al. 2017)."""
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gap = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))


def calibration_error_by_chance(confidence: DoubleArray, bins: int = 15, draws: int = 200) -> float:
    """What expected_calibration_error() is on average of answers that are right exactly as often as they say.

    It is above 0, as few items in a bin are never right by just the share they should be, and falls with the root of
    the items: a measured error means something by what it is above this. The same for equal confidences.
    """
    rng = np.random.default_rng(0)
    made = (
        expected_calibration_error(confidence, rng.random(len(confidence)) < confidence, bins) for _ in range(draws)
    )
    return float(np.mean(list(made)))


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """If the `coverage` most confident share were accepted: the share of them that would be wrong."""

    coverage: float
    threshold: float
    risk: float


def risk_coverage(confidence: DoubleArray, right: NDArray[np.bool_], coverages: DoubleArray) -> list[RiskPoint]:
    """The risk at each coverage in (0, 1]; at least one item is accepted."""
    order = np.argsort(-confidence, kind="stable")
    errors = np.cumsum(~right[order])
    points = []
    for coverage in coverages:
        accepted = max(1, round(float(coverage) * len(order)))
        points.append(
            RiskPoint(
                coverage=accepted / len(order),
                threshold=float(confidence[order[accepted - 1]]),
                risk=float(errors[accepted - 1] / accepted),
            )
        )
    return points

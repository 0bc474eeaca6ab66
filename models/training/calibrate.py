"""Temperatures and thresholds from a calibration split: what may be published with at most a target share of it wrong.

A threshold is accepted where the chance that its true risk exceeds the target is at most 1 - confidence, by the exact
binomial (Clopper-Pearson) bound and a fixed sequence of tests (Angelopoulos et al. 2021, Learn then Test). With 95 %
confidence a target of 5 % needs 59 items without an error.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from models.decision.answers import Answers, best_answers
from models.decision.policy import PolicyFile, Temperatures, resolve
from models.decision.probabilities import hierarchical
from models.decision.types import Policy
from models.decision.weigh import Posterior
from models.training.predict import Logits
from schemas.taxonomy import Taxonomy

DoubleArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Target:
    """At most `risk` of what is accepted is wrong, with this `confidence` for each threshold."""

    risk: float = 0.05
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class Threshold:
    """A certified threshold: `accepted` items reached it, `errors` of them wrong; its risk is at most `bound`."""

    value: float
    accepted: int
    errors: int
    bound: float


def risk_bound(errors: ArrayLike, items: ArrayLike, confidence: float) -> DoubleArray:
    """Clopper-Pearson: with this confidence the error rate behind `errors` in `items` is no higher. Elementwise."""
    wrong, of = np.asarray(errors), np.asarray(items)
    # where all are wrong the beta distribution degenerates, to 1
    return np.where(wrong >= of, 1.0, stats.beta.ppf(confidence, wrong + 1, np.maximum(of - wrong, 1)))


def items_needed(target: Target) -> int:
    """How many items without a single error certify the target: 59 for 5 % at 95 %."""
    return int(np.ceil(np.log(1.0 - target.confidence) / np.log(1.0 - target.risk)))


def certify(confidence: DoubleArray, right: BoolArray, target: Target, starts: int = 4) -> Threshold | None:
    """The lowest threshold on `confidence` [N] whose risk is certified, or None.

    The tests and their order follow from the confidences alone: from each of a few starting coverages, ever lower
    thresholds until one fails. Every start spends an equal part of the permitted chance of error, so that one unlucky
    item among the most confident does not end the search in a large group.
    """
    # thresholds lie on a grid, so that what is written in decimals accepts exactly the items counted here
    floored = np.floor(confidence * _GRID) / _GRID
    order = np.argsort(-floored, kind="stable")
    ranked, errors = floored[order], np.cumsum(~right[order])
    cuts = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True)) + 1 if len(ranked) else np.zeros(0, np.int64)
    first_cuts = _starting_places(cuts, items_needed(target), starts)
    if not first_cuts:
        return None
    bounds = risk_bound(errors[cuts - 1], cuts, 1.0 - (1.0 - target.confidence) / len(first_cuts))
    failures = np.append(np.flatnonzero(bounds > target.risk), len(cuts))
    # from each start the sequence runs up to the next failure
    ends = {first: int(failures[np.searchsorted(failures, first)]) for first in first_cuts}
    last = max((end - 1 for first, end in ends.items() if end > first), default=None)
    if last is None:
        return None
    items = int(cuts[last])
    return Threshold(
        value=float(ranked[items - 1]), accepted=items, errors=int(errors[items - 1]), bound=float(bounds[last])
    )


_GRID = 10_000


def _starting_places(cuts: IntArray, needed: int, starts: int) -> list[int]:
    """Places in `cuts` at evenly spread numbers of accepted items, the smallest being as many as a test can need.

    Several starts make each test harder, so a group affords one for every 4 x `needed` items.
    """
    if not len(cuts) or cuts[-1] < needed:
        return []
    affordable = max(1, min(starts, int(cuts[-1]) // (4 * needed)))
    fewest = needed if affordable == 1 else 2 * needed
    wanted = np.linspace(fewest, cuts[-1], affordable, endpoint=False)
    return sorted({int(np.searchsorted(cuts, count)) for count in wanted})


def fit_temperatures(logits: Logits, truth: IntArray, policy: Policy) -> Temperatures:
    """The two temperatures that make the truth most likely. truth: [N] level-2 classes.

    The negative log-likelihood is convex in the inverse temperatures, so where the search starts does not matter.
    """
    rows = np.arange(len(truth))

    def loss(log_inverse: DoubleArray) -> float:
        one, two = (float(np.exp(-value)) for value in log_inverse)
        probabilities = hierarchical(
            logits.level1, logits.level2, replace(policy, temperature_level1=one, temperature_level2=two)
        )
        return float(-np.log(probabilities.level2[rows, truth] + 1e-300).mean())

    found = optimize.minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-_LOG_LIMIT, _LOG_LIMIT)] * 2)
    return Temperatures(level1=float(np.exp(-found.x[0])), level2=float(np.exp(-found.x[1])))


_LOG_LIMIT = float(np.log(20.0))


def calibrate(
    logits: Logits,
    truth: IntArray,
    taxonomy: Taxonomy,
    *,
    target: Target,
    audit_rate: float,
    tail_classes: tuple[str, ...] = (),
) -> PolicyFile:
    """A policy from what the model says of a calibration split and the true level-2 classes, [N].

    Level 2: each class's own threshold where its items certify one, else one for all such classes of its parent, else
    none. Level 1 alone is certified on the items that level 2 leaves over: by class, else one for all such classes.
    """
    draft = PolicyFile(
        taxonomy_id=taxonomy.id,
        level1_thresholds=dict.fromkeys((category.id for category in taxonomy.level1), None),
        level2_thresholds=dict.fromkeys((category.id for category in taxonomy.level2), None),
        tail_classes=tail_classes,
        audit_rate=audit_rate,
        target_risk=target.risk,
    )
    uncalibrated = resolve(draft, taxonomy, policy_id="draft")
    temperature = fit_temperatures(logits, truth, uncalibrated)
    policy = replace(uncalibrated, temperature_level1=temperature.level1, temperature_level2=temperature.level2)
    answers = best_answers(hierarchical(logits.level1, logits.level2, policy), policy)

    level2 = certify_classes(
        confidence=answers.level2_probability,
        right=answers.level2 == truth,
        group=np.where(answers.clear, answers.level2, -1),
        pool=policy.parent,
        target=target,
    )
    left = ~accepted_at_level2(answers, level2)
    level1 = certify_classes(
        confidence=answers.level1_probability,
        right=answers.level1 == policy.parent[truth],
        group=np.where(left, answers.level1, -1),
        pool=np.zeros(policy.n_level1, np.int64),
        target=target,
    )
    return PolicyFile.model_validate(
        draft.model_dump()
        | {
            "temperature": temperature,
            "level1_thresholds": threshold_values([c.id for c in taxonomy.level1], level1),
            "level2_thresholds": threshold_values([c.id for c in taxonomy.level2], level2),
            "calibration": {
                "items": len(truth),
                "confidence": target.confidence,
                "level1": threshold_origins([c.id for c in taxonomy.level1], level1),
                "level2": threshold_origins([c.id for c in taxonomy.level2], level2),
            },
        }
    )


@dataclass(frozen=True, slots=True)
class Certified:
    """A class's threshold and whose items it was certified on."""

    threshold: Threshold
    source: Literal["own", "pooled"]


def certify_classes(
    *, confidence: DoubleArray, right: BoolArray, group: IntArray, pool: IntArray, target: Target
) -> list[Certified | None]:
    """One entry a class. group: [N] the class answered, -1 for items that do not count; pool: [C] who shares."""
    found: list[Certified | None] = []
    for each in range(len(pool)):
        chosen = group == each
        own = certify(confidence[chosen], right[chosen], target)
        found.append(None if own is None else Certified(own, "own"))
    for shared in np.unique(pool):
        members = [each for each in np.flatnonzero(pool == shared).tolist() if found[each] is None]
        chosen = np.isin(group, members)
        together = certify(confidence[chosen], right[chosen], target)
        if together is not None:
            for each in members:
                found[each] = Certified(together, "pooled")
    return found


def accepted_at_level2(answers: Answers | Posterior, certified: list[Certified | None]) -> BoolArray:
    """Which items level 2 is published for."""
    values = np.array([np.inf if each is None else each.threshold.value for each in certified])
    accepted: BoolArray = answers.clear & (answers.level2_probability >= values[answers.level2])
    return accepted


def threshold_values(names: list[str], certified: list[Certified | None]) -> dict[str, float | None]:
    """As policy.json has them: null for a class that is never accepted."""
    return {name: None if each is None else each.threshold.value for name, each in zip(names, certified, strict=True)}


def threshold_origins(names: list[str], certified: list[Certified | None]) -> dict[str, dict[str, Any]]:
    """What each threshold comes from, for people."""
    return {
        name: {"source": each.source, **asdict(each.threshold)} if each else {"source": "none"}
        for name, each in zip(names, certified, strict=True)
    }

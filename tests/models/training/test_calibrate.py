"""Temperatures and thresholds, against independent computations and against what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.risk_control import BinaryClassificationController
from numpy.typing import NDArray
from scipy import stats

from models.decision.decide import decide_many
from models.decision.policy import NEVER, PolicyFile, resolve
from models.decision.probabilities import hierarchical
from models.decision.types import ContentEvidence, Evidence, Route
from models.training.calibrate import (
    Target,
    calibrate,
    certify,
    fit_temperatures,
    items_needed,
    risk_bound,
)
from models.training.predict import Logits
from tests.support.bundles import tiny_taxonomy

TAXONOMY = tiny_taxonomy()
PARENT = np.array(TAXONOMY.parent_index)


def simulated(
    items: int, seed: int, *, sharpness: float = 3.0, spread: float = 2.0
) -> tuple[Logits, NDArray[np.int64]]:
    """Logits of a perfectly calibrated model, made `sharpness` times too sure, and truths drawn from it."""
    random = np.random.default_rng(seed)
    level2 = spread * random.normal(size=(items, len(PARENT)))
    chances = np.exp(level2) / np.exp(level2).sum(1, keepdims=True)
    truth = np.array([random.choice(len(PARENT), p=row) for row in chances])
    level1 = np.zeros((items, len(TAXONOMY.level1)), np.float32)
    return Logits(level1=level1, level2=(sharpness * level2).astype(np.float32)), truth


def test_five_percent_at_95_percent_needs_59_items_without_an_error() -> None:
    assert items_needed(Target(0.05, 0.95)) == 59
    assert risk_bound(0, 59, 0.95) <= 0.05 < risk_bound(0, 58, 0.95)
    sure = np.linspace(0.9, 0.99, 59)
    assert certify(sure, np.ones(59, np.bool_), Target()) is not None
    assert certify(sure[:58], np.ones(58, np.bool_), Target()) is None


@given(st.integers(1, 400), st.data())
def test_the_bound_is_the_exact_binomial_one(items: int, data: st.DataObject) -> None:
    """Clopper-Pearson by its definition: the risk at which so few errors had a chance of 5 %."""
    errors = data.draw(st.integers(0, items - 1))
    bound = risk_bound(errors, items, 0.95)
    assert stats.binom.cdf(errors, items, bound) == pytest.approx(0.05, abs=1e-6)
    assert float(risk_bound(items, items, 0.95)) == 1.0


@given(
    confidences=st.lists(st.integers(0, 40), min_size=0, max_size=300),
    seed=st.integers(0, 10_000),
    chance=st.floats(0.0, 0.3),
)
@settings(deadline=None)
def test_a_certified_threshold_accepts_what_it_counted_and_its_bound_holds(
    confidences: list[int], seed: int, chance: float
) -> None:
    confidence = np.array(confidences, np.float64) / 40
    right = np.random.default_rng(seed).random(len(confidence)) >= chance
    found = certify(confidence, right, Target())
    if found is None:
        return
    accepted = confidence >= np.float64(np.float32(found.value)) - 1e-6
    assert (int(accepted.sum()), int((accepted & ~right).sum())) == (found.accepted, found.errors)
    assert found.bound <= 0.05
    assert stats.binom.cdf(found.errors, found.accepted, 0.05) <= 0.05 + 1e-9


def test_the_promise_is_kept_on_data_never_seen() -> None:
    """Over 200 calibrations on small groups, at most 5 % break their target (with a margin of 99.9 %)."""
    broken = certified = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        confidence = random.beta(6, 1, 300)
        found = certify(confidence, random.random(300) < confidence, Target(0.10, 0.95))
        if found is not None:
            certified += 1
            # confidences have the density 6 p^5, so the true risk above a threshold is known
            broken += 1.0 - (6 / 7) * (1 - found.value**7) / (1 - found.value**6) > 0.10
    assert certified >= 150
    assert broken <= stats.binom.ppf(0.999, certified, 0.05)


def test_mapie_certifies_the_same_risk() -> None:
    """An independent implementation accepts our threshold among those whose precision it controls."""
    random = np.random.default_rng(5)
    confidence = random.beta(6, 1, 800)
    right = random.random(800) < confidence
    ours = certify(confidence, right, Target(0.10, 0.95), starts=1)
    assert ours is not None
    controller = BinaryClassificationController(
        predict_function=lambda x: np.column_stack([1 - x[:, 0], x[:, 0]]),
        risk="precision",
        target_level=0.90,
        confidence_level=0.95,
        list_predict_params=np.array([ours.value]),
        fwer_method="bonferroni",
    )
    controller.calibrate(confidence[:, None], right.astype(int))
    assert len(controller.valid_predict_params) == 1


def test_temperatures_undo_what_made_the_model_too_sure() -> None:
    logits, truth = simulated(6000, 1)
    draft = resolve(
        PolicyFile(
            taxonomy_id=TAXONOMY.id,
            level1_thresholds=dict.fromkeys((c.id for c in TAXONOMY.level1), None),
            level2_thresholds=dict.fromkeys((c.id for c in TAXONOMY.level2), None),
            audit_rate=0.0,
            target_risk=0.05,
        ),
        TAXONOMY,
        policy_id="draft",
    )
    assert fit_temperatures(logits, truth, draft).level2 == pytest.approx(3.0, rel=0.05)


def test_a_policy_publishes_at_most_the_target_share_wrong_on_fresh_items() -> None:
    logits, truth = simulated(4000, 2)
    written = calibrate(logits, truth, TAXONOMY, target=Target(0.10, 0.95), audit_rate=0.02)
    policy = resolve(written, TAXONOMY, policy_id="test")
    fresh, fresh_truth = simulated(20_000, 3)
    decisions = decide_many(
        [
            Evidence(video_id=str(place), revision=0, content=ContentEvidence(level1, level2))
            for place, (level1, level2) in enumerate(zip(fresh.level1, fresh.level2, strict=True))
        ],
        policy,
    )
    wrong = {route: [0, 0] for route in Route}
    for decision, true in zip(decisions, fresh_truth.tolist(), strict=True):
        answer, right = (decision.level2, true) if decision.route is Route.ACCEPT else (decision.level1, PARENT[true])
        wrong[decision.route][int(answer != right)] += 1
    for route in (Route.ACCEPT, Route.ACCEPT_LEVEL1):
        right_count, wrong_count = wrong[route]
        assert right_count + wrong_count > 300
        assert wrong_count / (right_count + wrong_count) <= 0.10


def test_a_class_without_enough_items_shares_its_parents_threshold_or_has_none() -> None:
    logits, truth = simulated(120, 4, spread=4.0)
    few = calibrate(logits, truth, TAXONOMY, target=Target(0.05, 0.95), audit_rate=0.0)
    sources = {each["source"] for each in few.calibration["level2"].values()}
    assert "own" not in sources  # 120 items over 6 classes: no class has 59
    for name, each in few.calibration["level2"].items():
        assert (few.level2_thresholds[name] is None) == (each["source"] == "none")
    resolved = resolve(few, TAXONOMY, policy_id="test")
    shared = resolved.level2_thresholds.reshape(-1, 2)  # two categories a parent
    assert (shared[:, 0] == shared[:, 1]).all()


def test_without_items_nothing_is_ever_accepted() -> None:
    logits, truth = simulated(10, 5)
    written = calibrate(logits, truth, TAXONOMY, target=Target(), audit_rate=0.0)
    policy = resolve(written, TAXONOMY, policy_id="test")
    assert (policy.level1_thresholds == NEVER).all()
    assert (policy.level2_thresholds == NEVER).all()


def test_the_policys_probabilities_are_better_calibrated_than_the_raw_ones() -> None:
    logits, truth = simulated(3000, 6)
    written = calibrate(logits, truth, TAXONOMY, target=Target(), audit_rate=0.0)
    policy = resolve(written, TAXONOMY, policy_id="test")
    fresh, fresh_truth = simulated(3000, 7)
    rows = np.arange(len(fresh_truth))
    calibrated = -np.log(hierarchical(fresh.level1, fresh.level2, policy).level2[rows, fresh_truth]).mean()
    raw = resolve(written.model_copy(update={"temperature": type(written.temperature)()}), TAXONOMY, policy_id="raw")
    uncalibrated = -np.log(hierarchical(fresh.level1, fresh.level2, raw).level2[rows, fresh_truth]).mean()
    assert calibrated < uncalibrated
    assert math.isfinite(calibrated)

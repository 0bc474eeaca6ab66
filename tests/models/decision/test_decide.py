from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.decision.answers import in_audit_sample
from models.decision.decide import decide, decide_many
from models.decision.probabilities import hierarchical
from models.decision.types import Evidence, Policy, Reason, Route
from tests.models.decision.cases import evidences, make_evidence, make_policy, policies

# two verticals of two topics each
PARENT = [0, 0, 1, 1]
SURE = ([6.0, 0.0, 0.0, 0.0], [0.0, 0.0])
SPLIT_SIBLINGS = ([5.0, 4.9, 0.0, 0.0], [0.0, 0.0])
CLUELESS = ([0.0, 0.0, 0.0, 0.0], [0.0, 0.0])


@st.composite
def cases(draw: st.DrawFn) -> tuple[Policy, list[Evidence]]:
    policy = draw(policies())
    return policy, draw(st.lists(evidences(policy), min_size=1, max_size=5))


@given(cases())
def test_deciding_many_is_deciding_each(case: tuple[Policy, list[Evidence]]) -> None:
    policy, batch = case
    assert decide_many(batch, policy) == [decide(each, policy) for each in batch]


@given(cases())
def test_a_decision_follows_its_policy(case: tuple[Policy, list[Evidence]]) -> None:
    policy, batch = case
    for evidence, decision in zip(batch, decide_many(batch, policy), strict=True):
        p = hierarchical([evidence.content.level1_logits], [evidence.content.level2_logits], policy)
        assert decision.level1_probability == p.level1[0].max() == p.level1[0, decision.level1]
        assert decision.level2_probability == p.level2[0].max() == p.level2[0, decision.level2]
        agree = policy.parent[decision.level2] == decision.level1
        sure2 = decision.level2_probability >= float(policy.level2_thresholds[decision.level2])
        sure1 = decision.level1_probability >= float(policy.level1_thresholds[decision.level1])
        clear = agree and decision.margin >= policy.min_margin
        if sure2 and clear:
            assert decision.route is Route.ACCEPT
            assert decision.confidence == decision.level2_probability >= decision.threshold
        else:
            assert decision.route is (Route.ACCEPT_LEVEL1 if sure1 else Route.REVIEW)
            assert decision.confidence == decision.level1_probability
            assert (decision.confidence >= decision.threshold) == sure1
            assert (Reason.LOW_CONFIDENCE in decision.reasons) == (not sure2)
            assert (Reason.LOW_MARGIN in decision.reasons) == (not clear)
            assert (Reason.TAIL_CLASS in decision.reasons) == (decision.level2 in policy.tail_classes)
            assert decision.reasons
        assert decision.audit == (Reason.AUDIT_SAMPLE in decision.reasons)
        assert not (decision.audit and decision.route is Route.REVIEW)


@given(cases())
def test_top_k_is_sorted_and_ties_fall_to_the_first_class(case: tuple[Policy, list[Evidence]]) -> None:
    policy, batch = case
    for evidence, decision in zip(batch, decide_many(batch, policy), strict=True):
        p = hierarchical([evidence.content.level1_logits], [evidence.content.level2_logits], policy).level2[0]
        expected = sorted(enumerate(p.tolist()), key=lambda pair: (-pair[1], pair[0]))
        assert list(decision.top_k) == expected[: policy.top_k]
        assert decision.margin == (expected[0][1] - expected[1][1] if len(expected) > 1 else expected[0][1])


@pytest.mark.parametrize(
    ("logits", "route", "reasons"),
    [
        (SURE, Route.ACCEPT, ()),
        (SPLIT_SIBLINGS, Route.ACCEPT_LEVEL1, (Reason.LOW_CONFIDENCE, Reason.LOW_MARGIN)),
        (CLUELESS, Route.REVIEW, (Reason.LOW_CONFIDENCE, Reason.LOW_MARGIN)),
    ],
)
def test_each_route(logits: tuple[list[float], list[float]], route: Route, reasons: tuple[Reason, ...]) -> None:
    policy = make_policy(PARENT, min_margin=0.1, level2_thresholds=np.full(4, 0.6), level1_thresholds=np.full(2, 0.6))
    decision = decide(make_evidence(*logits), policy)
    assert (decision.route, decision.reasons) == (route, reasons)


def test_levels_that_disagree_are_never_accepted_together() -> None:
    # the best topic is alone in its vertical, while two middling ones add up to more
    policy = make_policy([0, 1, 1], level2_thresholds=np.zeros(3), level1_thresholds=np.zeros(2))
    decision = decide(make_evidence([1.0, 0.8, 0.8], [0.0, 0.0]), policy)
    assert (decision.level1, decision.level2) == (1, 0)
    assert decision.route is Route.ACCEPT_LEVEL1
    assert decision.reasons == (Reason.LOW_MARGIN,)


def test_a_threshold_above_one_is_never_reached() -> None:
    policy = make_policy(PARENT, level2_thresholds=np.full(4, 2.0), tail_classes=frozenset({0}))
    decision = decide(make_evidence([100.0, 0.0, 0.0, 0.0], [0.0, 0.0]), policy)
    assert decision.level2_probability == 1.0
    assert decision.route is Route.ACCEPT_LEVEL1
    assert decision.reasons == (Reason.LOW_CONFIDENCE, Reason.TAIL_CLASS)


@pytest.mark.parametrize("logits", [SURE, SPLIT_SIBLINGS, CLUELESS])
def test_audit_takes_accepted_videos_alone_and_changes_nothing_else(logits: tuple[list[float], list[float]]) -> None:
    evidence = make_evidence(*logits)
    plain = decide(evidence, make_policy(PARENT))
    audited = decide(evidence, make_policy(PARENT, audit_rate=1.0))
    assert audited.audit == (plain.route is not Route.REVIEW)
    assert (audited.route, audited.level1, audited.level2) == (plain.route, plain.level1, plain.level2)


def test_the_audit_sample_has_its_rate_and_is_the_same_in_every_process() -> None:
    ids = [f"video-{n}" for n in range(4000)]
    sample = [video for video in ids if in_audit_sample(video, 0, 0.1)]
    assert 300 < len(sample) < 500  # five standard deviations about 400
    code = (
        "from models.decision.answers import in_audit_sample as a;"
        "print([v for v in (f'video-{n}' for n in range(4000)) if a(v, 0, 0.1)])"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(sample)


def test_a_larger_audit_rate_keeps_the_sample_of_a_smaller_one() -> None:
    ids = [f"video-{n}" for n in range(500)]
    small = {video for video in ids if in_audit_sample(video, 3, 0.05)}
    assert small
    assert small <= {video for video in ids if in_audit_sample(video, 3, 0.2)}


def test_nothing_to_decide_is_no_decision() -> None:
    assert decide_many([], make_policy(PARENT)) == []


def test_nan_logits_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        decide(make_evidence([np.nan, 0.0, 0.0, 0.0], [0.0, 0.0]), make_policy(PARENT))


def test_logits_of_different_lengths_are_refused() -> None:
    batch = [make_evidence([0.0] * 4, [0.0] * 2), make_evidence([0.0] * 3, [0.0] * 2)]
    with pytest.raises(ValueError):
        decide_many(batch, make_policy(PARENT))

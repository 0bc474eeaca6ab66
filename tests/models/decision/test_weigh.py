from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from models.decision.answers import in_audit_sample
from models.decision.decide import decide, decide_many, verdicts
from models.decision.probabilities import joint_logits, normalised
from models.decision.signal_head import GROUPS, signal_scores
from models.decision.types import AuthorEvidence, EngagementEvidence, Evidence, Policy, Reason, Route
from models.decision.weigh import posterior
from tests.models.decision.cases import evidences, make_evidence, make_policy
from tests.models.decision.signal_cases import (
    informed_evidences,
    informed_policies,
    make_head,
    make_rules,
    with_signals,
)

# two verticals of two topics each
PARENT = [0, 0, 1, 1]


@st.composite
def cases(draw: st.DrawFn) -> tuple[Policy, list[Evidence]]:
    policy = draw(informed_policies())
    return policy, draw(st.lists(informed_evidences(policy), min_size=1, max_size=5))


@st.composite
def uninformed(draw: st.DrawFn) -> tuple[Policy, Evidence]:
    policy = draw(informed_policies())
    nothing = {
        "author": st.sampled_from([None, AuthorEvidence(), AuthorEvidence(verified=True)]),
        "engagement": st.sampled_from([None, EngagementEvidence(plays=0), EngagementEvidence(900, 0.7, (), ("", " "))]),
    }
    return policy, draw(evidences(policy))._replace(**{name: draw(each) for name, each in nothing.items()})


@given(uninformed())
def test_where_no_signal_says_anything_content_alone_decides(case: tuple[Policy, Evidence]) -> None:
    policy, evidence = case
    alone = replace(policy, signals=None)
    assert decide(evidence, policy) == decide(evidence, alone)
    p = posterior([evidence], policy, policy.signals.head, policy.signals.margin).probabilities  # type: ignore[union-attr]
    content = normalised(
        joint_logits([evidence.content.level1_logits], [evidence.content.level2_logits], policy), policy
    )
    np.testing.assert_allclose(p.level2, content.level2, atol=1e-12)


@given(cases())
def test_deciding_many_is_deciding_each_whatever_is_known_of_the_neighbours(
    case: tuple[Policy, list[Evidence]],
) -> None:
    policy, batch = case
    assert decide_many(batch, policy) == [decide(each, policy) for each in batch]


@given(cases(), st.booleans(), st.data())
def test_verdicts_say_what_the_decisions_do_and_any_of_them_can_be_had_in_full(
    case: tuple[Policy, list[Evidence]], heeds: bool, data: st.DataObject
) -> None:
    policy, batch = case if heeds else (replace(case[0], signals=None), case[1])
    said, whole = verdicts(batch, policy), decide_many(batch, policy)
    columns = zip(said.route, said.level1, said.level2, said.level2_probability, strict=True)
    assert list(columns) == [(each.route, each.level1, each.level2, each.level2_probability) for each in whole]
    wanted = data.draw(st.lists(st.integers(0, len(batch) - 1), unique=True))
    assert said.decisions(wanted) == [whole[row] for row in wanted]


@given(cases())
def test_contributions_add_up_to_the_shift_of_the_log_odds(case: tuple[Policy, list[Evidence]]) -> None:
    policy, batch = case
    assert policy.signals is not None
    head = policy.signals.head
    found = posterior(batch, policy, head, policy.signals.margin)
    for n, (evidence, decision) in enumerate(zip(batch, decide_many(batch, policy), strict=True)):
        content = joint_logits([evidence.content.level1_logits], [evidence.content.level2_logits], policy)[0]
        scores = signal_scores(head, [evidence], policy.parent)
        whole = content
        if scores.present.any():
            whole = head.content * content + scores.values[:, 0].sum(axis=0)
            whole[decide(evidence, replace(policy, signals=None)).level2] -= head.content_top
            whole *= np.exp(-head.entropy_slope * stats.entropy(special.softmax(whole)))
        answer, other = decision.level2, int(found.other[n])
        shift = (whole[answer] - whole[other]) - (content[answer] - content[other])
        assert sum(gain for _, gain in decision.contributions) == pytest.approx(shift, abs=1e-9)
        assert [group for group, _ in decision.contributions] == [
            group for group in (*GROUPS, "content") if group in dict(decision.contributions)
        ]


@given(cases())
def test_signals_move_an_answer_by_the_margin_or_not_at_all(case: tuple[Policy, list[Evidence]]) -> None:
    policy, batch = case
    assert policy.signals is not None
    for evidence, decision in zip(batch, decide_many(batch, policy), strict=True):
        before = decide(evidence, replace(policy, signals=None))
        stands = (decision.level1, decision.level2) == (before.level1, before.level2)
        assert decision.moved == (not stands)
        p = posterior([evidence], policy, policy.signals.head, policy.signals.margin).probabilities
        for level, now, said in (
            (p.level1[0], decision.level1, before.level1),
            (p.level2[0], decision.level2, before.level2),
        ):
            if now != said:
                assert np.log(level[now]) - np.log(max(level[said], 1e-300)) >= policy.signals.margin - 1e-9
            elif level[said] > 1e-200:
                assert np.log(level.max()) - np.log(level[said]) < policy.signals.margin + 1e-9


@given(cases())
def test_a_decision_with_signals_follows_their_rules(case: tuple[Policy, list[Evidence]]) -> None:
    policy, batch = case
    rules = policy.signals
    assert rules is not None
    for evidence, decision in zip(batch, decide_many(batch, policy), strict=True):
        informed = bool(posterior([evidence], policy, rules.head, rules.margin).informed[0])
        assert decision.audit == (Reason.AUDIT_SAMPLE in decision.reasons)
        assert decision.audit == (
            decision.route is not Route.REVIEW
            and in_audit_sample(evidence.video_id, evidence.revision, policy.audit_rate)
        )
        if not informed:
            continue
        alone = decide(evidence, replace(policy, signals=None))
        assert decision.content == (alone.route, alone.level1, alone.level2, alone.confidence)
        sure2 = decision.level2_probability >= float(rules.level2_thresholds[decision.level2])
        sure1 = decision.level1_probability >= float(rules.level1_thresholds[decision.level1])
        clear = policy.parent[decision.level2] == decision.level1 and decision.margin >= policy.min_margin
        supported = Route.ACCEPT if sure2 and clear else Route.ACCEPT_LEVEL1 if sure1 else Route.REVIEW
        called = {Reason.REPORTED, Reason.PRIOR_CONFLICT, Reason.ENGAGEMENT_CONFLICT} & set(decision.reasons)
        assert decision.route is (Route.REVIEW if called else supported)
        assert decision.reasons or decision.route is Route.ACCEPT
        if called - {Reason.REPORTED}:
            assert not decision.moved
            assert alone.route is not Route.REVIEW
            assert supported is not Route.ACCEPT


def decided(logits: list[float], *, policy: Policy | None = None, **known: Any) -> Any:
    evidence = make_evidence(logits, [0.0, 0.0])._replace(**known)
    return decide(evidence, policy or with_signals(make_policy(PARENT)))


COOK = AuthorEvidence(history_level1=np.array([40.0, 0.0], dtype=np.float32), main_vertical=0, verified=True)
OTHER = AuthorEvidence(history_level1=np.array([0.0, 40.0], dtype=np.float32))
DOUBTFUL = [0.6, -3.0, 0.0, -3.0]  # topics 0 and 2, of different verticals, are nearly tied
VERIFIED = AuthorEvidence(verified=True, interests=((0, 0.5), (1, 0.5)))
LEANING = [1.5, -3.0, 0.0, -3.0]


def test_an_author_settles_what_content_leaves_open() -> None:
    alone = decided(DOUBTFUL)
    moved = decided(DOUBTFUL, author=OTHER)
    assert (alone.level2, alone.moved, alone.content) == (0, False, None)
    assert (moved.level1, moved.level2, moved.moved) == (1, 2, True)
    assert (moved.content.route, moved.content.level2) == (alone.route, 0)
    assert moved.content.probability == alone.confidence
    assert dict(moved.contributions)["history"] > 1.0
    agreed = decided(DOUBTFUL, author=COOK)
    assert (agreed.level2, agreed.moved) == (0, False)
    assert agreed.level2_probability > alone.level2_probability


def test_the_contents_answer_counts_less_beside_signals_and_only_there() -> None:
    """By just so many nats against every other class, whose odds among themselves stay as they are."""
    plain, wary = (with_signals(make_policy(PARENT), content_top=top, content=1.0) for top in (0.0, 0.4))
    for author, less in ((COOK, 0.4), (None, 0.0)):
        evidence = make_evidence(LEANING, [0.0, 0.0])._replace(author=author)
        before, after = (
            np.log(posterior([evidence], each, each.signals.head, 1.0).probabilities.level2[0])  # type: ignore[union-attr]
            for each in (plain, wary)
        )
        shift = after - before
        assert shift[1:] - shift[0] == pytest.approx([less] * 3)


def test_the_more_signals_leave_open_the_less_sure_an_answer_is_and_the_answer_stays() -> None:
    flat, bent = (with_signals(make_policy(PARENT), entropy_slope=slope) for slope in (0.0, 0.5))
    lost = []
    for logits in ([8.0, 0.0, 0.0, 0.0], LEANING):
        known = make_evidence(logits, [0.0, 0.0])._replace(author=VERIFIED)
        before, after = (decide(known, policy) for policy in (flat, bent))
        assert after.level2 == before.level2
        lost.append(before.level2_probability - after.level2_probability)
        alone = known._replace(author=None)
        assert decide(alone, flat) == decide(alone, bent)
    assert 0.0 < lost[0] < 0.01 < 0.05 < lost[1]


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        ({"author": OTHER}, Reason.PRIOR_CONFLICT),
        ({"engagement": EngagementEvidence(10_000, 0.9, ((1, 1.0),))}, Reason.ENGAGEMENT_CONFLICT),
    ],
)
def test_who_disagrees_without_moving_the_answer_calls_people(known: dict[str, Any], reason: Reason) -> None:
    policy = make_policy(PARENT)
    policy = replace(policy, signals=make_rules(policy, make_head(2, 4), margin=9.0))
    alone = decided(LEANING, policy=policy)
    assert alone.route is Route.ACCEPT
    held = decided(LEANING, policy=policy, **known)
    assert (held.level2, held.moved, held.route) == (0, False, Route.REVIEW)
    assert held.reasons[0] is reason
    assert held.margin < 0.0
    assert held.content.route is Route.ACCEPT


def test_reports_call_people_by_count_and_share() -> None:
    sure = [9.0, 0.0, 0.0, 0.0]
    few = decided(sure, engagement=EngagementEvidence(plays=100, reports=4))
    diluted = decided(sure, engagement=EngagementEvidence(plays=100_000, reports=40))
    reported = decided(sure, engagement=EngagementEvidence(plays=100, reports=5))
    assert few == diluted == decided(sure)
    assert (reported.route, reported.reasons) == (Route.REVIEW, (Reason.REPORTED,))
    assert reported.content.route is Route.ACCEPT
    assert (reported.level2, reported.audit) == (0, False)


def test_videos_with_signals_have_thresholds_of_their_own() -> None:
    policy = make_policy(PARENT)
    strict = replace(policy, signals=make_rules(policy, make_head(2, 4), level2_thresholds=np.full(4, 2.0, np.float32)))
    assert decided(LEANING, policy=strict).route is Route.ACCEPT
    informed = decided(LEANING, policy=strict, author=COOK)
    assert (informed.route, informed.threshold) == (Route.ACCEPT_LEVEL1, 0.5)


def test_a_policy_without_a_head_passes_signals_over() -> None:
    evidence = make_evidence(DOUBTFUL, [0.0, 0.0])
    known = evidence._replace(author=OTHER, engagement=EngagementEvidence(10_000, 0.9, ((1, 1.0),), ("x",), 900))
    assert decide(known, make_policy(PARENT)) == decide(evidence, make_policy(PARENT))


@pytest.mark.parametrize(
    "known",
    [
        {"author": AuthorEvidence(history_level1=np.array([np.nan, 1.0], dtype=np.float32))},
        {"author": AuthorEvidence(history_level1=np.array([1.0], dtype=np.float32))},
        {"author": AuthorEvidence(interests=((0, -1.0),))},
        {"engagement": EngagementEvidence(1, float("inf"), ((0, 1.0),))},
    ],
)
def test_evidence_that_cannot_be_is_refused(known: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"evidence|history"):
        decided(DOUBTFUL, **known)

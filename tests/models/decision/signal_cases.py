"""Signal heads and evidence for the tests, by hand and by hypothesis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from models.decision.types import (
    AuthorEvidence,
    ContentEvidence,
    EngagementEvidence,
    Evidence,
    Policy,
    SignalHead,
    SignalRules,
)
from tests.models.decision.cases import logits, policies

BUCKETS = 64


def make_head(n_level1: int, n_level2: int, **changes: Any) -> SignalHead:
    """A head that heeds every group, with n-gram weights drawn by a fixed seed."""
    fields: dict[str, Any] = {
        "content": 1.0,
        "content_top": 0.0,
        "entropy_slope": 0.0,
        "base": np.full(n_level1, 1 / n_level1),
        "audience_base": np.full(n_level1, 1 / n_level1),
        "history_weight": 1.0,
        "history_pseudo": 2.0,
        "vertical_weight": 1.0,
        "vertical_verified": 0.5,
        "interests_weight": 0.5,
        "interests_pseudo": 0.5,
        "audience_weight": 1.0,
        "audience_completion": 0.5,
        "audience_pseudo": 50.0,
        "comments_weight": 1.0,
        "comments_pseudo": 3.0,
        "comments_bound": 2.0,
        "comment_base": np.full(n_level2, 1 / n_level2),
        "comment_grams": np.random.default_rng(1).normal(0, 1, (BUCKETS, n_level2)).astype(np.float16),
    }
    return SignalHead(**(fields | changes))


def make_rules(policy: Policy, head: SignalHead, **changes: Any) -> SignalRules:
    """Rules with the policy's own thresholds and a margin of one."""
    rules = SignalRules(
        head=head,
        margin=1.0,
        level2_thresholds=policy.level2_thresholds,
        level1_thresholds=policy.level1_thresholds,
        report_count=5,
        report_share=0.01,
    )
    return replace(rules, **changes)


def with_signals(policy: Policy, **changes: Any) -> Policy:
    """The policy with a head whose fields are changed so."""
    return replace(policy, signals=make_rules(policy, make_head(policy.n_level1, len(policy.parent), **changes)))


@st.composite
def informed_policies(draw: st.DrawFn) -> Policy:
    policy = draw(policies())
    n_level2 = len(policy.parent)
    weights = st.floats(0.0, 3.0)
    head = make_head(
        policy.n_level1,
        n_level2,
        content=draw(st.sampled_from([1.0, 0.7, 1.2])),
        content_top=draw(st.sampled_from([0.0, 0.4])),
        entropy_slope=draw(st.sampled_from([0.0, 0.2, 0.5])),
        history_weight=draw(weights),
        vertical_weight=draw(weights),
        interests_weight=draw(weights),
        audience_weight=draw(weights),
        comments_weight=draw(weights),
        comment_grams=draw(npst.arrays(np.float16, (8, n_level2), elements=st.floats(-4, 4, width=16))),
    )
    thresholds = npst.arrays(np.float32, n_level2, elements=st.floats(0.0, 1.0, width=32))
    rules = make_rules(policy, head, margin=draw(st.floats(0.1, 3.0)), level2_thresholds=draw(thresholds))
    return replace(policy, signals=rules)


def shares(n_level1: int, largest: float) -> st.SearchStrategy[tuple[tuple[int, float], ...]]:
    values = st.floats(1e-3, largest)
    return st.dictionaries(st.integers(0, n_level1 - 1), values).map(lambda found: tuple(sorted(found.items())))


def authors(n_level1: int) -> st.SearchStrategy[AuthorEvidence]:
    counts = npst.arrays(np.float32, n_level1, elements=st.floats(0, 50, width=32))
    return st.builds(
        AuthorEvidence,
        history_level1=st.none() | counts,
        main_vertical=st.none() | st.integers(0, n_level1 - 1),
        interests=shares(n_level1, 10.0),
        verified=st.none() | st.booleans(),
    )


def engagements(n_level1: int) -> st.SearchStrategy[EngagementEvidence]:
    return st.builds(
        EngagementEvidence,
        plays=st.integers(0, 10**6),
        completion_rate=st.none() | st.floats(0.0, 1.0),
        audience=shares(n_level1, 1.0),
        top_comments=st.lists(st.text(max_size=12), max_size=4).map(tuple),
        reports=st.integers(0, 50),
    )


def informed_evidences(policy: Policy) -> st.SearchStrategy[Evidence]:
    return st.builds(
        Evidence,
        video_id=st.text(min_size=1, max_size=8),
        revision=st.integers(0, 5),
        content=st.builds(ContentEvidence, logits(policy.n_level1), logits(len(policy.parent))),
        author=st.none() | authors(policy.n_level1),
        engagement=st.none() | engagements(policy.n_level1),
    )

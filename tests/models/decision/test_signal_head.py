"""What the groups of the signal head promise of their own evidence."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy import special, stats

from models.decision.comments import gram_buckets, votes_of
from models.decision.decide import decide
from models.decision.probabilities import DoubleArray, joint_logits, normalised
from models.decision.signal_head import GROUPS, inverse_temperature, lift, signal_scores
from models.decision.types import AuthorEvidence, EngagementEvidence, Evidence
from models.decision.weigh import posterior
from models.training.signals import STEEPEST
from tests.models.decision.cases import make_evidence, make_policy
from tests.models.decision.signal_cases import make_head, with_signals

PARENT = [0, 0, 1, 1, 2]
POLICY = make_policy(PARENT)
COMMENTS = GROUPS.index("comments")


def probability(evidence: Evidence, level1: int, head: dict[str, float] | None = None) -> float:
    found = posterior([evidence], POLICY, make_head(3, 5, **(head or {})), 1.0)
    return float(found.probabilities.level1[0, level1])


def plain(seed: int) -> Evidence:
    rng = np.random.default_rng(seed)
    return make_evidence(rng.normal(0, 1, 5).tolist(), rng.normal(0, 1, 3).tolist())


counts = st.lists(st.floats(0, 100), min_size=3, max_size=3)
slopes = st.floats(0.0, STEEPEST).map(lambda slope: {"entropy_slope": slope})


@given(counts, st.integers(0, 2), st.floats(0.01, 50), st.integers(0, 9), slopes)
def test_one_more_video_of_a_vertical_never_makes_it_less_probable(
    history: list[float], level1: int, more: float, seed: int, slope: dict[str, float]
) -> None:
    known = np.array(history, np.float32)
    longer = known + np.float32(more) * (np.arange(3) == level1)
    before, after = (plain(seed)._replace(author=AuthorEvidence(each.astype(np.float32))) for each in (known, longer))
    head = slope if known.any() else {}  # where nothing was known before, content alone decided, untempered
    assert probability(after, level1, head) >= probability(before, level1, head) - 1e-9


@given(st.integers(0, 5000), st.integers(1, 5000), st.integers(0, 2), st.integers(0, 9), slopes)
def test_more_viewers_of_a_vertical_never_make_it_less_probable(
    plays: int, more: int, level1: int, seed: int, slope: dict[str, float]
) -> None:
    def watched(extra: int) -> Evidence:
        total = plays + extra
        viewers = [plays / 3 + extra * (place == level1) for place in range(3)]
        audience = tuple((place, each / total) for place, each in enumerate(viewers) if each) if total else ()
        return plain(seed)._replace(engagement=EngagementEvidence(total, 0.5, audience))

    head = slope if plays else {}
    assert probability(watched(more), level1, head) >= probability(watched(0), level1, head) - 1e-9


@given(st.integers(0, 2), st.booleans(), st.integers(0, 9))
def test_a_main_vertical_makes_itself_more_probable_and_verified_even_more(
    level1: int, verified: bool, seed: int
) -> None:
    named = plain(seed)._replace(author=AuthorEvidence(main_vertical=level1, verified=verified))
    assert probability(named, level1) > probability(plain(seed), level1)
    surer = plain(seed)._replace(author=AuthorEvidence(main_vertical=level1, verified=True))
    assert probability(surer, level1) >= probability(named, level1)


@given(counts, st.floats(0.1, 100))
def test_a_lift_is_zero_where_nothing_was_counted_and_where_shares_are_the_base(
    row: list[float], pseudo: float
) -> None:
    base = np.array([0.2, 0.3, 0.5])
    assert not lift(np.zeros((1, 3)), pseudo, base).any()
    np.testing.assert_allclose(lift(base[None] * sum(row), pseudo, base), 0.0, atol=1e-9)


@given(st.lists(st.text(max_size=30), max_size=25), st.integers(0, 9))
def test_no_burst_of_comments_goes_beyond_the_bound(burst: list[str], seed: int) -> None:
    evidence = plain(seed)._replace(engagement=EngagementEvidence(100, 0.5, (), tuple(burst)))
    head = make_head(3, 5, comments_weight=1.5, comments_bound=1.0)
    said = signal_scores(head, [evidence], POLICY.parent).values[COMMENTS]
    assert np.abs(said).max() <= 1.5
    # so what is further ahead than the bound allows cannot be turned over
    sure = make_evidence([9.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0])._replace(engagement=evidence.engagement)
    decision = decide(sure, with_signals(POLICY, comments_weight=1.5, comments_bound=1.0))
    assert (decision.level2, decision.moved) == (0, False)


@given(st.lists(st.text(min_size=1, max_size=30), min_size=1, max_size=8))
def test_every_comment_has_one_vote(comments: list[str]) -> None:
    head = make_head(3, 5)
    spoken = sum(bool(comment.split()) for comment in comments)
    (found,) = votes_of([comments], head.comment_grams, head.comment_base)
    assert (found >= 0.0).all()
    assert abs(found.sum() - spoken) < 1e-9


@given(npst.arrays(np.float64, (3, 5), elements=st.floats(-50, 50)), st.floats(0.0, STEEPEST))
def test_a_video_is_tempered_by_the_entropy_that_scipy_finds_whatever_its_neighbours(
    joint: DoubleArray, slope: float
) -> None:
    found = inverse_temperature(joint, slope)
    expected = np.exp(-slope * stats.entropy(special.softmax(joint, axis=1), axis=1))
    assert found == pytest.approx(expected, rel=1e-9)
    assert inverse_temperature(joint[1:2], slope) == found[1]
    assert (found > 0.0).all()


def test_ngrams_fall_into_the_same_buckets_in_every_process() -> None:
    expected = gram_buckets("还得是 Nice 火锅\n👍", 4096).tolist()
    assert expected == sorted(set(expected))
    assert len(expected) > 30
    code = "from models.decision.comments import gram_buckets as g; print(g('还得是  nice 火锅 👍', 4096).tolist())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str(expected)
    # what bundles were trained with: a change here makes their weights meaningless
    assert gram_buckets("火锅", 4096).tolist() == [468, 1870, 2564]


def test_a_missing_signal_says_nothing() -> None:
    known = plain(1)._replace(author=AuthorEvidence(main_vertical=1))
    scores = signal_scores(make_head(3, 5), [known], POLICY.parent)
    assert scores.present[:, 0].tolist() == [group == "vertical" for group in GROUPS]
    others = [place for place, group in enumerate(GROUPS) if group != "vertical"]
    assert not scores.values[others].any()


def test_a_head_that_heeds_nothing_leaves_probabilities_alone() -> None:
    evidence = plain(2)._replace(
        author=AuthorEvidence(np.array([5, 0, 0], np.float32), main_vertical=0),
        engagement=EngagementEvidence(900, 0.9, ((0, 1.0),), ("好看",)),
    )
    deaf = make_head(
        3, 5, history_weight=0.0, vertical_weight=0.0, vertical_verified=0.0, interests_weight=0.0,
        audience_weight=0.0, audience_completion=0.0, comments_weight=0.0,
    )  # fmt: skip
    policy = replace(POLICY, level2_thresholds=np.zeros(5))
    found = posterior([evidence], policy, deaf, 1.0).probabilities
    alone = normalised(joint_logits([evidence.content.level1_logits], [evidence.content.level2_logits], policy), policy)
    np.testing.assert_array_equal(found.level2, alone.level2)

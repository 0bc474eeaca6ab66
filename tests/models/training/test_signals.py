"""The fit of the signal head, on made-up videos whose content tells nothing of which sibling they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import special, stats

from models.decision.decide import decide_many
from models.decision.types import AuthorEvidence, ContentEvidence, EngagementEvidence
from models.training.comment_grams import choose_penalty, fit_grams, gram_loss, loud_texts
from models.training.evidence_bench import shuffled
from models.training.signal_bundle import comments_in
from models.training.signal_items import Comments, Item
from models.training.signal_samples import brigaded, joined, samples_of
from models.training.signals import Bases, Fit, calibration, fit_head, latest_joint, loss_and_gradient, tempered_loss
from schemas.errors import UserError
from tests.models.decision.cases import make_policy
from tests.models.decision.signal_cases import make_head, make_rules

# two verticals of two topics each; content tells neither
POLICY = make_policy([0, 0, 1, 1])
WORDS = ("火锅", "面包", "足球", "篮球")
BUCKETS = 256


def make_items(count: int, seed: int = 1) -> list[Item]:
    """Authors and viewers lean to the true vertical, and every third comment names the true class."""
    rng = np.random.default_rng(seed)
    items = []
    for number in range(count):
        target = int(rng.integers(4))
        level1 = target // 2
        history = rng.multinomial(6, [0.8, 0.2] if level1 == 0 else [0.2, 0.8]).astype(np.float32)
        share = float(np.clip(rng.normal(0.7, 0.1), 0.0, 1.0))
        audience = ((0, share), (1, 1 - share)) if level1 == 0 else ((0, 1 - share), (1, share))
        comments = tuple(WORDS[target] + "好看" if rng.random() < 0.33 else f"路过{n}" for n in range(4))
        items.append(
            Item(
                video_id=f"v{seed}-{number}",
                revision=0,
                content=ContentEvidence(np.zeros(2, np.float32), rng.normal(0, 0.3, 4).astype(np.float32)),
                target=target,
                author=AuthorEvidence(history, main_vertical=None, verified=False),
                engagements=(
                    EngagementEvidence(10, 0.5, audience, comments[:1]),
                    EngagementEvidence(200, 0.6, audience, comments),
                ),
            )
        )
    return items


@pytest.fixture(scope="module")
def learnt() -> list[Item]:
    return make_items(150)


@pytest.fixture(scope="module")
def fit(learnt: list[Item]) -> Fit:
    return fit_head(learnt, comments_in(learnt), POLICY, buckets=BUCKETS)


def test_signals_that_tell_are_heeded_and_explain_new_videos(fit: Fit) -> None:
    assert fit.loss < fit.content_loss - 0.5
    assert min(fit.head.history_weight, fit.head.audience_weight, fit.head.comments_weight) > 0.1
    policy = replace(POLICY, signals=make_rules(POLICY, fit.head, margin=0.1))
    new = make_items(120, seed=2)
    evidences = [item.latest for item in new]
    truth = [item.target for item in new]
    alone = [each.level2 for each in decide_many(evidences, POLICY)]
    heeded = [each.level2 for each in decide_many(evidences, policy)]
    assert np.mean(np.equal(heeded, truth)) > np.mean(np.equal(alone, truth)) + 0.4


def test_signals_of_other_videos_are_hardly_heeded(learnt: list[Item]) -> None:
    mixed = shuffled(shuffled(learnt, 7, authors=True), 8, authors=False)
    fit = fit_head(mixed, comments_in(mixed), POLICY, buckets=BUCKETS)
    assert fit.loss > fit.content_loss - 0.02
    policy = replace(POLICY, signals=make_rules(POLICY, fit.head, margin=0.7))
    decided = decide_many([item.latest for item in mixed], policy)
    assert np.mean([each.moved for each in decided]) < 0.05


def test_equal_videos_give_an_equal_head(learnt: list[Item], fit: Fit) -> None:
    again = fit_head(learnt, comments_in(learnt), POLICY, buckets=BUCKETS)
    for name in fit.head.__slots__:
        assert np.array_equal(getattr(fit.head, name), getattr(again.head, name))


@pytest.mark.parametrize(("scale", "slope"), [(1.0, 0.05), (1.3, 0.2), (0.7, 0.4)])
def test_calibration_finds_how_sure_answers_may_be(scale: float, slope: float) -> None:
    rng = np.random.default_rng(3)
    joint = rng.normal(0, 1, (20_000, 6)) * rng.uniform(0.3, 5.0, (20_000, 1))
    share = special.softmax(scale * joint, axis=1)
    tempered = special.softmax(np.exp(-slope * stats.entropy(share, axis=1))[:, None] * scale * joint, axis=1)
    target = (tempered.cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1)
    found = calibration(joint, target)
    assert found == (pytest.approx(scale, abs=0.06), pytest.approx(slope, abs=0.05))


@pytest.mark.parametrize(("plays", "honest", "fakes"), [(19, 3, 1), (190, 5, 10), (10_000, 20, 7)])
def test_the_head_is_shown_a_brigade_for_what_content_takes_the_video_for_next(
    plays: int, honest: int, fakes: int
) -> None:
    content = ContentEvidence(np.zeros(2, np.float32), np.array([0.0, 1.0, 3.0, 2.0], np.float32))
    said = tuple(f"路过{number}" for number in range(honest))
    item = Item("v", 0, content, 2, None, (EngagementEvidence(plays, 0.5, ((1, 1.0),), said),))
    loud = [tuple(f"{word}{number}" for number in range(20)) for word in WORDS]
    attacked = brigaded(item, loud, POLICY)
    assert attacked is not None
    assert attacked.engagement is not None
    shown = attacked.engagement.top_comments
    assert sum(comment.startswith(WORDS[3]) for comment in shown) == fakes
    assert sum(comment in said for comment in shown) == min(honest, 20 - fakes)
    assert attacked.engagement.audience == ((1, 1.0),)  # a brigade's viewers have no known vertical
    assert brigaded(item, [()] * 4, POLICY) is None
    assert brigaded(replace(item, engagements=()), loud, POLICY) is None


def test_videos_of_which_nothing_is_known_teach_nothing(learnt: list[Item]) -> None:
    bare = [replace(item, author=None, engagements=()) for item in learnt]
    with pytest.raises(UserError, match="nothing is known of these videos"):
        fit_head(bare, [], POLICY, buckets=BUCKETS)


def test_the_gradient_is_the_slope_of_the_loss(learnt: list[Item]) -> None:
    grams = fit_grams(comments_in(learnt), 4, 1e-3, buckets=BUCKETS)
    items = [
        replace(item, author=item.author._replace(main_vertical=place % 2, interests=((0, 0.3), (1, 0.7))))
        for place, item in enumerate(learnt[:40])
        if item.author is not None
    ]
    samples = samples_of(items, grams, loud_texts(grams, comments_in(learnt), 10), POLICY)
    assert samples is not None
    bases = Bases(level1=np.array([0.4, 0.6]), audience=np.array([0.7, 0.3]))
    head = make_head(2, 4, content=0.9, content_top=0.3, audience_pseudo=30.0)
    _, slope = loss_and_gradient(samples, numbers := {name: getattr(head, name) for name in _NUMBERS}, bases, POLICY)
    for name in _NUMBERS:
        step = 1e-5
        above, _ = loss_and_gradient(samples, numbers | {name: numbers[name] + step}, bases, POLICY)
        below, _ = loss_and_gradient(samples, numbers | {name: numbers[name] - step}, bases, POLICY)
        assert slope[name] == pytest.approx((above - below) / (2 * step), abs=1e-7), name


_NUMBERS = (
    "content",
    "content_top",
    "history_weight",
    "history_pseudo",
    "vertical_weight",
    "vertical_verified",
    "interests_weight",
    "interests_pseudo",
    "audience_weight",
    "audience_completion",
    "audience_pseudo",
    "comments_weight",
    "comments_pseudo",
)


def test_the_loss_is_what_decisions_make_of_the_evidence(learnt: list[Item]) -> None:
    """The formula of the fit is that of the head in service."""
    from models.decision.weigh import posterior

    grams = fit_grams(comments_in(learnt), 4, 1e-3, buckets=BUCKETS)
    numbers = {name: getattr(make_head(2, 4, content=0.9, content_top=0.3), name) for name in _NUMBERS}
    bases = Bases(level1=np.array([0.4, 0.6]), audience=np.array([0.7, 0.3]))
    samples = samples_of(learnt[:30], grams, [()] * 4, POLICY)
    assert samples is not None
    head = make_head(
        2, 4, **numbers, base=bases.level1, audience_base=bases.audience,
        comments_bound=4.0, comment_base=grams.base, comment_grams=grams.grams,
    )  # fmt: skip
    bent = replace(head, entropy_slope=0.3)
    # every video's moments, as samples_of() takes them: an author alone, two snapshots, the last without its author
    evidences = [
        evidence
        for item in learnt[:30]
        for evidence in (
            item.evidence(None),
            *(item.evidence(each) for each in item.engagements),
            item.latest._replace(author=None),
        )
    ]
    p = posterior(evidences, POLICY, head, 1.0).probabilities.level2[np.arange(len(evidences)), samples.target]
    loss, _ = loss_and_gradient(samples, numbers, bases, POLICY)
    assert loss == pytest.approx(float((samples.weight * -np.log(p)).sum() / samples.weight.sum()), abs=1e-9)
    p = posterior(evidences, POLICY, bent, 1.0).probabilities.level2[np.arange(len(evidences)), samples.target]
    calibrated = tempered_loss(*latest_joint(samples, numbers, bases, POLICY), 0.3)
    assert calibrated == pytest.approx(float(-np.log(p[samples.latest]).mean()), abs=1e-9)


def test_a_video_counts_once_however_much_is_known_of_it(learnt: list[Item]) -> None:
    grams = fit_grams(comments_in(learnt), 4, 1e-3, buckets=BUCKETS)
    fakes = loud_texts(grams, comments_in(learnt), 10)
    for item in (learnt[0], replace(learnt[0], engagements=learnt[0].engagements[:1])):
        samples = samples_of([item], grams, fakes, POLICY)
        assert samples is not None
        assert samples.weight.sum() == pytest.approx(1.0)
        assert samples.latest.sum() == 1
    both = [samples_of([item], grams, fakes, POLICY) for item in learnt[:2]]
    assert len(joined([each for each in both if each is not None])) == sum(len(each) for each in both if each)


def test_ngrams_learn_what_words_mean_and_loud_texts_say_it(learnt: list[Item]) -> None:
    comments = comments_in(learnt)
    penalty, model = choose_penalty(comments[:100], comments[100:], 4, buckets=BUCKETS)
    nothing = fit_grams([], 4, penalty, buckets=BUCKETS)
    assert not nothing.grams.any()
    assert gram_loss(model, comments[100:]) < gram_loss(nothing, comments[100:]) - 0.2
    for word, texts in zip(WORDS, loud_texts(model, comments, 1), strict=True):
        assert word in texts[0]
    assert gram_loss(model, [Comments("v", 0, ("", " "))]) == float("inf")

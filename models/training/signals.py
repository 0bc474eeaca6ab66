"""The signal head's weights: maximum likelihood with a ridge towards content alone, chosen by cross-validation.

Minimised over weights w >= 0 and pseudo-counts A is the mean over videos of -log P(class | evidence at some moment)
plus penalty / 2 * (sum of w^2 + (content - 1)^2), content_top being one of the w, plus a weak pull of log A to where it
starts. What was learnt under brigades is calibrated without, on videos that were left out: one scale of all w, and
entropy_slope.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from models.decision.probabilities import DoubleArray, sum_children
from models.decision.signal_head import inverse_temperature, lift
from models.decision.types import Policy, SignalHead
from models.training.comment_grams import BUCKETS, choose_penalty, fit_grams, loud_texts
from models.training.signal_items import Comments, Item
from models.training.signal_samples import Samples, chosen, joined, samples_of
from schemas.errors import UserError

FOLDS = 3
PENALTIES = (1e-4, 1e-3, 1e-2)
BOUND = 4.0  # of comments, in nats
LOUD = 60  # texts of each class that a brigade chooses from
SCALES = (0.5, 2.0)
STEEPEST = 0.5  # entropy_slope: with much more, evidence for a class could make it less probable

Progress = Callable[[int, int], None]
Numbers = dict[str, float]

# where the search starts; a weight of 0 is where it ends for signals that say nothing
_START: Numbers = {
    "content": 1.0,
    "content_top": 0.2,
    "history_weight": 0.5,
    "history_pseudo": 2.0,
    "vertical_weight": 0.5,
    "vertical_verified": 0.1,
    "interests_weight": 0.3,
    "interests_pseudo": 0.5,
    "audience_weight": 1.0,
    "audience_completion": 0.1,
    "audience_pseudo": 30.0,
    "comments_weight": 0.5,
    "comments_pseudo": 3.0,
}
_PSEUDO_PULL = 1e-3
_PSEUDO_LIMIT = float(np.log(30.0))  # either way from the start


@dataclass(frozen=True, slots=True)
class Fit:
    """A head and how it was found.

    loss: mean negative log-likelihood of the latest evidence, cross-validated; NaN where all videos are of one fold.
    content_loss: that of content alone for the same videos.
    """

    head: SignalHead
    penalty: float
    gram_penalty: float
    loss: float
    content_loss: float


def fit_head(
    items: Sequence[Item],
    comments: Sequence[Comments],
    policy: Policy,
    *,
    buckets: int = BUCKETS,
    progress: Progress | None = None,
) -> Fit:
    """A head from held-out videos, and from the comments of any labelled ones (the items' own among them, or not).

    A video's comments are read by n-grams learnt without it, as those of new videos will be. Raises UserError where
    nothing but content is known of any item.
    """
    steps = _Steps(FOLDS + 3, progress)
    n_level2 = len(policy.parent)
    by_fold = [[each for each in comments if fold_of(each.video_id) == fold] for fold in range(FOLDS)]
    without = [[each for other, part in enumerate(by_fold) if other != fold for each in part] for fold in range(FOLDS)]
    gram_penalty, grams = choose_penalty(without[0], by_fold[0], n_level2, buckets=buckets)
    steps.advance()
    parts = []
    for fold, own in enumerate(by_fold):
        if fold:
            grams = fit_grams(without[fold], n_level2, gram_penalty, buckets=buckets)
        held = [item for item in items if fold_of(item.video_id) == fold]
        parts.append(samples_of(held, grams, loud_texts(grams, own, LOUD), policy))
        steps.advance()
    known = [part for part in parts if part is not None]
    if not known:
        raise UserError("nothing is known of these videos but their content", "give data with authors or engagement")
    everything = joined(known)
    bases = Bases(
        level1=_shares(np.bincount(policy.parent[[item.target for item in items]], minlength=policy.n_level1)),
        audience=_shares(everything.features.audience.sum(axis=0)),
    )
    choice = _choose(known, bases, policy)
    steps.advance()
    grams = fit_grams(comments, n_level2, gram_penalty, buckets=buckets)
    numbers = solve(everything, bases, policy, choice.penalty)
    head = SignalHead(
        **{name: value if name.endswith("pseudo") else choice.scale * value for name, value in numbers.items()},
        entropy_slope=choice.entropy_slope,
        base=bases.level1,
        audience_base=bases.audience,
        comments_bound=BOUND,
        comment_base=grams.base,
        comment_grams=grams.grams,
    )
    steps.advance()
    content_loss = tempered_loss(*latest_joint(everything, _content_alone(), bases, policy), 0.0)
    return Fit(head, choice.penalty, gram_penalty, choice.loss, content_loss)


def fold_of(video_id: str) -> int:
    """The same in every process and for every set of videos."""
    return int.from_bytes(blake2b(f"fold\0{video_id}".encode(), digest_size=4).digest()) % FOLDS


@dataclass(frozen=True, slots=True)
class Bases:
    """Shares of level-1 classes among videos and among viewers, [C1], all above 0."""

    level1: DoubleArray
    audience: DoubleArray


def solve(samples: Samples, bases: Bases, policy: Policy, penalty: float) -> Numbers:
    """The weights that make the targets most likely, before they are calibrated."""
    names = list(_START)
    pseudo = np.array([name.endswith("pseudo") for name in names])
    start = np.array(list(_START.values()))
    start[pseudo] = np.log(start[pseudo])
    rest = np.where([name == "content" for name in names], 1.0, 0.0)

    def objective(free: DoubleArray) -> tuple[float, DoubleArray]:
        value, gradient = loss_and_gradient(samples, _named(names, pseudo, free), bases, policy)
        slope = np.array([gradient[name] for name in names])
        slope[pseudo] *= np.exp(free[pseudo])
        away = free - np.where(pseudo, start, rest)
        strength = np.where(pseudo, _PSEUDO_PULL, penalty)
        return value + float((strength * away**2).sum()) / 2, slope + strength * away

    limits = [
        (at - _PSEUDO_LIMIT, at + _PSEUDO_LIMIT) if logarithmic else (0.05 if name == "content" else 0.0, None)
        for name, at, logarithmic in zip(names, start, pseudo, strict=True)
    ]
    found = optimize.minimize(objective, start, jac=True, method="L-BFGS-B", bounds=limits)
    return _named(names, pseudo, found.x)


def loss_and_gradient(samples: Samples, numbers: Numbers, bases: Bases, policy: Policy) -> tuple[float, Numbers]:
    """Mean negative log-likelihood by the samples' weights, not calibrated, and its slope along each number."""
    seen = samples.features
    heard = _heard(samples, numbers, bases, policy)
    history, interests, audience, comments = heard.history, heard.interests, heard.audience, heard.comments
    inside = np.abs(comments.value) <= BOUND
    rows = np.arange(len(samples))
    joint = heard.joint - heard.joint.max(axis=1, keepdims=True)
    share = np.exp(joint)
    total = share.sum(axis=1, keepdims=True)
    weight = samples.weight / samples.weight.sum()
    loss = -(weight * (joint[rows, samples.target] - np.log(total[:, 0]))).sum()

    share /= total
    share[rows, samples.target] -= 1.0
    by_level2 = weight[:, None] * share
    by_level1 = sum_children(by_level2, policy)
    audience_slope = (by_level1 * audience.value).sum(axis=1)
    vertical_slope = (by_level1 * seen.vertical).sum(axis=1)
    return float(loss), {
        "content": float((by_level2 * samples.content).sum()),
        "content_top": -float(by_level2[rows, heard.answers].sum()),
        "history_weight": float((by_level1 * history.value).sum()),
        "history_pseudo": numbers["history_weight"] * float((by_level1 * history.slope).sum()),
        "vertical_weight": float(vertical_slope.sum()),
        "vertical_verified": float((vertical_slope * seen.verified).sum()),
        "interests_weight": float((by_level1 * interests.value).sum()),
        "interests_pseudo": numbers["interests_weight"] * float((by_level1 * interests.slope).sum()),
        "audience_weight": float(audience_slope.sum()),
        "audience_completion": float((audience_slope * seen.completion).sum()),
        "audience_pseudo": float((by_level1 * heard.audience_weight * audience.slope).sum()),
        "comments_weight": float((by_level2 * heard.votes).sum()),
        "comments_pseudo": numbers["comments_weight"] * float((by_level2 * comments.slope * inside).sum()),
    }


def latest_joint(
    samples: Samples, numbers: Numbers, bases: Bases, policy: Policy
) -> tuple[DoubleArray, NDArray[np.int64]]:
    """[R, C2], what the latest honest evidence of each video says, and the targets [R]."""
    latest = chosen(samples, np.flatnonzero(samples.latest))
    return _heard(latest, numbers, bases, policy).joint, latest.target


def calibration(joint: DoubleArray, target: NDArray[np.int64]) -> tuple[float, float]:
    """The factor of joint [R, C2], and the entropy_slope after it, that make target [R] most likely."""
    found = optimize.minimize(
        lambda free: tempered_loss(free[0] * joint, target, free[1]),
        (1.0, STEEPEST / 5),
        method="Nelder-Mead",
        bounds=(SCALES, (0.0, STEEPEST)),
    )
    scale, slope = found.x.tolist()
    return scale, slope


def tempered_loss(joint: DoubleArray, target: NDArray[np.int64], entropy_slope: float) -> float:
    """Mean negative log-likelihood of target [R] by softmax(joint * inverse_temperature()), joint: [R, C2]."""
    tempered = inverse_temperature(joint, entropy_slope)[:, None] * joint
    of_target = tempered[np.arange(len(target)), target]
    return float((special.logsumexp(tempered, axis=1) - of_target).mean())


@dataclass(frozen=True, slots=True)
class _Choice:
    """scale: of the weights; loss: of what it was chosen on, calibrated."""

    penalty: float
    scale: float
    entropy_slope: float
    loss: float


def _choose(parts: Sequence[Samples], bases: Bases, policy: Policy) -> _Choice:
    """The penalty that serves the parts left out best, and what calibrates its answers to them."""
    if len(parts) == 1:
        joint, target = latest_joint(parts[0], solve(parts[0], bases, policy, PENALTIES[-1]), bases, policy)
        return _Choice(PENALTIES[-1], *calibration(joint, target), float("nan"))
    said = {penalty: _left_out(parts, bases, policy, penalty) for penalty in PENALTIES}
    best = min(said, key=lambda penalty: tempered_loss(*said[penalty], 0.0))
    joint, target = said[best]
    scale, slope = calibration(joint, target)
    return _Choice(best, scale, slope, tempered_loss(scale * joint, target, slope))


def _left_out(
    parts: Sequence[Samples], bases: Bases, policy: Policy, penalty: float
) -> tuple[DoubleArray, NDArray[np.int64]]:
    """latest_joint() of every part, by weights that the other parts taught."""
    joints, targets = [], []
    for place, part in enumerate(parts):
        rest = joined([other for number, other in enumerate(parts) if number != place])
        joint, target = latest_joint(part, solve(rest, bases, policy, penalty), bases, policy)
        joints.append(joint)
        targets.append(target)
    return np.concatenate(joints), np.concatenate(targets)


def _content_alone() -> Numbers:
    return {name: value if name.endswith("pseudo") else float(name == "content") for name, value in _START.items()}


@dataclass(frozen=True, slots=True)
class _Heard:
    """What the groups say of R samples, and all together: joint [R, C2]. audience_weight: [R, 1]; votes: [R, C2], what
    comments say, cut at the bound; answers: [R], the content's."""

    history: _Lift
    interests: _Lift
    audience: _Lift
    audience_weight: DoubleArray
    comments: _Lift
    votes: DoubleArray
    answers: NDArray[np.int64]
    joint: DoubleArray


def _heard(samples: Samples, numbers: Numbers, bases: Bases, policy: Policy) -> _Heard:
    seen = samples.features
    history = _Lift(seen.history, numbers["history_pseudo"], bases.level1)
    interests = _Lift(seen.interests, numbers["interests_pseudo"], bases.level1)
    audience = _Lift(seen.audience, numbers["audience_pseudo"], bases.audience)
    audience_weight = (numbers["audience_weight"] + numbers["audience_completion"] * seen.completion)[:, None]
    comments = _Lift(samples.votes, numbers["comments_pseudo"], samples.comment_base)
    level1 = (
        numbers["history_weight"] * history.value
        + (numbers["vertical_weight"] + numbers["vertical_verified"] * seen.verified)[:, None] * seen.vertical
        + numbers["interests_weight"] * interests.value
        + audience_weight * audience.value
    )
    votes = np.clip(comments.value, -BOUND, BOUND)
    answers = samples.content.argmax(axis=1)
    joint = numbers["content"] * samples.content + level1[:, policy.parent] + numbers["comments_weight"] * votes
    joint[np.arange(len(samples)), answers] -= numbers["content_top"]
    return _Heard(history, interests, audience, audience_weight, comments, votes, answers, joint)


@dataclass(slots=True)
class _Lift:
    """signal_head.lift() and its slope along the pseudo-count A: b / (n + A b) - 1 / (N + A)."""

    counts: DoubleArray
    pseudo: float
    base: DoubleArray
    value: DoubleArray = field(init=False)

    def __post_init__(self) -> None:
        self.value = lift(self.counts, self.pseudo, self.base)

    @property
    def slope(self) -> DoubleArray:
        total = self.counts.sum(axis=1, keepdims=True)
        return np.asarray(self.base / (self.counts + self.pseudo * self.base) - 1.0 / (total + self.pseudo))


def _named(names: Sequence[str], pseudo: NDArray[np.bool_], free: DoubleArray) -> Numbers:
    values = np.where(pseudo, np.exp(np.where(pseudo, free, 0.0)), free)
    return dict(zip(names, values.tolist(), strict=True))


def _shares(counts: NDArray[np.floating] | NDArray[np.integer]) -> DoubleArray:
    """With one observation spread evenly over the classes, so that none is impossible."""
    smoothed = counts + 1.0 / len(counts)
    return np.asarray(smoothed / smoothed.sum())


@dataclass(slots=True)
class _Steps:
    total: int
    progress: Progress | None
    done: int = 0

    def advance(self) -> None:
        self.done += 1
        if self.progress:
            self.progress(self.done, self.total)

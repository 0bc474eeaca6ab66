"""The signal head's weights: maximum likelihood with a ridge towards content alone, chosen by cross-validation.

Minimised over weights w >= 0 and pseudo-counts A is the mean over videos of -log P(class | evidence at some moment)
plus penalty / 2 * (sum of w^2 + (content - 1)^2), content_top being one of the w, plus a weak pull of log A to where it
starts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from models.decision.probabilities import DoubleArray, sum_children
from models.decision.signal_head import lift
from models.decision.types import Policy, SignalHead
from models.training.comment_grams import BUCKETS, choose_penalty, fit_grams, loud_texts
from models.training.signal_items import Comments, Item
from models.training.signal_samples import Samples, chosen, joined, samples_of
from schemas.errors import UserError

FOLDS = 3
PENALTIES = (1e-4, 1e-3, 1e-2)
BOUND = 4.0  # of comments, in nats
LOUD = 60  # texts of each class that a brigade chooses from

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
    """A head and how it was found. loss: mean negative log-likelihood of the latest evidence, cross-validated;
    content_loss: that of content alone for the same videos."""

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
    penalty, loss = _choose(known, bases, policy)
    steps.advance()
    grams = fit_grams(comments, n_level2, gram_penalty, buckets=buckets)
    head = SignalHead(
        **solve(everything, bases, policy, penalty),
        base=bases.level1,
        audience_base=bases.audience,
        comments_bound=BOUND,
        comment_base=grams.base,
        comment_grams=grams.grams,
    )
    steps.advance()
    return Fit(head, penalty, gram_penalty, loss, mean_loss(everything, _content_alone(), bases, policy))


def fold_of(video_id: str) -> int:
    """The same in every process and for every set of videos."""
    return int.from_bytes(blake2b(f"fold\0{video_id}".encode(), digest_size=4).digest()) % FOLDS


@dataclass(frozen=True, slots=True)
class Bases:
    """Shares of level-1 classes among videos and among viewers, [C1], all above 0."""

    level1: DoubleArray
    audience: DoubleArray


def solve(samples: Samples, bases: Bases, policy: Policy, penalty: float) -> Numbers:
    """The weights that make the targets most likely, and then their common scale, on the latest honest evidence."""
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
    return _scaled(samples, _named(names, pseudo, found.x), bases, policy)


def loss_and_gradient(samples: Samples, numbers: Numbers, bases: Bases, policy: Policy) -> tuple[float, Numbers]:
    """Mean negative log-likelihood by the samples' weights, and its slope along each number."""
    seen = samples.features
    history = _Lift(seen.history, numbers["history_pseudo"], bases.level1)
    interests = _Lift(seen.interests, numbers["interests_pseudo"], bases.level1)
    audience = _Lift(seen.audience, numbers["audience_pseudo"], bases.audience)
    comments = _Lift(samples.votes, numbers["comments_pseudo"], samples.comment_base)
    inside = np.abs(comments.value) <= BOUND
    said = np.clip(comments.value, -BOUND, BOUND)
    audience_weight = (numbers["audience_weight"] + numbers["audience_completion"] * seen.completion)[:, None]
    level1 = (
        numbers["history_weight"] * history.value
        + (numbers["vertical_weight"] + numbers["vertical_verified"] * seen.verified)[:, None] * seen.vertical
        + numbers["interests_weight"] * interests.value
        + audience_weight * audience.value
    )
    joint = numbers["content"] * samples.content + level1[:, policy.parent] + numbers["comments_weight"] * said
    rows, said_alone = np.arange(len(samples)), samples.content.argmax(axis=1)
    joint[rows, said_alone] -= numbers["content_top"]
    joint -= joint.max(axis=1, keepdims=True)
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
        "content_top": -float(by_level2[rows, said_alone].sum()),
        "history_weight": float((by_level1 * history.value).sum()),
        "history_pseudo": numbers["history_weight"] * float((by_level1 * history.slope).sum()),
        "vertical_weight": float(vertical_slope.sum()),
        "vertical_verified": float((vertical_slope * seen.verified).sum()),
        "interests_weight": float((by_level1 * interests.value).sum()),
        "interests_pseudo": numbers["interests_weight"] * float((by_level1 * interests.slope).sum()),
        "audience_weight": float(audience_slope.sum()),
        "audience_completion": float((audience_slope * seen.completion).sum()),
        "audience_pseudo": float((by_level1 * audience_weight * audience.slope).sum()),
        "comments_weight": float((by_level2 * said).sum()),
        "comments_pseudo": numbers["comments_weight"] * float((by_level2 * comments.slope * inside).sum()),
    }


def mean_loss(samples: Samples, numbers: Numbers, bases: Bases, policy: Policy) -> float:
    """Mean negative log-likelihood of the latest evidence of each video."""
    rows = np.flatnonzero(samples.latest)
    if not len(rows):
        return float("nan")
    return loss_and_gradient(_evenly(chosen(samples, rows)), numbers, bases, policy)[0]


def _choose(parts: Sequence[Samples], bases: Bases, policy: Policy) -> tuple[float, float]:
    """The penalty that serves the parts left out best, and its mean loss on them."""
    if len(parts) == 1:
        return PENALTIES[-1], float("nan")
    losses = {}
    for penalty in PENALTIES:
        held = []
        for place, part in enumerate(parts):
            rest = joined([other for number, other in enumerate(parts) if number != place])
            held.append(mean_loss(part, solve(rest, bases, policy, penalty), bases, policy))
        losses[penalty] = float(np.nanmean(held))
    best = min(losses, key=lambda penalty: losses[penalty])
    return best, losses[best]


def _scaled(samples: Samples, numbers: Numbers, bases: Bases, policy: Policy) -> Numbers:
    """All weights by one factor, a temperature: what was learnt under brigades is judged without."""
    rows = np.flatnonzero(samples.latest)
    if not len(rows):
        return numbers
    honest = _evenly(chosen(samples, rows))
    weights = [name for name in numbers if not name.endswith("pseudo")]

    def scaled(factor: float) -> Numbers:
        return numbers | {name: factor * numbers[name] for name in weights}

    found = optimize.minimize_scalar(
        lambda factor: loss_and_gradient(honest, scaled(factor), bases, policy)[0], bounds=(0.5, 2.0), method="bounded"
    )
    return scaled(float(found.x))


def _evenly(samples: Samples) -> Samples:
    samples.weight[:] = 1.0  # chosen() copied them
    return samples


def _content_alone() -> Numbers:
    return {name: value if name.endswith("pseudo") else float(name == "content") for name, value in _START.items()}


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

"""The signal head: a log-linear opinion pool of what is known besides the content (Genest and Zidek 1986).

log P(j | all) = (content * log P(j | content) - content_top [j = the content's answer] + sum over groups of s_group(j))
/ temperature + constant, for level-2 classes j of level-1 class c = parent(j). The temperature is a video's own, larger
the less is settled: inverse_temperature(). With lift(n, A, b)_c = log((n_c + A b_c) / ((N + A) b_c)), N = sum(n), which
is 0 where N = 0 and grows with every n_c:

    history    weight * lift(soft counts of the author's earlier videos)
    vertical   (weight + verified's) [c = main vertical]
    interests  weight * lift(interests, scaled to sum to 1)
    audience   (weight + completion's * completion rate) * lift(plays * audience shares): with few plays it is small
    comments   weight * lift(votes of the comments)_j, cut at the bound: no burst of comments goes beyond it

A signal that is not there contributes 0. Every row is computed on its own, whatever the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.decision.answers import BoolArray
from models.decision.comments import votes_of
from models.decision.probabilities import DoubleArray, IntArray
from models.decision.types import Evidence, SignalHead

AUTHOR_GROUPS = ("history", "vertical", "interests")
ENGAGEMENT_GROUPS = ("audience", "comments")
GROUPS = AUTHOR_GROUPS + ENGAGEMENT_GROUPS


@dataclass(frozen=True, slots=True)
class Features:
    """A batch's evidence in arrays, before any weight; a row of a signal that is not there is 0.

    history, interests (scaled to sum to 1), audience (plays * shares): [B, C1] counts. vertical: [B, C1] 0 or 1.
    verified: [B] 0 or 1; completion: [B], 0 where unknown.
    """

    history: DoubleArray
    vertical: DoubleArray
    verified: DoubleArray
    interests: DoubleArray
    audience: DoubleArray
    completion: DoubleArray


@dataclass(frozen=True, slots=True)
class Scores:
    """values: [G, B, C2] in nats, in the order of GROUPS; present: [G, B], whether the signal is there at all."""

    values: DoubleArray
    present: BoolArray


def features(evidences: Sequence[Evidence], n_level1: int) -> Features:
    """Raises ValueError on evidence that is negative, not a finite number, or of another taxonomy."""
    history, vertical, interests, audience = (np.zeros((len(evidences), n_level1)) for _ in range(4))
    verified, completion = (np.zeros(len(evidences)) for _ in range(2))
    for row, (_, _, _, author, engagement) in enumerate(evidences):
        if author is not None:
            if author.history_level1 is not None:
                if len(author.history_level1) != n_level1:
                    raise ValueError(f"a history of {len(author.history_level1)} classes does not fit {n_level1}")
                history[row] = author.history_level1
            if author.main_vertical is not None:
                vertical[row, author.main_vertical] = 1.0
            verified[row] = author.verified is True
            for level1, weight in author.interests:
                interests[row, level1] = weight
            if author.interests:
                interests[row] /= max(interests[row].sum(), np.finfo(np.float64).tiny)
        if engagement is not None:
            for level1, share in engagement.audience:
                audience[row, level1] = engagement.plays * share
            completion[row] = engagement.completion_rate or 0.0
    for each in (history, interests, audience, completion):
        if not (np.isfinite(each).all() and (each >= 0.0).all()):
            raise ValueError("evidence holds NaN, infinity or a negative number")
    return Features(
        history=history,
        vertical=vertical,
        verified=verified,
        interests=interests,
        audience=audience,
        completion=completion,
    )


def content_beside(head: SignalHead, content: DoubleArray, said: IntArray) -> DoubleArray:
    """[B, C2]: what content says where signals are there. content: [B, C2] joint_logits(); said: [B], its answers."""
    weighed = head.content * content
    weighed[np.arange(len(said)), said] -= head.content_top
    return np.asarray(weighed)


def signal_scores(head: SignalHead, evidences: Sequence[Evidence], parent: IntArray) -> Scores:
    """What each group says of each class. Raises ValueError as features() does."""
    found = features(evidences, len(head.base))
    comments = [() if each.engagement is None else each.engagement.top_comments for each in evidences]
    voted = votes_of(comments, head.comment_grams, head.comment_base)
    said = lift(voted, head.comments_pseudo, head.comment_base)
    heard = head.comments_weight * np.clip(said, -head.comments_bound, head.comments_bound)
    values = np.concatenate((level1_scores(head, found)[:, :, parent], heard[None]))
    sources = (found.history, found.vertical, found.interests, found.audience, voted)
    present = np.stack([each.any(axis=1) for each in sources])
    return Scores(values=values, present=present)


def level1_scores(head: SignalHead, found: Features) -> DoubleArray:
    """[G - 1, B, C1]: the groups that speak of level 1, which are all but comments."""
    audience_weight = head.audience_weight + head.audience_completion * found.completion
    return np.stack(
        (
            head.history_weight * lift(found.history, head.history_pseudo, head.base),
            (head.vertical_weight + head.vertical_verified * found.verified)[:, None] * found.vertical,
            head.interests_weight * lift(found.interests, head.interests_pseudo, head.base),
            audience_weight[:, None] * lift(found.audience, head.audience_pseudo, head.audience_base),
        )
    )


def inverse_temperature(joint: DoubleArray, entropy_slope: float) -> DoubleArray:
    """[B]: exp(-entropy_slope * H), H being the entropy in nats of softmax(joint), joint: [B, C2].

    A confidence is calibrated by how much is settled altogether, and the order of the classes stays as it is: after
    the entropy-based temperature scaling of Balanya, Maroñas and Ramos (2022), whose temperature grows with log H.
    """
    away = joint - joint.max(axis=1, keepdims=True)
    share = np.exp(away)
    total = share.sum(axis=1)
    entropy = np.log(total) - (share * away).sum(axis=1) / total
    return np.asarray(np.exp(-entropy_slope * entropy))


def lift(counts: DoubleArray, pseudo: float, base: DoubleArray) -> DoubleArray:
    """[B, C]: log of the classes' shares, smoothed by `pseudo` counts drawn from `base` [C], against `base`."""
    total = counts.sum(axis=1, keepdims=True)
    return np.asarray(np.log((counts + pseudo * base) / ((total + pseudo) * base)))

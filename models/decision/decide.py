"""Evidence and policy in, decision out. Pure: the same evidence and policy give the same decision, always, anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from models.decision.probabilities import DoubleArray, IntArray, Probabilities, hierarchical
from models.decision.types import Decision, Evidence, Policy, Reason, Route

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Answers:
    """The best answers of a batch, before any threshold: arrays [B]; top_classes and top_probabilities are [B, K].

    Calibration chooses thresholds on these, so that what it promises is what decide() does. `clear` is what acceptance
    at level 2 needs besides its threshold: both levels name the same branch and the runner-up is min_margin away.
    """

    level1: IntArray
    level1_probability: DoubleArray
    level2: IntArray
    level2_probability: DoubleArray
    margin: DoubleArray
    clear: BoolArray
    top_classes: IntArray
    top_probabilities: DoubleArray


def decide(evidence: Evidence, policy: Policy) -> Decision:
    """What is published of this video, and why. Raises ValueError on NaN, infinite or wrongly shaped logits."""
    return decide_many([evidence], policy)[0]


def decide_many(evidences: Sequence[Evidence], policy: Policy) -> list[Decision]:
    """decide() for a batch, in the order given; exactly the same decisions, at a fraction of the cost each."""
    if not evidences:
        return []
    probabilities = hierarchical(
        [evidence.content.level1_logits for evidence in evidences],
        [evidence.content.level2_logits for evidence in evidences],
        policy,
    )
    answers = best_answers(probabilities, policy)
    level2_threshold = policy.level2_thresholds[answers.level2].astype(np.float64)
    level1_threshold = policy.level1_thresholds[answers.level1].astype(np.float64)
    sure2 = answers.level2_probability >= level2_threshold
    accept = sure2 & answers.clear
    accept_level1 = ~accept & (answers.level1_probability >= level1_threshold)
    tail = np.zeros(len(policy.parent), dtype=np.bool_)
    tail[list(policy.tail_classes)] = True
    audit = [
        published and in_audit_sample(evidence.video_id, evidence.revision, policy.audit_rate)
        for evidence, published in zip(evidences, (accept | accept_level1).tolist(), strict=True)
    ]
    reasons = _bits(~sure2, ~answers.clear, tail[answers.level2], accept, np.asarray(audit))
    columns = zip(  # in the order of Decision's fields
        _ROUTES[accept + 2 * accept_level1].tolist(),
        answers.level1.tolist(),
        answers.level2.tolist(),
        np.where(accept, answers.level2_probability, answers.level1_probability).tolist(),
        answers.level1_probability.tolist(),
        answers.level2_probability.tolist(),
        answers.margin.tolist(),
        map(_paired, answers.top_classes.tolist(), answers.top_probabilities.tolist()),
        np.where(accept, level2_threshold, level1_threshold).tolist(),
        audit,
        _REASONS[reasons].tolist(),
        strict=True,
    )
    return list(map(Decision._make, columns))


def best_answers(probabilities: Probabilities, policy: Policy) -> Answers:
    """The most probable class of each level (of equals, the first in taxonomy order) and the runners-up."""
    level1 = probabilities.level1.argmax(axis=1)
    rows = np.arange(len(level1))
    depth = min(policy.top_k, len(policy.parent))
    looked_at = min(max(2, depth), len(policy.parent))
    # a few passes of argmax: a third of the time of a stable sort, and ties fall to the first class
    rest = probabilities.level2.copy()
    classes = np.empty((len(rest), looked_at), dtype=np.int64)
    top = np.empty((len(rest), looked_at))
    for place in range(looked_at):
        best = rest.argmax(axis=1)
        classes[:, place] = best
        top[:, place] = rest[rows, best]
        rest[rows, best] = -1.0
    level2 = classes[:, 0]
    margin = top[:, 0] - top[:, 1] if looked_at > 1 else top[:, 0]
    return Answers(
        level1=level1,
        level1_probability=probabilities.level1[rows, level1],
        level2=level2,
        level2_probability=top[:, 0],
        margin=margin,
        clear=(policy.parent[level2] == level1) & (margin >= policy.min_margin),
        top_classes=classes[:, :depth],
        top_probabilities=top[:, :depth],
    )


def in_audit_sample(video_id: str, revision: int, rate: float) -> bool:
    """Whether people also see this accepted video: a hash, so that every job and every replay picks the same ones."""
    digest = blake2b(f"{video_id}\0{revision}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) < rate * 2.0**64


def _paired(classes: Sequence[int], probabilities: Sequence[float]) -> tuple[tuple[int, float], ...]:
    return tuple(zip(classes, probabilities, strict=True))


def _bits(*flags: BoolArray) -> IntArray:
    """[B]: the flags of each row as one number, the first flag being bit 0."""
    numbers = np.zeros(len(flags[0]), dtype=np.int64)
    for place, flag in enumerate(flags):
        numbers += flag.astype(np.int64) << place
    return numbers


def _reasons_of(number: int) -> tuple[Reason, ...]:
    """Why level 2 is not published, and whether people also see what is, by the bits of _bits()."""
    unsure, unclear, tail, accepted, audit = (bool(number >> place & 1) for place in range(5))
    withheld = ((unsure, Reason.LOW_CONFIDENCE), (unclear, Reason.LOW_MARGIN), (tail, Reason.TAIL_CLASS))
    reasons = () if accepted else tuple(reason for holds, reason in withheld if holds)
    return (*reasons, Reason.AUDIT_SAMPLE) if audit else reasons


_ROUTES = np.array([Route.REVIEW, Route.ACCEPT, Route.ACCEPT_LEVEL1], dtype=np.object_)
_REASONS = np.fromiter(map(_reasons_of, range(32)), dtype=np.object_, count=32)

"""Evidence and policy in, decision out. Pure: the same evidence and policy give the same decision, always, anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import numpy as np

from models.decision.answers import BoolArray, best_answers, in_audit_sample
from models.decision.probabilities import IntArray, hierarchical
from models.decision.types import Decision, Evidence, Policy, Reason, Route
from models.decision.weigh import weigh


def decide(evidence: Evidence, policy: Policy) -> Decision:
    """What is published of this video, and why. Raises ValueError on NaN, infinite or wrongly shaped logits."""
    return decide_many([evidence], policy)[0]


def decide_many(evidences: Sequence[Evidence], policy: Policy) -> list[Decision]:
    """decide() for a batch, in the order given; exactly the same decisions, at a fraction of the cost each."""
    if not evidences:
        return []
    decisions = _by_content(evidences, policy)
    if policy.signals is not None:
        known = [n for n, each in enumerate(evidences) if each.author is not None or each.engagement is not None]
        if known:
            weighed = weigh([evidences[n] for n in known], [decisions[n] for n in known], policy, policy.signals)
            for place, decision in zip(known, weighed, strict=True):
                decisions[place] = decision
    return decisions


def _by_content(evidences: Sequence[Evidence], policy: Policy) -> list[Decision]:
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
    columns = zip(  # in the order of Decision's fields, the last three of which keep their defaults
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
        repeat(None),
        repeat(False),
        repeat(()),
        strict=False,  # what repeats has no end
    )
    return list(map(Decision._make, columns))


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

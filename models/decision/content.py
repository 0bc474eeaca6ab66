"""What content alone decides of a batch: first in arrays, then as decisions where no signal has a say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from models.decision.answers import Answers, BoolArray, best_answers, in_audit_sample
from models.decision.probabilities import DoubleArray, IntArray, joint_logits, normalised
from models.decision.types import ContentEvidence, Decision, Evidence, Policy, Reason, Route


@dataclass(frozen=True, slots=True)
class ByContent:
    """Arrays [B]. joint: [B, C2], the logarithm of each class's joint probability, but for a constant of each row.

    accept, accept_level1: which level is published; neither: people decide.
    """

    joint: DoubleArray
    answers: Answers
    accept: BoolArray
    accept_level1: BoolArray
    level2_threshold: DoubleArray
    level1_threshold: DoubleArray

    @property
    def confidence(self) -> DoubleArray:
        """Of what is published, or would be at level 1."""
        return np.where(self.accept, self.answers.level2_probability, self.answers.level1_probability)

    def at(self, rows: Sequence[int] | IntArray) -> ByContent:
        """Those rows alone."""
        return ByContent(
            joint=self.joint[rows],
            answers=self.answers.at(rows),
            accept=self.accept[rows],
            accept_level1=self.accept_level1[rows],
            level2_threshold=self.level2_threshold[rows],
            level1_threshold=self.level1_threshold[rows],
        )


def by_content(contents: Sequence[ContentEvidence], policy: Policy) -> ByContent:
    """Raises ValueError on NaN, infinite or wrongly shaped logits."""
    level1, level2 = zip(*contents, strict=True)
    joint = joint_logits(level1, level2, policy)
    answers = best_answers(normalised(joint.copy(), policy), policy)
    level2_threshold = policy.level2_thresholds[answers.level2].astype(np.float64)
    level1_threshold = policy.level1_thresholds[answers.level1].astype(np.float64)
    accept = (answers.level2_probability >= level2_threshold) & answers.clear
    accept_level1 = ~accept & (answers.level1_probability >= level1_threshold)
    return ByContent(joint, answers, accept, accept_level1, level2_threshold, level1_threshold)


def content_decisions(found: ByContent, evidences: Sequence[Evidence], policy: Policy) -> list[Decision]:
    """The decisions, in the order given."""
    answers, accept = found.answers, found.accept
    audit = audited(evidences, accept | found.accept_level1, policy)
    unsure = answers.level2_probability < found.level2_threshold
    reasons = bits(unsure, ~answers.clear, is_tail(answers.level2, policy), accept, np.asarray(audit))
    columns = zip(  # in the order of Decision's fields, the last three of which keep their defaults
        routes(accept, found.accept_level1),
        answers.level1.tolist(),
        answers.level2.tolist(),
        found.confidence.tolist(),
        answers.level1_probability.tolist(),
        answers.level2_probability.tolist(),
        answers.margin.tolist(),
        map(paired, answers.top_classes.tolist(), answers.top_probabilities.tolist()),
        np.where(accept, found.level2_threshold, found.level1_threshold).tolist(),
        audit,
        _REASONS[reasons].tolist(),
        repeat(None),
        repeat(False),
        repeat(()),
        strict=False,  # what repeats has no end
    )
    return list(map(Decision._make, columns))


# What weigh.py makes decisions of, too.


def routes(accept: BoolArray, accept_level1: BoolArray) -> list[Route]:
    """[B]: review where neither holds."""
    found: list[Route] = _ROUTES[accept + 2 * accept_level1].tolist()
    return found


def audited(evidences: Sequence[Evidence], published: BoolArray, policy: Policy) -> list[bool]:
    """[B]: which of the published ones people see as well."""
    return [
        public and in_audit_sample(evidence.video_id, evidence.revision, policy.audit_rate)
        for evidence, public in zip(evidences, published.tolist(), strict=True)
    ]


def is_tail(level2: IntArray, policy: Policy) -> BoolArray:
    tail = np.zeros(len(policy.parent), dtype=np.bool_)
    tail[list(policy.tail_classes)] = True
    return tail[level2]


def paired(classes: Sequence[int], probabilities: Sequence[float]) -> tuple[tuple[int, float], ...]:
    return tuple(zip(classes, probabilities, strict=True))


def bits(*flags: BoolArray) -> IntArray:
    """[B]: the flags of each row as one number, the first flag being bit 0."""
    numbers = np.zeros(len(flags[0]), dtype=np.int64)
    for place, flag in enumerate(flags):
        numbers += flag.astype(np.int64) << place
    return numbers


def reasons_of(number: int) -> tuple[Reason, ...]:
    """Why level 2 is not published, and whether people also see what is, by the bits of unsure, unclear, tail,
    accepted, audited."""
    unsure, unclear, tail, accepted, audit = (bool(number >> place & 1) for place in range(5))
    withheld = ((unsure, Reason.LOW_CONFIDENCE), (unclear, Reason.LOW_MARGIN), (tail, Reason.TAIL_CLASS))
    reasons = () if accepted else tuple(reason for holds, reason in withheld if holds)
    return (*reasons, Reason.AUDIT_SAMPLE) if audit else reasons


_ROUTES = np.array([Route.REVIEW, Route.ACCEPT, Route.ACCEPT_LEVEL1], dtype=np.object_)
_REASONS = np.fromiter(map(reasons_of, range(32)), dtype=np.object_, count=32)

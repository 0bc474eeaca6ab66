"""Signals beside the content: the posterior, what it moves, and who has to look.

Stateless: a decision follows from the evidence at hand alone, so the order in which evidence came cannot matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.decision.answers import Answers, BoolArray, best_answers
from models.decision.content import (
    ByContent,
    audited,
    bits,
    by_content,
    content_decisions,
    is_tail,
    paired,
    reasons_of,
    routes,
)
from models.decision.probabilities import DoubleArray, IntArray, Probabilities, normalised
from models.decision.signal_head import AUTHOR_GROUPS, GROUPS, content_beside, inverse_temperature, signal_scores
from models.decision.types import (
    ContentAnswer,
    Decision,
    Evidence,
    FloatArray,
    Policy,
    Reason,
    SignalHead,
    SignalRules,
)

CONTENT = "content"  # the name under which what content says otherwise beside signals explains itself


@dataclass(frozen=True, slots=True)
class Posterior:
    """What content and signals say together, [B] before any threshold. Calibration chooses thresholds on this.

    probabilities and classes are of the answer, which stays the content's unless another class beats it by the margin.
    `other` is what the answer is held against: the content's answer where it moved, else the next best class.
    """

    probabilities: Probabilities
    level1: IntArray
    level2: IntArray
    level1_probability: DoubleArray
    level2_probability: DoubleArray
    margin: DoubleArray
    clear: BoolArray
    informed: BoolArray  # some signal is there; else all is the content's own
    moved: BoolArray
    contributions: DoubleArray  # [G + 1, B]: of GROUPS, then of CONTENT, in favour of level2 against `other`
    other: IntArray
    best: Answers  # whatever the margin


def posterior(evidences: Sequence[Evidence], policy: Policy, head: SignalHead, margin: float) -> Posterior:
    """Both levels' answers of a batch. Raises ValueError on evidence that cannot be."""
    return _posterior(evidences, by_content([each.content for each in evidences], policy), policy, head, margin)


def _posterior(
    evidences: Sequence[Evidence], content: ByContent, policy: Policy, head: SignalHead, margin: float
) -> Posterior:
    scores = signal_scores(head, evidences, policy.parent)
    informed: BoolArray = np.asarray(scores.present.any(axis=0))
    rows = np.arange(len(evidences))

    said = content.answers
    beside = np.where(informed[:, None], content_beside(head, content.joint, said.level2), content.joint)
    whole = beside + scores.values.sum(axis=0)  # a group that is not there adds exactly 0
    sharpness = np.where(informed, inverse_temperature(whole, head.entropy_slope), 1.0)[:, None]
    joint = sharpness * whole
    probabilities = normalised(joint.copy(), policy)
    best = best_answers(probabilities, policy)
    level1, moved1 = _moved(np.log(np.maximum(probabilities.level1, _TINY)), said.level1, best.level1, margin)
    level2, moved2 = _moved(joint, said.level2, best.level2, margin)

    level2_probability = probabilities.level2[rows, level2]
    rest = probabilities.level2.copy()
    rest[rows, level2] = -1.0
    next_best = rest.argmax(axis=1)
    lead = level2_probability - np.maximum(rest[rows, next_best], 0.0)  # the whole probability where nothing is next
    other = np.where(moved2, said.level2, next_best)
    gains = np.concatenate((sharpness * scores.values, (sharpness * beside - content.joint)[None]))
    return Posterior(
        probabilities=probabilities,
        level1=level1,
        level2=level2,
        level1_probability=probabilities.level1[rows, level1],
        level2_probability=level2_probability,
        margin=lead,
        clear=(policy.parent[level2] == level1) & (lead >= policy.min_margin),
        informed=informed,
        moved=moved1 | moved2,
        contributions=gains[:, rows, level2] - gains[:, rows, other],
        other=other,
        best=best,
    )


@dataclass(frozen=True, slots=True)
class Weighed:
    """What signals and content decide of a batch, in arrays [B]; decisions() tells it in full."""

    evidences: Sequence[Evidence]
    policy: Policy
    content: ByContent
    found: Posterior
    accept: BoolArray
    accept_level1: BoolArray
    threshold: DoubleArray
    audit: Sequence[bool]
    reasons: IntArray  # bits
    called: BoolArray  # people, by reports or a conflict

    def decisions(self, wanted: Sequence[int]) -> list[Decision]:
        """Of those rows, in that order. Where no signal speaks, they are those of content alone."""
        rows = np.fromiter(wanted, np.int64, len(wanted))
        found, content = self.found, self.content.at(rows)
        accept, accept_level1, informed = self.accept[rows], self.accept_level1[rows], found.informed[rows]
        level1_probability, level2_probability = found.level1_probability[rows], found.level2_probability[rows]
        columns = zip(  # in the order of Decision's fields
            routes(accept, accept_level1),
            found.level1[rows].tolist(),
            found.level2[rows].tolist(),
            np.where(accept, level2_probability, level1_probability).tolist(),
            level1_probability.tolist(),
            level2_probability.tolist(),
            found.margin[rows].tolist(),
            map(paired, found.best.top_classes[rows].tolist(), found.best.top_probabilities[rows].tolist()),
            self.threshold[rows].tolist(),
            [self.audit[row] for row in wanted],
            _REASONS[self.reasons[rows]].tolist(),
            _content_answers(content),
            found.moved[rows].tolist(),
            map(_explained, informed.tolist(), found.contributions[:, rows].T.tolist()),
            strict=True,
        )
        decisions = list(map(Decision._make, columns))
        unheard = np.flatnonzero(~(informed | self.called[rows])).tolist()
        alone = content_decisions(content.at(unheard), [self.evidences[wanted[n]] for n in unheard], self.policy)
        for n, decision in zip(unheard, alone, strict=True):
            decisions[n] = decision
        return decisions


def weigh(evidences: Sequence[Evidence], content: ByContent, policy: Policy, rules: SignalRules) -> Weighed:
    """Signals beside what content alone decides of each video. A video without any is decided by its content."""
    found = _posterior(evidences, content, policy, rules.head, rules.margin)
    level2_threshold = _thresholds(found.informed, rules.level2_thresholds, policy.level2_thresholds, found.level2)
    level1_threshold = _thresholds(found.informed, rules.level1_thresholds, policy.level1_thresholds, found.level1)
    sure2 = found.level2_probability >= level2_threshold
    supported2 = sure2 & found.clear
    supported1 = ~supported2 & (found.level1_probability >= level1_threshold)
    calls = (_reported(evidences, rules), *_conflicts(found, content, supported2, supported1))
    called = np.logical_or.reduce(calls)
    accept, accept_level1 = supported2 & ~called, supported1 & ~called
    audit = audited(evidences, accept | accept_level1, policy)
    tail = ~supported2 & is_tail(found.level2, policy)
    return Weighed(
        evidences=evidences,
        policy=policy,
        content=content,
        found=found,
        accept=accept,
        accept_level1=accept_level1,
        threshold=np.where(accept, level2_threshold, level1_threshold),
        audit=audit,
        reasons=bits(~sure2, ~found.clear, tail, accept, np.asarray(audit), *calls),
        called=called,
    )


_TINY = float(np.finfo(np.float64).tiny)
_CALLS = (Reason.REPORTED, Reason.PRIOR_CONFLICT, Reason.ENGAGEMENT_CONFLICT)


def _moved(joint: DoubleArray, said: IntArray, best: IntArray, margin: float) -> tuple[IntArray, BoolArray]:
    """The answers, and where they are no longer what content said: where the best is ahead of it by the margin."""
    rows = np.arange(len(joint))
    moved = (best != said) & (joint[rows, best] - joint[rows, said] >= margin)
    return np.where(moved, best, said), moved


def _thresholds(informed: BoolArray, weighed: FloatArray, alone: FloatArray, classes: IntArray) -> DoubleArray:
    return np.where(informed, weighed[classes], alone[classes]).astype(np.float64)


def _reported(evidences: Sequence[Evidence], rules: SignalRules) -> BoolArray:
    """[B]: who is reported often enough, by count and by share of plays."""
    return np.array(
        [
            each.engagement is not None
            and each.engagement.reports >= max(rules.report_count, rules.report_share * each.engagement.plays)
            for each in evidences
        ]
    )


def _conflicts(
    found: Posterior, content: ByContent, supported2: BoolArray, supported1: BoolArray
) -> tuple[BoolArray, BoolArray]:
    """[B] each: the author, and engagement, speak against an answer that content would have published, which still
    stands and has lost its support."""
    published, supported = 2 * content.accept + content.accept_level1, 2 * supported2 + supported1
    lost = ~found.moved & (supported < published)
    author = found.contributions[: len(AUTHOR_GROUPS)].sum(axis=0)
    engagement = found.contributions[len(AUTHOR_GROUPS) : len(GROUPS)].sum(axis=0)
    return lost & (author < 0.0), lost & (engagement < 0.0)


def _content_answers(content: ByContent) -> Iterator[ContentAnswer]:
    columns = (content.answers.level1.tolist(), content.answers.level2.tolist(), content.confidence.tolist())
    return map(ContentAnswer, routes(content.accept, content.accept_level1), *columns)


def _explained(informed: bool, gains: Sequence[float]) -> tuple[tuple[str, float], ...]:
    return tuple((group, gain) for group, gain in zip(_NAMES, gains, strict=True) if gain != 0.0) if informed else ()


def _reasons_of(number: int) -> tuple[Reason, ...]:
    """Who calls people, by the bits above those of content's reasons, and then those."""
    calls = tuple(reason for place, reason in enumerate(_CALLS) if number >> 5 + place & 1)
    return (*calls, *reasons_of(number))


_NAMES = (*GROUPS, CONTENT)
_REASONS = np.fromiter(map(_reasons_of, range(256)), dtype=np.object_, count=256)

"""Signals beside the content: the posterior, what it moves, and who has to look.

Stateless: a decision follows from the evidence at hand alone, so the order in which evidence came cannot matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.decision.answers import BoolArray, best_answers, in_audit_sample
from models.decision.probabilities import DoubleArray, IntArray, Probabilities, joint_logits, normalised
from models.decision.signal_head import AUTHOR_GROUPS, GROUPS, content_beside, signal_scores
from models.decision.types import (
    ContentAnswer,
    Decision,
    Evidence,
    FloatArray,
    Policy,
    Reason,
    Route,
    SignalHead,
    SignalRules,
)

CONTENT = "content"  # the name under which the weight of content beside signals explains itself


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


def posterior(evidences: Sequence[Evidence], policy: Policy, head: SignalHead, margin: float) -> Posterior:
    """Both levels' answers of a batch. Raises ValueError on evidence that cannot be."""
    content = joint_logits(
        [evidence.content.level1_logits for evidence in evidences],
        [evidence.content.level2_logits for evidence in evidences],
        policy,
    )
    scores = signal_scores(head, evidences, policy.parent)
    informed: BoolArray = np.asarray(scores.present.any(axis=0))
    rows = np.arange(len(evidences))

    said = best_answers(normalised(content.copy(), policy), policy)
    beside = np.where(informed[:, None], content_beside(head, content, said.level2), content)
    joint = np.where(informed[:, None], beside + scores.values.sum(axis=0), content)
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
    gains = np.concatenate((scores.values, (beside - content)[None]))
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
    )


def weigh(
    evidences: Sequence[Evidence], contents: Sequence[Decision], policy: Policy, rules: SignalRules
) -> list[Decision]:
    """The decisions of videos about which something is known, from what content alone decided of them."""
    found = posterior(evidences, policy, rules.head, rules.margin)
    level2_threshold = _thresholds(found.informed, rules.level2_thresholds, policy.level2_thresholds, found.level2)
    level1_threshold = _thresholds(found.informed, rules.level1_thresholds, policy.level1_thresholds, found.level1)
    sure2 = found.level2_probability >= level2_threshold
    supported2 = sure2 & found.clear
    supported1 = ~supported2 & (found.level1_probability >= level1_threshold)
    best = best_answers(found.probabilities, policy)
    gains = found.contributions.T.tolist()
    decisions = []
    for n, (evidence, content) in enumerate(zip(evidences, contents, strict=True)):
        route = Route.ACCEPT if supported2[n] else Route.ACCEPT_LEVEL1 if supported1[n] else Route.REVIEW
        calls = (*_reported(evidence, rules), *_conflicts(found, n, content.route, route))
        if not (found.informed[n] or calls):
            decisions.append(content)
            continue
        if calls:
            route = Route.REVIEW
        accept = route is Route.ACCEPT
        level2 = int(found.level2[n])
        audit = route is not Route.REVIEW and in_audit_sample(evidence.video_id, evidence.revision, policy.audit_rate)
        withheld = (
            (not sure2[n], Reason.LOW_CONFIDENCE),
            (not found.clear[n], Reason.LOW_MARGIN),
            (not supported2[n] and level2 in policy.tail_classes, Reason.TAIL_CLASS),
        )
        decisions.append(
            Decision(
                route=route,
                level1=int(found.level1[n]),
                level2=level2,
                confidence=float((found.level2_probability if accept else found.level1_probability)[n]),
                level1_probability=float(found.level1_probability[n]),
                level2_probability=float(found.level2_probability[n]),
                margin=float(found.margin[n]),
                top_k=tuple(zip(best.top_classes[n].tolist(), best.top_probabilities[n].tolist(), strict=True)),
                threshold=float((level2_threshold if accept else level1_threshold)[n]),
                audit=audit,
                reasons=(
                    *calls,
                    *(reason for holds, reason in withheld if holds and not accept),
                    *((Reason.AUDIT_SAMPLE,) if audit else ()),
                ),
                content=ContentAnswer(content.route, content.level1, content.level2, content.confidence),
                moved=bool(found.moved[n]),
                contributions=_explained(gains[n]) if found.informed[n] else (),
            )
        )
    return decisions


_TINY = float(np.finfo(np.float64).tiny)
_RANK = {Route.REVIEW: 0, Route.ACCEPT_LEVEL1: 1, Route.ACCEPT: 2}


def _moved(joint: DoubleArray, said: IntArray, best: IntArray, margin: float) -> tuple[IntArray, BoolArray]:
    """The answers, and where they are no longer what content said: where the best is ahead of it by the margin."""
    rows = np.arange(len(joint))
    moved = (best != said) & (joint[rows, best] - joint[rows, said] >= margin)
    return np.where(moved, best, said), moved


def _thresholds(informed: BoolArray, weighed: FloatArray, alone: FloatArray, classes: IntArray) -> DoubleArray:
    return np.where(informed, weighed[classes], alone[classes]).astype(np.float64)


def _reported(evidence: Evidence, rules: SignalRules) -> tuple[Reason, ...]:
    engagement = evidence.engagement
    if engagement is None or engagement.reports < rules.report_count:
        return ()
    return (Reason.REPORTED,) if engagement.reports >= rules.report_share * engagement.plays else ()


def _conflicts(found: Posterior, n: int, before: Route, now: Route) -> tuple[Reason, ...]:
    """Who disagrees, where an answer that content would have published still stands but lost its support."""
    if found.moved[n] or _RANK[now] >= _RANK[before]:
        return ()
    author = found.contributions[: len(AUTHOR_GROUPS), n].sum()
    engagement = found.contributions[len(AUTHOR_GROUPS) : len(GROUPS), n].sum()
    against = ((author, Reason.PRIOR_CONFLICT), (engagement, Reason.ENGAGEMENT_CONFLICT))
    return tuple(reason for gain, reason in against if gain < 0.0)


def _explained(gains: Sequence[float]) -> tuple[tuple[str, float], ...]:
    return tuple((group, gain) for group, gain in zip((*GROUPS, CONTENT), gains, strict=True) if gain != 0.0)

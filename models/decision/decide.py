"""Evidence and policy in, decision out. Pure: the same evidence and policy give the same decision, always, anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.decision.content import ByContent, by_content, content_decisions, routes
from models.decision.types import Decision, Evidence, Policy, Route
from models.decision.weigh import Weighed, weigh


def decide(evidence: Evidence, policy: Policy) -> Decision:
    """What is published of this video, and why. Raises ValueError on NaN, infinite or wrongly shaped logits."""
    return decide_many([evidence], policy)[0]


def decide_many(evidences: Sequence[Evidence], policy: Policy) -> list[Decision]:
    """decide() for a batch, in the order given; exactly the same decisions, at a fraction of the cost each."""
    if not evidences:
        return []
    content = by_content([each.content for each in evidences], policy)
    heard = _heard(evidences, policy)
    if policy.signals is None or not any(heard):
        return content_decisions(content, evidences, policy)
    if all(heard):
        return weigh(evidences, content, policy, policy.signals).decisions(range(len(evidences)))
    some, rest = ([n for n, each in enumerate(heard) if each is wanted] for wanted in (True, False))
    weighed = weigh([evidences[n] for n in some], content.at(some), policy, policy.signals)
    said = iter(weighed.decisions(range(len(some))))
    alone = iter(content_decisions(content.at(rest), [evidences[n] for n in rest], policy))
    return [next(said if each else alone) for each in heard]


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What decide_many() says, without saying why: the columns of a batch's decisions. decisions: those of some rows in
    full, which cost several times as much."""

    route: Sequence[Route]
    level1: Sequence[int]
    level2: Sequence[int]
    level2_probability: Sequence[float]
    decisions: Callable[[Sequence[int]], list[Decision]]


def verdicts(evidences: Sequence[Evidence], policy: Policy) -> Verdicts:
    """Of a batch that is not empty, in the order given. Raises ValueError as decide() does."""
    content = by_content([each.content for each in evidences], policy)
    if policy.signals is None or not any(_heard(evidences, policy)):
        return _of_content(content, evidences, policy)
    return _of_all(weigh(evidences, content, policy, policy.signals))


def _heard(evidences: Sequence[Evidence], policy: Policy) -> list[bool]:
    return [
        policy.signals is not None and (each.author is not None or each.engagement is not None) for each in evidences
    ]


def _of_content(content: ByContent, evidences: Sequence[Evidence], policy: Policy) -> Verdicts:
    return Verdicts(
        routes(content.accept, content.accept_level1),
        content.answers.level1.tolist(),
        content.answers.level2.tolist(),
        content.answers.level2_probability.tolist(),
        lambda rows: content_decisions(content.at(rows), [evidences[row] for row in rows], policy),
    )


def _of_all(weighed: Weighed) -> Verdicts:
    return Verdicts(
        routes(weighed.accept, weighed.accept_level1),
        weighed.found.level1.tolist(),
        weighed.found.level2.tolist(),
        weighed.found.level2_probability.tolist(),
        weighed.decisions,
    )

"""Evidence and policy in, decision out. Pure: the same evidence and policy give the same decision, always, anywhere."""

from __future__ import annotations

from collections.abc import Sequence

from models.decision.content import by_content, content_decisions
from models.decision.types import Decision, Evidence, Policy
from models.decision.weigh import weigh


def decide(evidence: Evidence, policy: Policy) -> Decision:
    """What is published of this video, and why. Raises ValueError on NaN, infinite or wrongly shaped logits."""
    return decide_many([evidence], policy)[0]


def decide_many(evidences: Sequence[Evidence], policy: Policy) -> list[Decision]:
    """decide() for a batch, in the order given; exactly the same decisions, at a fraction of the cost each."""
    if not evidences:
        return []
    content = by_content([each.content for each in evidences], policy)
    heard = [
        policy.signals is not None and (each.author is not None or each.engagement is not None) for each in evidences
    ]
    if policy.signals is None or not any(heard):
        return content_decisions(content, evidences, policy)
    if all(heard):
        return weigh(evidences, content, policy, policy.signals)
    some, rest = ([n for n, each in enumerate(heard) if each is wanted] for wanted in (True, False))
    weighed = iter(weigh([evidences[n] for n in some], content.at(some), policy, policy.signals))
    alone = iter(content_decisions(content.at(rest), [evidences[n] for n in rest], policy))
    return [next(weighed if each else alone) for each in heard]

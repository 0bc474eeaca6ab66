"""Stored predictions decided again, now that more is known. Pure: no connection, no clock, no model run.

What comes out depends on what is stored alone, never on the order in which it came: a label moves where today's
decision would publish something else; where it would not, nothing is written but the priority of its task, and a
question to people about what one of them said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from models.decision.decide import Verdicts, decide, verdicts
from models.decision.signal_head import AUTHOR_GROUPS, signal_scores
from models.decision.supersede import Standing, contradicts, supersedes
from models.decision.types import Decision, Evidence, Reason, Route
from schemas import ids
from schemas.events import Trigger
from stream.store import encoding as pg
from stream.store.assemble import content_level1, human_conflict, published, standing_of
from stream.store.effects import Effects, EffectsOf
from stream.store.labelled import Labelled
from stream.store.rows import Cause, Decided, HumanWord, priority_of, top_k_json
from stream.store.signals import seen
from stream.store.work import LiveModel

WAIVED = frozenset({Reason.REVIEW_EXPIRED, Reason.OVER_BUDGET})
"""People were asked once and did not answer: the same doubt does not ask them again."""


@dataclass(slots=True)
class Reassessed:
    """effects: of labels that move; priorities: of the open tasks of others; questioned: videos whose human label
    people are asked about."""

    effects: Effects = field(default_factory=Effects)
    priorities: dict[str, float] = field(default_factory=dict)
    questioned: list[str] = field(default_factory=list)


def reassess(
    videos: Sequence[Labelled], model: LiveModel, now: datetime, deadline: datetime, cooldown: timedelta
) -> Reassessed:
    """Decide each again. Raises ValueError on a stored prediction that is none of this model's."""
    found = Reassessed()
    if not videos:
        return found
    evidences = [
        Evidence(*each.stored[:2], each.content, each.signals.author, each.signals.engagement) for each in videos
    ]
    moved: dict[Cause, list[Decided]] = defaultdict(list)
    asked: dict[Cause, list[Decided]] = defaultdict(list)
    said, moving = verdicts(evidences, model.policy), set[int]()
    looked_at = [row for row, each in enumerate(videos) if _may_move(each, said, row, model)]
    for row, decided in zip(looked_at, said.decisions(looked_at), strict=True):
        each, stored, evidence = videos[row], videos[row].stored, evidences[row]
        cause = Cause(each.trigger, stored.epoch if stored.model_id == model.model_id else model.epoch)
        decision = human_conflict(decided, stored.revision, each.human, model)
        candidate = standing_of(decision, stored.revision, model, cause.epoch)
        if not stored.is_human and _moves(each, decision, candidate, model):
            moved[cause].append(_decided(each, decision, model, stored.label_revision + 1))
            moving.add(row)
        elif stored.is_human and (why := _objection(each, evidence, decision, model, now, cooldown)):
            doubt = decision._replace(audit=False, reasons=(why,))
            asked[cause].append(_decided(each, doubt, model, None))
    found.priorities = {
        each.stored.video_id: priority_of(said.level2[row], said.level2_probability[row], model, each.signals.reach)
        for row, each in enumerate(videos)
        if each.stored.open_task is not None and row not in moving
    }
    known = {videos[row].stored.video_id: videos[row].known for row in looked_at}
    for cause in {**moved, **asked}:
        following = EffectsOf(found.effects, model, now, deadline, cause)
        following.decisions([*moved[cause], *asked[cause]], known)
        for question in asked[cause]:
            following.ask(question)
            found.questioned.append(question.video.video_id)
    return found


def restated(
    each: Labelled, earlier: HumanWord | None, model: LiveModel, now: datetime, deadline: datetime
) -> tuple[Effects, tuple[str | None, str | None, int]]:
    """The model's newest decision in the place of a human label that is taken back: what it causes, and the label's
    level 1, level 2 and label_revision. earlier: what people said of the revision before; it counts again."""
    free = each._replace(stored=each.stored.told(earlier), trigger=Trigger.REVIEW)
    evidence = Evidence(*each.stored[:2], each.content, each.signals.author, each.signals.engagement)
    decision = human_conflict(decide(evidence, model.policy), each.stored.revision, earlier, model)
    made = _decided(free, decision, model, each.stored.label_revision + 1)
    effects = Effects()
    following = EffectsOf(effects, model, now, deadline, Cause(Trigger.REVIEW, model.epoch))
    following.decisions([made], {each.stored.video_id: free.known})
    standing = standing_of(decision, each.stored.revision, model)
    return effects, (standing.level1, standing.level2, each.stored.label_revision + 1)


def _decided(each: Labelled, decision: Decision, model: LiveModel, label_revision: int | None) -> Decided:
    """Its id names the label it makes, or the human one it questions: done twice, it is the same decision."""
    stored = each.stored
    is_told = stored.model_id == model.model_id and not stored.is_human  # the author's history has what content says
    revision = stored.label_revision if label_revision is None else label_revision
    return Decided(
        video=each.video,
        key=pg.text(stored.video_id),
        decision=decision,
        decision_id=ids.decision_bytes(*stored[:2], model.model_id, "", each.trigger.value, revision),
        label_revision=label_revision,
        traceparent=stored.traceparent,
        top_k=top_k_json(decision, model),
        content_level1=None if is_told else content_level1([each.content], model)[0],
        seen=seen(each.signals, decision, model),
        human=each.human,
        reach=each.signals.reach,
        # people are asked about another answer, and wait no less; an audit's task, or a human label's, is another one
        waiting=each.waiting if each.route is Route.REVIEW is decision.route and not stored.is_human else None,
    )


def _may_move(each: Labelled, said: Verdicts, row: int, model: LiveModel) -> bool:
    """Whether a verdict is worth its decision: of all others _moves() is false, and nobody has a word to question."""
    stored, route = each.stored, said.route[row]
    if stored.human_revision is not None or route != stored.route:
        return True
    if route is Route.REVIEW:
        return each.best != (model.level1[said.level1[row]], model.level2[said.level2[row]])
    return (stored.level1, stored.level2) != published(route, said.level1[row], said.level2[row], model)


def _moves(each: Labelled, decision: Decision, candidate: Standing, model: LiveModel) -> bool:
    """Whether something else would be published, or shown to people, than is now."""
    if not supersedes(each.label, candidate) or (decision.route is Route.REVIEW and _is_waived(each, decision)):
        return False
    if decision.route is not each.route:
        return True
    if decision.route is Route.REVIEW:
        return each.best != (model.level1[decision.level1], model.level2[decision.level2])
    return (each.label.level1, each.label.level2) != (candidate.level1, candidate.level2)


def _is_waived(each: Labelled, decision: Decision) -> bool:
    """Whether people were asked before, in vain. Viewers' reports are a doubt of their own, beside any model's."""
    newly_reported = Reason.REPORTED in decision.reasons and Reason.REPORTED not in each.stored.reasons
    return not WAIVED.isdisjoint(each.stored.reasons) and not newly_reported


def _objection(
    each: Labelled, evidence: Evidence, decision: Decision, model: LiveModel, now: datetime, cooldown: timedelta
) -> Reason | None:
    """Why people look again at what one of them said: once for each label, not at once, and only where signals, which
    the reviewer did not have, speak for the decision's answer by more than the margin."""
    human, rules = each.human, model.policy.signals
    if human is None or human.questioned_at is not None or each.stored.open_task is not None or rules is None:
        return None
    if now - human.said_at < cooldown or not contradicts(each.label, standing_of(decision, human.revision, model)):
        return None
    said = (
        [model.level2.index(human.level2)]
        if human.level2 in model.level2
        else np.flatnonzero(model.policy.parent == model.level1.index(human.level1 or "")).tolist()
    )
    scores = signal_scores(rules.head, [evidence], model.policy.parent).values[:, 0]
    pull = scores[:, decision.level2] - scores[:, said].max(axis=1)
    prior, engagement = pull[: len(AUTHOR_GROUPS)].sum(), pull[len(AUTHOR_GROUPS) :].sum()
    if prior + engagement < rules.margin:
        return None
    return Reason.ENGAGEMENT_CONFLICT if engagement >= prior else Reason.PRIOR_CONFLICT

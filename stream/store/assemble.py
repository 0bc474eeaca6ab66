"""From a batch of analyses to the decisions made of them, and all that follows. Pure: no connection, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime

from models.decision.decide import decide_many
from models.decision.probabilities import DoubleArray, hierarchical
from models.decision.supersede import Standing, contradicts, supersedes
from models.decision.types import ContentEvidence, Decision, Evidence, Reason, Route
from schemas import ids
from schemas.events import Trigger, VideoPublished
from stream.classify.analyse import Analysis
from stream.store import encoding as pg
from stream.store.effects import Effects, EffectsOf
from stream.store.prior import Key, Known
from stream.store.rows import Cause, Decided, HumanWord, top_k_json
from stream.store.signals import NO_SIGNALS_KNOWN, Signals, seen
from stream.store.work import Analysed, LiveModel

CHUNK = 100  # videos that go from logits to rows together: what is made on the way stays in the processor's cache


class RowFault(Exception):
    """One row of the batch cannot be written, for a reason that is ours to name. `code` is a stable word."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored of a batch's videos, read under their locks. `known` may leave out videos that are new; `signals`
    those of which nothing is known but their content."""

    known: Mapping[str, Known]
    predictions: Mapping[Key, ContentEvidence]
    decided: Set[Key]
    signals: Mapping[Key, Signals] = field(default_factory=dict)


def assemble(
    analysed: Sequence[Analysed], stored: Stored, model: LiveModel, now: datetime, deadline: datetime
) -> Effects:
    """Decide, and say all that follows. Raises RowFault where a prediction cannot be decided on.

    A stored prediction wins over the analysis at hand. What this model decided before adds nothing, and a removed video
    gets neither prediction nor decision. A new revision that contradicts what a reviewer said of an earlier one goes to
    people.
    """
    chosen = _undecided(analysed, stored)
    effects = Effects()
    following = EffectsOf(effects, model, now, deadline, Cause(Trigger.PUBLISH, model.epoch))
    winners = _winners(chosen, stored.known, model)
    for start in range(0, len(chosen), CHUNK):
        chunk = chosen[start : start + CHUNK]
        contents, fresh = _contents(chunk, stored)
        following.predictions(fresh)
        following.decisions(_decide(chunk, contents, stored, model, winners), stored.known)
    return effects


def human_conflict(decision: Decision, revision: int, human: HumanWord | None, model: LiveModel) -> Decision:
    """The decision, or the same one routed to people where it contradicts what a reviewer said of an earlier
    revision."""
    if human is None or decision.route is Route.REVIEW or not revision > human.revision:
        return decision
    said = Standing(human.revision, 0, True, human.level1, human.level2)
    if not contradicts(said, standing_of(decision, revision, model)):
        return decision
    return decision._replace(route=Route.REVIEW, audit=False, reasons=(Reason.HUMAN_CONFLICT,))


def standing_of(decision: Decision, revision: int, model: LiveModel, epoch: int = 0) -> Standing:
    """What a decision would publish."""
    level1, level2 = published(decision.route, decision.level1, decision.level2, model)
    return Standing(revision, epoch, level1=level1, level2=level2)


def published(route: Route, level1: int, level2: int, model: LiveModel) -> tuple[str | None, str | None]:
    """The categories that a route lets out of a decision's best answers."""
    return (
        None if route is Route.REVIEW else model.level1[level1],
        model.level2[level2] if route is Route.ACCEPT else None,
    )


def _undecided(analysed: Sequence[Analysed], stored: Stored) -> list[Analysed]:
    """Those that need a decision, each input once."""
    finished = set(stored.decided)
    chosen = []
    for each in analysed:
        video = each.video
        key = (video.video_id, video.revision)
        held = stored.known.get(video.video_id)
        if key not in finished and (held is None or not held.removed):
            finished.add(key)
            chosen.append(each)
    return chosen


def _winners(chosen: Sequence[Analysed], known: Mapping[str, Known], model: LiveModel) -> dict[Key, int]:
    """The inputs whose decision comes into force, and their label_revision: at most one of each video."""
    best: dict[str, Standing] = {}
    for each in chosen:
        video_id = each.video.video_id
        current = best.get(video_id) or (known[video_id].label if video_id in known else None)
        candidate = Standing(each.video.revision, model.epoch)
        if supersedes(current, candidate):
            best[video_id] = candidate
    return {
        (video_id, label.revision): (known[video_id].label_revision if video_id in known else 0) + 1
        for video_id, label in best.items()
    }


def _contents(
    chosen: Sequence[Analysed], stored: Stored
) -> tuple[list[ContentEvidence], list[tuple[VideoPublished, Analysis]]]:
    """What is decided on, and what of it is not stored yet."""
    contents, fresh = [], list[tuple[VideoPublished, Analysis]]()
    for each in chosen:
        content = stored.predictions.get((each.video.video_id, each.video.revision))
        if content is None:
            if each.analysis is None:
                raise RowFault("prediction_missing", "the stored prediction this decision rests on is gone")
            content = ContentEvidence(each.analysis.level1_logits, each.analysis.level2_logits)
            fresh.append((each.video, each.analysis))
        contents.append(content)
    return contents, fresh


def _decide(
    chosen: Sequence[Analysed],
    contents: Sequence[ContentEvidence],
    stored: Stored,
    model: LiveModel,
    winners: Mapping[Key, int],
) -> list[Decided]:
    keys = [(each.video.video_id, each.video.revision) for each in chosen]
    signals = [stored.signals.get(key, NO_SIGNALS_KNOWN) for key in keys]
    evidences = [
        Evidence(*key, content, known.author, known.engagement)
        for key, content, known in zip(keys, contents, signals, strict=True)
    ]
    try:
        decisions = decide_many(evidences, model.policy)
        shares = content_level1(contents, model)
    except ValueError as error:
        raise RowFault("bad_logits", str(error)) from error
    made = []
    for each, key, decision, share, known in zip(chosen, keys, decisions, shares, signals, strict=True):
        held = stored.known.get(each.video.video_id)
        human = held.human if held else None
        routed = human_conflict(decision, each.video.revision, human, model)
        made.append(
            Decided(
                video=each.video,
                key=pg.text(each.video.video_id),
                decision=routed,
                decision_id=ids.decision_bytes(*key, model.model_id, "", _PUBLISH),
                label_revision=winners.get(key),
                traceparent=each.input.traceparent,
                top_k=top_k_json(routed, model),
                content_level1=share,
                seen=seen(known, routed, model),
                human=human,
                reach=known.reach,
            )
        )
    return made


def content_level1(contents: Sequence[ContentEvidence], model: LiveModel) -> DoubleArray:
    """[B, C1]: what the content alone says of each video's level 1."""
    level1, level2 = zip(*contents, strict=True)
    return hierarchical(level1, level2, model.policy).level1


_PUBLISH = Trigger.PUBLISH.value

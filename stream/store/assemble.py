"""From a batch of analyses to the rows and records they cause. Pure: no connection, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime

from models.decision.decide import decide_many
from models.decision.supersede import Standing, supersedes
from models.decision.types import ContentEvidence, Evidence, Route
from schemas import ids
from schemas.events import Trigger, VideoPublished
from stream.classify.analyse import Analysis
from stream.store import encoding as pg
from stream.store.messages import OUTBOX_COLUMNS, Announcer, withdrawal
from stream.store.prior import Key, Known
from stream.store.rows import (
    DECISION_COLUMNS,
    LABEL_COLUMNS,
    PREDICTION_COLUMNS,
    TASK_COLUMNS,
    Decided,
    RowBuilder,
    priority_of,
    top_k_json,
)
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
    """What is stored of a batch's videos, read under their locks. `known` may leave out videos that are new."""

    known: Mapping[str, Known]
    predictions: Mapping[Key, ContentEvidence]
    decided: Set[Key]


@dataclass(slots=True)
class Effects:
    """What a batch of analyses causes: rows for COPY, in blocks, and the videos whose label or task makes room."""

    predictions: list[bytes] = field(default_factory=list)
    decisions: list[bytes] = field(default_factory=list)
    labels: list[bytes] = field(default_factory=list)
    tasks: list[bytes] = field(default_factory=list)
    outbox: list[bytes] = field(default_factory=list)
    relabelled: list[str] = field(default_factory=list)  # video_ids that may have had a label before
    pointless: list[str] = field(default_factory=list)  # video_ids whose open task is withdrawn
    taken: Counter[tuple[Route, str]] = field(default_factory=Counter)  # decisions by route and first reason


def assemble(
    analysed: Sequence[Analysed], stored: Stored, model: LiveModel, now: datetime, deadline: datetime
) -> Effects:
    """Decide, and say all that follows. Raises RowFault where a prediction cannot be decided on.

    A stored prediction wins over the analysis at hand. What this model decided before adds nothing, and a removed video
    gets neither prediction nor decision.
    """
    chosen = _undecided(analysed, stored)
    assembly = _Assembly(stored, model, now, deadline, _winners(chosen, stored.known, model))
    for start in range(0, len(chosen), CHUNK):
        assembly.add(chosen[start : start + CHUNK])
    return assembly.effects


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


class _Assembly:
    """The effects of one batch while they are gathered."""

    def __init__(
        self, stored: Stored, model: LiveModel, now: datetime, deadline: datetime, winners: Mapping[Key, int]
    ) -> None:
        self._stored = stored
        self._model = model
        self._now = now
        self._deadline = deadline
        self._winners = winners
        self._rows = RowBuilder(model, now)
        self._announcer = Announcer(model, now)
        self.effects = Effects()

    def add(self, chosen: Sequence[Analysed]) -> None:
        effects = self.effects
        decided = self._decide(chosen)
        effects.taken.update((each.decision.route, next(iter(each.decision.reasons), "")) for each in decided)
        effects.decisions.append(pg.rows(DECISION_COLUMNS, [self._rows.decision(each) for each in decided]))
        in_force = [each for each in decided if each.label_revision is not None]
        effects.labels.append(pg.rows(LABEL_COLUMNS, [self._rows.label(each) for each in in_force]))
        self._announce(in_force)

    def _decide(self, chosen: Sequence[Analysed]) -> list[Decided]:
        model = self._model
        contents, fresh = self._contents(chosen)
        try:
            decisions = decide_many(
                [
                    Evidence(each.video.video_id, each.video.revision, content)
                    for each, content in zip(chosen, contents, strict=True)
                ],
                model.policy,
            )
        except ValueError as error:
            raise RowFault("bad_logits", str(error)) from error
        self.effects.predictions.append(pg.rows(PREDICTION_COLUMNS, self._rows.predictions(fresh)))
        return [
            Decided(
                video=each.video,
                key=pg.text(each.video.video_id),
                decision=decision,
                decision_id=ids.decision_bytes(each.video.video_id, each.video.revision, model.model_id, "", _PUBLISH),
                label_revision=self._winners.get((each.video.video_id, each.video.revision)),
                traceparent=each.input.traceparent,
                top_k=top_k_json(decision, model),
            )
            for each, decision in zip(chosen, decisions, strict=True)
        ]

    def _contents(
        self, chosen: Sequence[Analysed]
    ) -> tuple[list[ContentEvidence], list[tuple[VideoPublished, Analysis]]]:
        """What is decided on, and what of it is not stored yet."""
        contents, fresh = [], list[tuple[VideoPublished, Analysis]]()
        for each in chosen:
            content = self._stored.predictions.get((each.video.video_id, each.video.revision))
            if content is None:
                if each.analysis is None:
                    raise RowFault("prediction_missing", "the stored prediction this decision rests on is gone")
                content = ContentEvidence(each.analysis.level1_logits, each.analysis.level2_logits)
                fresh.append((each.video, each.analysis))
            contents.append(content)
        return contents, fresh

    def _announce(self, in_force: Sequence[Decided]) -> None:
        """At most one task of a video is open, and it is about the label in force: what asks for another one goes
        first."""
        known, now = self._stored.known, self._now
        records, tasks = [], []
        for each in in_force:
            decision, video_id = each.decision, each.video.video_id
            records.append(self._announcer.label(each))
            held = known.get(video_id)
            if held is not None:
                self.effects.relabelled.append(video_id)
                if held.open_task is not None:
                    self.effects.pointless.append(video_id)
                    records.append(withdrawal(video_id, held.open_task, "superseded", each.traceparent, now))
            if decision.route is Route.REVIEW or decision.audit:
                task_id, priority = ids.task_bytes(each.decision_id), priority_of(decision, self._model)
                tasks.append(self._rows.task(each, task_id, priority, self._deadline))
                records.append(self._announcer.review(each, task_id, priority, self._deadline))
        self.effects.outbox.append(pg.rows(OUTBOX_COLUMNS, records))
        self.effects.tasks.append(pg.rows(TASK_COLUMNS, tasks))


_PUBLISH = Trigger.PUBLISH.value

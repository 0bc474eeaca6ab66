"""What decisions cause: rows for COPY and records for the outbox. Pure: no connection, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from models.decision.types import Route
from schemas import ids
from schemas.events import VideoPublished
from stream.classify.analyse import Analysis
from stream.store import encoding as pg
from stream.store.encoding import Field
from stream.store.messages import OUTBOX_COLUMNS, Announcer, OutboxRow, withdrawal
from stream.store.prior import Known
from stream.store.rows import (
    DECISION_COLUMNS,
    HISTORY_COLUMNS,
    LABEL_COLUMNS,
    PREDICTION_COLUMNS,
    TASK_COLUMNS,
    Cause,
    Decided,
    RowBuilder,
    priority_of,
)
from stream.store.work import LiveModel


@dataclass(slots=True)
class Effects:
    """Rows for COPY, in blocks, and the videos whose label, history or task makes room for them."""

    predictions: list[bytes] = field(default_factory=list)
    decisions: list[bytes] = field(default_factory=list)
    labels: list[bytes] = field(default_factory=list)
    history: list[bytes] = field(default_factory=list)
    tasks: list[bytes] = field(default_factory=list)
    outbox: list[bytes] = field(default_factory=list)
    relabelled: list[str] = field(default_factory=list)  # video_ids that may have had a label before
    retold: list[str] = field(default_factory=list)  # those of them that say something else of their author
    pointless: list[str] = field(default_factory=list)  # video_ids whose open task is withdrawn
    taken: Counter[tuple[Route, str]] = field(default_factory=Counter)  # decisions by route and first reason


class EffectsOf:
    """Adds to `effects` what decisions of one cause, made by one model at one moment, lead to."""

    def __init__(self, effects: Effects, model: LiveModel, now: datetime, deadline: datetime, cause: Cause) -> None:
        self._effects = effects
        self._model = model
        self._now = now
        self._deadline = deadline
        self._rows = RowBuilder(model, now, cause)
        self._announcer = Announcer(model, now, cause)

    def predictions(self, fresh: Sequence[tuple[VideoPublished, Analysis]]) -> None:
        self._effects.predictions.append(pg.rows(PREDICTION_COLUMNS, self._rows.predictions(fresh)))

    def decisions(self, decided: Sequence[Decided], known: Mapping[str, Known]) -> None:
        """Every one is written down; those with a label_revision come into force."""
        effects = self._effects
        effects.taken.update((each.decision.route, next(iter(each.decision.reasons), "")) for each in decided)
        effects.decisions.append(pg.rows(DECISION_COLUMNS, [self._rows.decision(each) for each in decided]))
        in_force = [each for each in decided if each.label_revision is not None]
        effects.labels.append(pg.rows(LABEL_COLUMNS, [self._rows.label(each) for each in in_force]))
        told = [each for each in in_force if each.content_level1 is not None]
        effects.history.append(pg.rows(HISTORY_COLUMNS, [self._rows.history(each) for each in told]))
        effects.retold += [each.video.video_id for each in told if each.video.video_id in known]
        self._announce(in_force, known)

    def ask(self, decided: Decided) -> None:
        """A task about a decision that is not in force: what it says against the label is for people to weigh."""
        row, record = self._task(decided)
        self._effects.tasks.append(pg.rows(TASK_COLUMNS, [row]))
        self._effects.outbox.append(pg.rows(OUTBOX_COLUMNS, [record]))

    def _announce(self, in_force: Sequence[Decided], known: Mapping[str, Known]) -> None:
        """At most one task of a video is open, and it is about the label in force: what asks for another one goes
        first."""
        records, tasks = [], []
        for each in in_force:
            decision, video_id = each.decision, each.video.video_id
            records.append(self._announcer.label(each))
            held = known.get(video_id)
            if held is not None:
                self._effects.relabelled.append(video_id)
                if held.open_task is not None:
                    self._effects.pointless.append(video_id)
                    records.append(withdrawal(video_id, held.open_task, "superseded", each.traceparent, self._now))
            if decision.route is Route.REVIEW or decision.audit:
                task, request = self._task(each)
                tasks.append(task)
                records.append(request)
        self._effects.outbox.append(pg.rows(OUTBOX_COLUMNS, records))
        self._effects.tasks.append(pg.rows(TASK_COLUMNS, tasks))

    def _task(self, decided: Decided) -> tuple[tuple[Field, ...], OutboxRow]:
        """A task about the decision, and the request that announces it."""
        task_id = ids.task_bytes(decided.decision_id)
        decision = decided.decision
        priority = priority_of(decision.level2, decision.level2_probability, self._model, decided.reach)
        deadline = self._deadline if decided.waiting is None else decided.waiting.deadline_at
        return (
            self._rows.task(decided, task_id, priority, deadline),
            self._announcer.review(decided, task_id, priority, deadline),
        )

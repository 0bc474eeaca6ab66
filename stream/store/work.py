"""What a job hands to the store: an input, and what became of it. Frozen data; no SQL, no Kafka."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from models.decision.types import Policy, Route
from schemas.events import AuthorProfile, EngagementSnapshot, VideoPublished, VideoRemoved
from stream.classify.analyse import Analysis
from stream.consumer.records import Record
from stream.store.attempts import Spot


@dataclass(frozen=True, slots=True)
class LiveModel:
    """The model that decides: names in logit order, policy, ids, and the epoch of its promotion."""

    name: str
    model_id: str
    encoder_id: str
    policy_id: str
    taxonomy_id: str
    level1: tuple[str, ...]  # [C1] category ids
    level2: tuple[str, ...]  # [C2]
    harm: tuple[float, ...]  # [C2] in [0, 1]
    policy: Policy
    epoch: int


Incoming = VideoPublished | VideoRemoved | AuthorProfile | EngagementSnapshot


class Origin(NamedTuple):
    """Where an input first stood. A retry carries it along, so that one input can never be two dead letters."""

    topic: str
    partition: int
    offset: int


@dataclass(slots=True, eq=False)  # not frozen: one is made for every record, and frozen ones cost three times as much
class Input:
    """One record and what was read from it. event is None where the value is no event."""

    record: Record
    origin: Origin
    event: Incoming | None
    tries: int  # this one included
    traceparent: str | None
    suspect: Spot | None = None  # set where it was in hand when a process died


@dataclass(slots=True, eq=False)  # not frozen, for the same reason
class Analysed:
    """To be decided. analysis is None where the stored prediction is known to be there."""

    input: Input
    video: VideoPublished
    analysis: Analysis | None


@dataclass(frozen=True, slots=True, eq=False)
class Dead:
    """Given up: a dead letter. remembers: whether the video's own row is written (not where the row is the fault)."""

    input: Input
    code: str
    detail: str
    attempts: int
    remembers: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Later:
    """To be tried again once `available_at` has come. counts: whether this try uses up one of its retries."""

    input: Input
    code: str
    detail: str
    available_at: datetime
    counts: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Removal:
    input: Input
    event: VideoRemoved


@dataclass(slots=True, eq=False)  # not frozen, for the same reason
class Observed:
    """New evidence: a profile or a snapshot. Where it came from is asked of its record only if it cannot be stored."""

    record: Record
    event: AuthorProfile | EngagementSnapshot


Outcome = Analysed | Dead | Later | Removal | Observed


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction writes, sorted by kind."""

    analysed: Sequence[Analysed] = ()
    dead: Sequence[Dead] = ()
    later: Sequence[Later] = ()
    removals: Sequence[Removal] = ()

    @classmethod
    def of(cls, outcomes: Sequence[Outcome]) -> Batch:
        return cls(
            analysed=[each for each in outcomes if isinstance(each, Analysed)],
            dead=[each for each in outcomes if isinstance(each, Dead)],
            later=[each for each in outcomes if isinstance(each, Later)],
            removals=[each for each in outcomes if isinstance(each, Removal)],
        )


@dataclass(frozen=True, slots=True)
class Written:
    """What a transaction added, for metrics: decisions by (route, first reason), dead letters by code."""

    decisions: Counter[tuple[Route, str]]
    dead: Counter[str]
    removed: int

"""Outbox rows: what is announced of a decision, and the records of retries and dead letters. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from uuid import UUID

import orjson

from models.decision.types import Reason, Route
from schemas import ids
from schemas.events import AuthorProfile, LabelDecided, LabelStatus, ReviewDecided, ReviewRequested, ReviewWithdrawn
from schemas.topics import (
    AUTHOR_PROFILES,
    ENGAGEMENT_SNAPSHOTS,
    EVENT_TYPES,
    LABEL_WITHDRAWN,
    REVIEW_DECISIONS,
    VIDEO_DEAD,
    VIDEO_LABELS,
    VIDEO_RETRY,
    VIDEO_REVIEW,
)
from schemas.wire import event_headers, traceparent_of
from stream.consumer.records import Record
from stream.store import encoding as pg
from stream.store.encoding import Field
from stream.store.rows import NO_SIGNALS, STATUS_OF_ROUTE, Cause, Decided
from stream.store.work import Dead, Incoming, Input, Later, LiveModel, Origin

OUTBOX_COLUMNS = "shard, topic, key, value, headers, available_at"
SOURCE = "/reelsort/classify"
REVIEW_SOURCE = "/reelsort/review"

# Headers of retries and dead letters. A retry carries its origin along, so that its dead letter is known as one.
TRIES = "reelsort_tries"
ORIGIN_TOPIC, ORIGIN_PARTITION, ORIGIN_OFFSET = "reelsort_topic", "reelsort_partition", "reelsort_offset"
ERROR_CODE, ERROR_DETAIL = "reelsort_error_code", "reelsort_error_detail"

MAX_DETAIL = 2000

OutboxRow = tuple[Field, ...]


class Announcer:
    """Builds the records that one model's decisions of one moment cause; what they share is built once."""

    def __init__(self, model: LiveModel, now: datetime, cause: Cause) -> None:
        self._model = model
        self._due = pg.timestamptz(now)
        self._now = now
        shared_by_labels = {
            "source": "model",
            "trigger": cause.trigger,
            "taxonomy_id": model.taxonomy_id,
            "encoder_id": model.encoder_id,
            "policy_id": model.policy_id,
            "model_id": model.model_id,
            "decided_at": now,
        }
        self._label_tail = b"," + orjson.dumps(shared_by_labels)[1:]
        self._unseen = orjson.dumps(NO_SIGNALS)

    def label(self, decided: Decided) -> OutboxRow:
        """LabelDecided, as JSON text: the fields of schemas.events, which a contract test holds this to."""
        video, decision, model = decided.video, decided.decision, self._model
        public = decision.route is not Route.REVIEW
        body = {
            "decision_id": ids.text_of(decided.decision_id),
            "video_id": video.video_id,
            "revision": video.revision,
            "author_id": video.author_id,
            "published_at": video.published_at,
            "label_revision": decided.label_revision,
            "status": STATUS_OF_ROUTE[decision.route],
            "level1": model.level1[decision.level1] if public else None,
            "level2": model.level2[decision.level2] if decision.route is Route.ACCEPT else None,
            "confidence": decision.confidence if public else None,
            "threshold": decision.threshold,
            "top_k": orjson.Fragment(decided.top_k) if public else (),
            "reasons": decision.reasons,
            "evidence": orjson.Fragment(self._unseen if decided.seen is None else decided.seen.summary),
        }
        value = orjson.dumps(body)[:-1] + self._label_tail
        return self._row(VIDEO_LABELS, decided, _LABEL_TYPE, decided.decision_id, value)

    def review(self, decided: Decided, task_id: bytes, priority: float, deadline: datetime) -> OutboxRow:
        """ReviewRequested. An audit sample is blind: it never shows what the model said."""
        video, decision, model = decided.video, decided.decision, self._model
        blind = decision.audit
        body = {
            "task_id": ids.text_of(task_id),
            "decision_id": ids.text_of(decided.decision_id),
            "video_id": video.video_id,
            "revision": video.revision,
            "author_id": video.author_id,
            "published_at": video.published_at,
            "level1": None if blind else model.level1[decision.level1],
            "level2": None if blind else model.level2[decision.level2],
            "confidence": None if blind else decision.confidence,
            "top_k": () if blind else orjson.Fragment(decided.top_k),
            "model_id": model.model_id,
            "priority": priority,
            "reasons": (Reason.AUDIT_SAMPLE,) if blind else decision.reasons,
            "deadline_at": deadline,
        }
        return self._row(VIDEO_REVIEW, decided, _REQUESTED_TYPE, task_id, orjson.dumps(body))

    def _row(self, topic: str, decided: Decided, event_type: str, cause: bytes, value: bytes) -> OutboxRow:
        return (
            _SHARDS[ids.shard_of(decided.video.video_id)],
            _TOPICS[topic],
            decided.key,
            pg.data(value),
            pg.data(_headers_json(event_type, cause, decided.traceparent, self._now)),
            self._due,
        )


def withdrawal(video_id: str, task_id: UUID, why: str, traceparent: str | None, now: datetime) -> OutboxRow:
    """ReviewWithdrawn."""
    value = orjson.dumps({"task_id": task_id, "video_id": video_id, "why": why})
    return _row(VIDEO_REVIEW, video_id, value, _headers_json(_WITHDRAWN_TYPE, task_id.bytes, traceparent, now), now)


def announced(
    event: LabelDecided | ReviewDecided, video_id: str, cause: UUID, traceparent: str | None, now: datetime
) -> OutboxRow:
    """A single event; `cause` is the id of what it tells of."""
    event_type = EVENT_TYPES[type(event)]
    headers = event_headers(
        event_type, ce_id=ids.event_id(event_type, cause), source=REVIEW_SOURCE, time=now, traceparent=traceparent
    )
    topic = VIDEO_LABELS if isinstance(event, LabelDecided) else REVIEW_DECISIONS
    return _row(topic, video_id, event.model_dump_json().encode(), orjson.dumps(headers), now)


def tombstone(
    video_id: str, label_revision: int, decision_id: UUID, traceparent: str | None, now: datetime
) -> OutboxRow:
    """The end of a label: no value, and headers that still say which label_revision this is."""
    headers = event_headers(
        LABEL_WITHDRAWN,
        ce_id=ids.event_id(f"{LABEL_WITHDRAWN}/{label_revision}", decision_id),
        source=SOURCE,
        time=now,
        traceparent=traceparent,
    )
    headers |= {"reelsort_label_revision": str(label_revision), "reelsort_status": LabelStatus.WITHDRAWN.value}
    return _row(VIDEO_LABELS, video_id, None, orjson.dumps(headers), now)


def retry(later: Later) -> OutboxRow:
    """The input again, as it came, when it is due; its headers say which try it will be and where it first stood."""
    headers = text_headers(later.input) | _origin(later.input)
    headers[TRIES] = str(later.input.tries + 1 if later.counts else later.input.tries)
    return _row(VIDEO_RETRY, key_text(later.input), later.input.record.value, orjson.dumps(headers), later.available_at)


def dead_letter(dead: Dead, now: datetime) -> OutboxRow:
    """The input as it came, with the error in its headers."""
    headers = text_headers(dead.input) | _origin(dead.input)
    headers |= {
        TRIES: str(dead.attempts),
        ERROR_CODE: plain_text(dead.code),
        ERROR_DETAIL: plain_text(dead.detail)[:MAX_DETAIL],
    }
    return _row(VIDEO_DEAD, key_text(dead.input), dead.input.record.value, orjson.dumps(headers), now)


def redriven(
    source: str | None, key: str, value: bytes | None, headers: Mapping[str, str | None], now: datetime
) -> OutboxRow:
    """A dead letter's input, once more, with a clean count. source: the standard name of the topic it came from, None
    for a topic that is none of ours."""
    kept = {name: text for name, text in headers.items() if name not in (ERROR_CODE, ERROR_DETAIL)}
    return _row(redriven_to(source), key, value, orjson.dumps(kept | {TRIES: "1"}), now)


def redriven_to(source: str | None) -> str:
    """The topic a dead letter is sent to again: observations to their own, all else to where videos are retried."""
    return source if source in (AUTHOR_PROFILES, ENGAGEMENT_SNAPSHOTS) else VIDEO_RETRY


def key_text(source: Input) -> str:
    """The record's key; of a parsed event its own, so that its records stay in one partition."""
    event = source.event
    if event is not None:
        return event.author_id if isinstance(event, AuthorProfile) else event.video_id
    return key_of_bytes(source.record.key)


def key_of_bytes(key: bytes | None) -> str:
    return plain_text((key or b"").decode("utf-8", "backslashreplace"))


def text_headers(source: Input) -> dict[str, str | None]:
    """The record's own headers as jsonb can hold them; reelsort's own are left to whoever writes them."""
    return {
        plain_text(name): None if value is None else plain_text(value.decode("utf-8", "backslashreplace"))
        for name, value in source.record.headers
        if not name.startswith("reelsort_")
    }


def plain_text(text: str) -> str:
    """Text that Postgres stores: NUL and lone surrogates are spelt out."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()


def origin_of(record: Record) -> tuple[Origin, int]:
    """Where a record's input first stood, and which try this is: from its headers where it is a retry."""
    here = Origin(record.topic, record.partition, record.offset)
    stated = {name: value for name, value in record.headers if name.startswith("reelsort_") and value is not None}
    if not stated:
        return here, 1
    try:
        origin = Origin(stated[ORIGIN_TOPIC].decode(), int(stated[ORIGIN_PARTITION]), int(stated[ORIGIN_OFFSET]))
        return origin, max(1, int(stated[TRIES]))
    except (KeyError, ValueError):
        return here, 1  # headers of somebody else's making


def input_of(record: Record, event: Incoming | None) -> Input:
    """A record with all that its headers say of it."""
    origin, tries = origin_of(record)
    return Input(record, origin, event, tries, traceparent_of(record.headers))


def _origin(source: Input) -> dict[str, str]:
    origin = source.origin
    return {ORIGIN_TOPIC: origin.topic, ORIGIN_PARTITION: str(origin.partition), ORIGIN_OFFSET: str(origin.offset)}


def _row(topic: str, key: str, value: bytes | None, headers: bytes, available_at: datetime) -> OutboxRow:
    """headers: JSON text."""
    return (
        _SHARDS[ids.shard_of(key)],
        _TOPICS[topic],
        pg.text(key),
        pg.data_or_null(value),
        pg.data(headers),
        pg.timestamptz(available_at),
    )


def _headers_json(event_type: str, cause: bytes, traceparent: str | None, now: datetime) -> bytes:
    """event_headers() as JSON. Neither a uuid nor a traceparent that traceparent_of() has checked needs escapes."""
    headers = _header_template(event_type, now) + ids.event_id_text(event_type, cause).encode()
    if traceparent is not None:
        headers += b'","traceparent":"' + traceparent.encode()
    return headers + b'"}'


@lru_cache(maxsize=32)
def _header_template(event_type: str, now: datetime) -> bytes:
    """The JSON of an event's headers up to the value of ce_id, which comes last."""
    headers = event_headers(event_type, ce_id="", source=SOURCE, time=now)
    del headers["ce_id"]
    return orjson.dumps(headers | {"ce_id": ""}).removesuffix(b'"}')


_LABEL_TYPE = EVENT_TYPES[LabelDecided]
_REQUESTED_TYPE = EVENT_TYPES[ReviewRequested]
_WITHDRAWN_TYPE = EVENT_TYPES[ReviewWithdrawn]
_SHARDS = tuple(pg.int2(shard) for shard in range(ids.SHARDS))
_TOPICS: Mapping[str, Field] = {
    topic: pg.text(topic)
    for topic in (
        VIDEO_LABELS,
        VIDEO_REVIEW,
        VIDEO_RETRY,
        VIDEO_DEAD,
        REVIEW_DECISIONS,
        AUTHOR_PROFILES,
        ENGAGEMENT_SNAPSHOTS,
    )
}

"""Rows and records of a decision, held against the contracts they are written for. No server."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.decision.types import Decision, Reason, Route
from schemas import ids
from schemas.events import LabelDecided, LabelStatus, ReviewRequested, ReviewWithdrawn, Trigger, VideoPublished
from schemas.topics import EVENT_TYPES
from schemas.wire import event_headers
from stream.classify.stub import StubAnalyzer, stub_model
from stream.consumer.records import Record
from stream.store import encoding as pg
from stream.store import messages, rows
from stream.store.messages import Announcer
from stream.store.rows import Cause, Decided, RowBuilder
from stream.store.work import Dead, Input, Later, Origin
from tests.stream.store.reading import fields_of, outbox_of

NOW = datetime(2026, 5, 1, 12, 30, 15, 123456, UTC)
MODEL = replace(stub_model(), epoch=7)
CAUSE = Cause(Trigger.PUBLISH, MODEL.epoch)
VIDEO = VideoPublished(
    video_id="视频-1", revision=3, author_id="a1", media_uri="file:///x.mp4", published_at=NOW - timedelta(days=1)
)
SEEN = rows.Seen(b'{"author": null}', b"{}")
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def decided(route: Route, audit: bool = False) -> Decided:
    decision = Decision(
        route=route,
        level1=1,
        level2=6,
        confidence=0.75,
        level1_probability=0.8,
        level2_probability=0.75,
        margin=0.5,
        top_k=((6, 0.75), (2, 0.25)),
        threshold=0.5,
        audit=audit,
        reasons=(Reason.AUDIT_SAMPLE,) if audit else (Reason.LOW_MARGIN,) if route is Route.REVIEW else (),
    )
    decision_id = ids.decision_bytes(VIDEO.video_id, VIDEO.revision, MODEL.model_id, "", "publish")
    key = pg.text(VIDEO.video_id)
    return Decided(
        VIDEO, key, decision, decision_id, 5, TRACEPARENT, rows.top_k_json(decision, MODEL), np.full(4, 0.25)
    )


@pytest.mark.parametrize(
    ("route", "status", "level1", "level2", "confidence"),
    [
        (Route.ACCEPT, LabelStatus.LABELLED, "stub_b", "stub_b.2", 0.75),
        (Route.ACCEPT_LEVEL1, LabelStatus.LABELLED_LEVEL1, "stub_b", None, 0.75),
        (Route.REVIEW, LabelStatus.IN_REVIEW, None, None, None),
    ],
)
def test_what_is_announced_is_a_label_that_shows_no_more_than_its_route_allows(
    route: Route, status: LabelStatus, level1: str | None, level2: str | None, confidence: float | None
) -> None:
    sent = outbox_of(Announcer(MODEL, NOW, CAUSE).label(decided(route)))
    label = LabelDecided.model_validate_json(sent.value or b"", strict=True)
    assert (label.status, label.level1, label.level2, label.confidence) == (status, level1, level2, confidence)
    assert bool(label.top_k) is (route is not Route.REVIEW)
    assert (label.video_id, label.revision, label.label_revision) == (VIDEO.video_id, 3, 5)
    assert (label.published_at, label.decided_at) == (VIDEO.published_at, NOW)
    assert (sent.topic, sent.key, sent.shard) == ("video.labels.v1", VIDEO.video_id, ids.shard_of(VIDEO.video_id))
    assert sent.headers == event_headers(
        EVENT_TYPES[LabelDecided],
        ce_id=ids.event_id(EVENT_TYPES[LabelDecided], label.decision_id),
        source="/reelsort/classify",
        time=NOW,
        traceparent=TRACEPARENT,
    )


def test_every_field_of_the_label_contract_is_written() -> None:
    sent = outbox_of(Announcer(MODEL, NOW, CAUSE).label(decided(Route.ACCEPT)))
    assert orjson.loads(sent.value or b"").keys() == LabelDecided.model_fields.keys()
    asked = outbox_of(Announcer(MODEL, NOW, CAUSE).review(decided(Route.REVIEW), UUID(int=1).bytes, 0.5, NOW))
    assert orjson.loads(asked.value or b"").keys() == ReviewRequested.model_fields.keys()


def test_a_request_shows_the_models_answer_and_an_audit_hides_it() -> None:
    announcer = Announcer(MODEL, NOW, CAUSE)
    shown = outbox_of(announcer.review(decided(Route.REVIEW), UUID(int=1).bytes, 0.5, NOW + timedelta(hours=1)))
    hidden = outbox_of(announcer.review(decided(Route.ACCEPT, audit=True), UUID(int=2).bytes, 0.5, NOW))
    routed = ReviewRequested.model_validate_json(shown.value or b"", strict=True)
    audit = ReviewRequested.model_validate_json(hidden.value or b"", strict=True)
    assert (routed.level1, routed.level2, routed.confidence, len(routed.top_k)) == ("stub_b", "stub_b.2", 0.75, 2)
    assert routed.reasons == ("low_margin",)
    assert routed.deadline_at == NOW + timedelta(hours=1)
    assert (audit.level1, audit.level2, audit.confidence, audit.top_k) == (None, None, None, ())
    assert audit.reasons == ("audit_sample",)
    assert "stub_b" not in (hidden.value or b"").decode().replace(MODEL.model_id, "")


def test_rows_have_the_columns_they_name() -> None:
    builder = RowBuilder(MODEL, NOW, CAUSE)
    one = decided(Route.ACCEPT)
    analysis = StubAnalyzer()._analyse(VIDEO)
    (prediction,) = builder.predictions([(VIDEO, analysis)])
    task = builder.task(one, UUID(int=1).bytes, 0.5, NOW)
    for row, columns in (
        (prediction, rows.PREDICTION_COLUMNS),
        (builder.decision(one), rows.DECISION_COLUMNS),
        (builder.label(one), rows.LABEL_COLUMNS),
        (builder.label(replace(one, seen=SEEN, human=rows.HumanWord(1, "a", None, NOW))), rows.LABEL_COLUMNS),
        (builder.history(one), rows.HISTORY_COLUMNS),
        (task, rows.TASK_COLUMNS),
    ):
        assert len(fields_of(row)) == columns.count(",") + 1
    stored = dict(zip(rows.PREDICTION_COLUMNS.split(", "), fields_of(prediction), strict=True))
    assert np.array_equal(np.frombuffer(stored["level2_logits"] or b"", "<f4"), analysis.level2_logits)
    assert np.array_equal(np.frombuffer(stored["embedding"] or b"", "<f2"), analysis.embedding.astype("<f2"))
    decision = dict(zip(rows.DECISION_COLUMNS.split(", "), fields_of(builder.decision(one)), strict=True))
    assert decision["promotion_epoch"] == (7).to_bytes(8)
    assert (decision["level1"], decision["level2"], decision["route"]) == (b"stub_b", b"stub_b.2", b"accept")


def test_harm_and_doubt_raise_a_tasks_priority() -> None:
    harmful = replace(MODEL, harm=tuple(1.0 for _ in MODEL.level2))
    assert rows.priority_of(1, 0.3, MODEL) > rows.priority_of(1, 0.9, MODEL) > 0
    assert rows.priority_of(1, 0.9, harmful) > rows.priority_of(1, 0.9, MODEL)


@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=("Cs",)), max_size=20), st.none() | st.binary(max_size=30)),
        max_size=5,
    ),
    st.integers(1, 9),
    st.binary(max_size=20) | st.none(),
)
def test_a_retry_carries_its_input_and_origin_along(
    headers: list[tuple[str, bytes | None]], tries: int, value: bytes | None
) -> None:
    record = Record("here.v1", 2, 40, 1, 0, b"k", value, headers)
    source = Input(record, Origin("first.v1", 1, 7), VIDEO, tries, None)
    sent = outbox_of(messages.retry(Later(source, "timeout", "slow", NOW)))
    again = Record("retry.v1", 0, 0, 1, 0, b"k", sent.value, [(n, t and t.encode()) for n, t in sent.headers.items()])
    assert messages.origin_of(again) == (Origin("first.v1", 1, 7), tries + 1)
    assert (sent.key, sent.value, sent.available_at) == (VIDEO.video_id, value, NOW)
    uncounted = outbox_of(messages.retry(Later(source, "timeout", "slow", NOW, counts=False)))
    assert uncounted.headers["reelsort_tries"] == str(tries)


@pytest.mark.parametrize("stated", [b"", b"x", b"-", b"\xff", b"99999999999999999999x"])
def test_retry_headers_of_somebody_elses_making_are_not_believed(stated: bytes) -> None:
    headers = [
        ("reelsort_topic", b"t"),
        ("reelsort_partition", stated),
        ("reelsort_offset", b"1"),
        ("reelsort_tries", b"1"),
    ]
    record = Record("retry.v1", 3, 9, 1, 0, b"k", b"{}", headers)
    assert messages.origin_of(record) == (Origin("retry.v1", 3, 9), 1)


@given(st.text(), st.text(max_size=50), st.binary(max_size=40))
def test_whatever_an_error_says_its_dead_letter_can_be_stored(detail: str, code: str, key: bytes) -> None:
    record = Record("first.v1", 1, 7, 1, 0, key, b"\xff\x00", [("a\x00", b"\x00\xff"), ("b", None)])
    dead = Dead(Input(record, Origin("first.v1", 1, 7), None, 1, None), code, detail, attempts=4)
    sent = outbox_of(messages.dead_letter(dead, NOW))
    assert sent.value == b"\xff\x00"
    assert "\x00" not in sent.key + "".join(f"{name}{text}" for name, text in sent.headers.items())
    assert len(sent.headers["reelsort_error_detail"] or "") <= messages.MAX_DETAIL
    assert sent.headers["reelsort_tries"] == "4"
    assert (sent.headers["reelsort_topic"], sent.headers["reelsort_partition"], sent.headers["reelsort_offset"]) == (
        "first.v1",
        "1",
        "7",
    )


def test_a_withdrawal_and_a_tombstone_say_whose_they_are() -> None:
    withdrawn = outbox_of(messages.withdrawal("v", UUID(int=3), "removed", TRACEPARENT, NOW))
    assert ReviewWithdrawn.model_validate_json(withdrawn.value or b"", strict=True).task_id == UUID(int=3)
    assert withdrawn.headers["traceparent"] == TRACEPARENT
    first, second = (outbox_of(messages.tombstone("v", n, UUID(int=4), None, NOW)) for n in (2, 3))
    assert first.value is None
    assert first.headers["reelsort_label_revision"] == "2"
    assert first.headers["ce_id"] != second.headers["ce_id"]

"""Bytes to events and back: every valid event survives, everything else is a BadEvent with a stable code."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import topics, wire
from schemas.events import Event, ReviewWithdrawn, VideoPublished
from schemas.topics import EVENT_TYPES, TOPICS
from schemas.wire import BadEvent, decode_event, encode_event, traceparent_of
from tests.schemas.strategies import EVENTS, zones

NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
VIDEO = {"video_id": "v1", "author_id": "a1", "media_uri": "s3://b/v1.mp4", "published_at": "2026-03-01T12:00:00Z"}


def encoded(event: Event, **options: Any) -> wire.EncodedEvent:
    return encode_event(event, ce_id=UUID(int=7), source="/reelsort/test", time=NOW, **options)


def refusal(value: bytes | str | None, topic: str = topics.VIDEO_PUBLISHED, **record: Any) -> BadEvent:
    raw = value.encode() if isinstance(value, str) else value
    with pytest.raises(BadEvent) as caught:
        decode_event(topic, record.get("key", b"v1"), raw, record.get("headers", ()))
    return caught.value


def attempt(value: bytes) -> Event | BadEvent:
    try:
        return decode_event(topics.VIDEO_PUBLISHED, b"v1", value)
    except BadEvent as bad:
        return bad


def video(**fields: object) -> str:
    return json.dumps(VIDEO | fields)


@pytest.mark.parametrize("event_class", EVENTS, ids=lambda each: each.__name__)
@given(data=st.data())
def test_every_event_survives_the_wire(event_class: type[Event], data: st.DataObject) -> None:
    event = data.draw(EVENTS[event_class])
    topic = next(spec.name for spec in TOPICS.values() if event_class in spec.events)
    record = encoded(event)
    assert decode_event(topic, record.key, record.value, record.headers) == event


def test_the_strategies_cover_every_event() -> None:
    assert EVENTS.keys() == EVENT_TYPES.keys() == {event for spec in TOPICS.values() for event in spec.events}


@given(
    value=st.none() | st.binary(),
    topic=st.sampled_from([*TOPICS, "other"]),
    key=st.none() | st.binary(),
    data=st.data(),
)
def test_arbitrary_bytes_raise_nothing_but_bad_event(
    value: bytes | None, topic: str, key: bytes | None, data: st.DataObject
) -> None:
    names = st.sampled_from(["ce_type", "content-type", "traceparent", "other"])
    headers = data.draw(st.lists(st.tuples(names, st.none() | st.binary())))
    with pytest.raises(BadEvent):
        decode_event(topic, key, value, headers)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*VideoPublished.model_fields, "other"]), json_values))
def test_json_with_wrong_fields_is_an_event_or_a_bad_event(fields: dict[str, object]) -> None:
    match attempt(video(**fields).encode()):
        case BadEvent() as bad:
            assert bad.code in {"not_json", "bad_value"}
            assert len(bad.detail) <= wire.MAX_DETAIL
            assert bad.detail.isascii()
            assert bad.detail.isprintable()
        case event:
            assert attempt(encoded(event).value) == event


@given(place=st.integers(0, len(video()) - 1), change=st.binary(max_size=3))
def test_a_damaged_value_is_an_event_or_a_bad_event(place: int, change: bytes) -> None:
    value = video().encode()
    assert isinstance(attempt(value[:place] + change + value[place + 1 :]), VideoPublished | BadEvent)


@given(cut=st.integers(0, len(video()) - 1))
def test_a_truncated_value_is_not_json(cut: int) -> None:
    assert refusal(video()[:cut]).code == "not_json"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (None, "tombstone"),
        (b"", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"[1]", "bad_value"),
        (b"null", "bad_value"),
        (video(title="a\x00b"), "bad_value"),
        (video(tags=["a\x00"]), "bad_value"),
        (video(title="\ud800"), "not_json"),
        (video(unknown="\udfff"), "not_json"),
        (video(title="x").encode().replace(b'"x"', b'"\xed\xa0\x80"'), "not_json"),
        (video(duration_s=float("nan")), "not_json"),
        (video(duration_s=float("-inf")), "not_json"),
        (video(unknown=float("inf")), "not_json"),
        (video(duration_s=-1), "bad_value"),
        (video()[:-1] + ', "duration_s": 1e400}', "bad_value"),
        (video(duration_s=True), "bad_value"),
        (video(duration_s="1.5"), "bad_value"),
        (video(revision=True), "bad_value"),
        (video(revision=1.0), "bad_value"),
        (video(revision="1"), "bad_value"),
        (video(revision=-1), "bad_value"),
        (video(revision=2**31), "bad_value"),
        (video(revision=2**63), "bad_value"),
        (video()[:-1] + ', "revision": ' + "9" * 10_000 + "}", "not_json"),
        (video()[:-1] + ', "unknown": ' + "[" * 100_000 + "}", "not_json"),
        (video(video_id=""), "bad_value"),
        (video(video_id="v" * 257), "bad_value"),
        (video(video_id=None), "bad_value"),
        (video(content_sha256="F" * 64), "bad_value"),
        (video(published_at="2026-03-01T12:00:00"), "bad_value"),
        (video(published_at=1_772_366_400), "bad_value"),
        (video(published_at="0001-01-01T00:00:00+14:00"), "bad_value"),
        (video(published_at="9999-12-31T23:59:59-14:00"), "bad_value"),
        (video(published_at="30000-01-01T00:00:00Z"), "bad_value"),
        (json.dumps({name: value for name, value in VIDEO.items() if name != "author_id"}), "missing_field"),
        (video(asr="x" * wire.MAX_EVENT_BYTES), "too_large"),
    ],
)
def test_each_fault_has_its_code(value: bytes | str | None, code: str) -> None:
    assert refusal(value).code == code


@given(value=st.integers(min_value=2**63))
def test_numbers_over_bigint_are_refused_in_evidence_too(value: int) -> None:
    event = json.loads(encoded(example(topics.VIDEO_LABELS)).value)
    event["evidence"] = {"author": {"history": [value]}}
    assert refusal(json.dumps(event), topics.VIDEO_LABELS, key=event["video_id"].encode()).code == "bad_value"


@pytest.mark.parametrize("evidence", [{"a": "\x00"}, {"\x00": 1}, {"a": [[[[[[[[[1]]]]]]]]]}])
def test_evidence_holds_only_what_jsonb_holds(evidence: object) -> None:
    event = json.loads(encoded(example(topics.VIDEO_LABELS)).value) | {"evidence": evidence}
    assert refusal(json.dumps(event), topics.VIDEO_LABELS, key=event["video_id"].encode()).code == "bad_value"


def test_a_refusal_never_quotes_what_came_in() -> None:
    secret = "hunter2" * 100
    for field in VIDEO:
        assert "hunter2" not in refusal(video(**{field: [secret]})).detail
    assert "hunter2" not in refusal(secret).detail


def test_words_that_look_like_numbers_are_fine_inside_text() -> None:
    event = decode_event(topics.VIDEO_PUBLISHED, b"v1", video(title="NaN, -Infinity").encode())
    assert isinstance(event, VideoPublished)
    assert event.title == "NaN, -Infinity"


def test_unknown_fields_are_ignored_and_defaults_stand_for_missing_ones() -> None:
    event = decode_event(topics.VIDEO_PUBLISHED, b"v1", video(shiny="new").encode())
    assert event == VideoPublished.model_validate(VIDEO)


@given(st.datetimes(datetime(1970, 1, 2), datetime(2999, 12, 30), timezones=zones))
def test_moments_keep_their_instant_and_come_out_in_utc(moment: datetime) -> None:
    event = decode_event(topics.VIDEO_PUBLISHED, b"v1", video(published_at=moment.isoformat()).encode())
    assert isinstance(event, VideoPublished)
    assert event.published_at == moment
    assert event.published_at.tzinfo is UTC


def test_a_topic_of_two_events_is_read_by_ce_type() -> None:
    record = encoded(ReviewWithdrawn(task_id=UUID(int=1), video_id="v1", why="superseded"))
    assert isinstance(decode_event(topics.VIDEO_REVIEW, record.key, record.value, record.headers), ReviewWithdrawn)
    assert refusal(record.value, topics.VIDEO_REVIEW).code == "unknown_type"
    assert refusal(record.value, topics.VIDEO_REVIEW, headers=[("ce_type", b"\xff")]).code == "unknown_type"


def test_a_topic_of_one_event_needs_no_headers() -> None:
    foreign = [("ce_type", b"com.example.upload"), ("content-type", None)]
    assert decode_event(topics.VIDEO_PUBLISHED, None, video().encode(), foreign)


def test_a_compacted_topic_holds_each_record_under_its_own_key() -> None:
    record = encoded(example(topics.AUTHOR_PROFILES))
    assert refusal(record.value, topics.AUTHOR_PROFILES, key=b"someone else").code == "key_mismatch"
    assert refusal(record.value, topics.AUTHOR_PROFILES, key=None).code == "key_mismatch"


def test_content_type_chooses_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def shouting(value: bytes, event_class: type[Event]) -> Event:
        return event_class.model_validate_json(value.lower())

    monkeypatch.setattr(wire, "_plugged_decoders", lambda: {"application/shout": shouting})
    json_header = [("content-type", b"Application/JSON; charset=utf-8")]
    assert decode_event(topics.VIDEO_PUBLISHED, b"v1", video().encode(), json_header)
    plugged = decode_event(
        topics.VIDEO_PUBLISHED, b"v1", video(title="HELLO").encode(), [("content-type", b"application/shout")]
    )
    assert isinstance(plugged, VideoPublished)
    assert plugged.title == "hello"
    assert refusal(b"{}", headers=[("content-type", b"application/shout")]).code == "missing_field"
    assert refusal(video(), headers=[("content-type", b"avro/binary")]).code == "unknown_content_type"


def test_headers_are_cloudevents_in_binary_mode() -> None:
    record = encoded(VideoPublished.model_validate(VIDEO), traceparent=TRACE)
    assert record.key == b"v1"
    assert dict(record.headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"00000000-0000-0000-0000-000000000007",
        "ce_type": b"reelsort.video.published.v1",
        "ce_source": b"/reelsort/test",
        "ce_time": b"2026-03-01T12:30:00+00:00",
        "content-type": b"application/json",
        "traceparent": TRACE.encode(),
    }
    assert traceparent_of(record.headers) == TRACE


@pytest.mark.parametrize(
    "broken",
    [
        "",
        TRACE.upper(),
        TRACE + "\n",
        TRACE + "-00",
        "ff" + TRACE[2:],
        "00-" + "0" * 32 + TRACE[35:],
        TRACE[:36] + "0" * 16 + "-01",
    ],
)
def test_an_invalid_traceparent_is_dropped(broken: str) -> None:
    event = VideoPublished.model_validate(VIDEO)
    assert "traceparent" not in dict(encoded(event, traceparent=broken).headers)
    assert traceparent_of([("traceparent", broken.encode())]) is None
    assert traceparent_of([("traceparent", b"\xff"), ("other", None)]) is None


def example(topic: str) -> Event:
    """A small valid event of a topic."""
    samples: dict[str, dict[str, object]] = {
        topics.AUTHOR_PROFILES: {"author_id": "a1", "seq": 1, "updated_at": NOW},
        topics.VIDEO_LABELS: {
            "decision_id": UUID(int=1),
            "video_id": "v1",
            "revision": 0,
            "author_id": "a1",
            "published_at": NOW,
            "label_revision": 1,
            "status": "in_review",
            "source": "model",
            "trigger": "publish",
            "taxonomy_id": "tx",
            "encoder_id": "e",
            "policy_id": "p",
            "model_id": "m",
            "decided_at": NOW,
        },
    }
    return TOPICS[topic].events[0].model_validate(samples[topic])

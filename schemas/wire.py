"""Bytes and headers to events, and back: CloudEvents 1.0 in Kafka's binary mode.

`decode_event` is the one entry. Whatever bytes come, it returns a valid event or raises BadEvent with a stable code:

    tombstone             no value
    too_large             more than MAX_EVENT_BYTES
    unknown_topic         the topic carries no event
    unknown_type          the topic carries several kinds of event and ce_type names none of them
    unknown_content_type  no decoder for the content-type header
    not_json              not UTF-8 JSON as RFC 8259 has it (NaN, lone surrogates, too deep, ...)
    missing_field         a required field is not there
    bad_value             a field is not what the contract says
    key_mismatch          a compacted topic's record lies under a key that is not its own

JSON is built in. Another encoding (Avro, Protobuf, a schema registry's framing) is a function of the form of Decoder,
installed as an entry point of the group `reelsort.decoders` under its content type.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import entry_points
from typing import Protocol
from uuid import UUID

import orjson
import pydantic_core
from pydantic import ValidationError

from schemas.events import Event
from schemas.topics import EVENT_TYPES, TOPICS, TopicSpec

MAX_EVENT_BYTES = 1024 * 1024  # Kafka's own default limit of a message
MAX_DETAIL = 200
JSON = "application/json"
_JSON_BYTES = JSON.encode()
DECODERS_GROUP = "reelsort.decoders"

Headers = Sequence[tuple[str, bytes | None]]

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_CODES = {"json_invalid": "not_json", "json_type": "not_json", "missing": "missing_field"}


class BadEvent(Exception):
    """Bytes that are no event. `code` is stable; `detail` is printable ASCII, short, and never quotes a value."""

    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        self.detail = _UNPRINTABLE.sub("?", detail)[:MAX_DETAIL]
        super().__init__(f"{code}: {self.detail}")


class Decoder(Protocol):
    """Turns a value into an event of the class asked for. Raises BadEvent or pydantic's ValidationError."""

    def __call__(self, value: bytes, event_class: type[Event]) -> Event: ...


@dataclass(frozen=True, slots=True)
class EncodedEvent:
    """A record ready for Kafka."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def decode_event(topic: str, key: bytes | None, value: bytes | None, headers: Headers = ()) -> Event:
    """The event in a record of `topic` (a standard name). Raises BadEvent, and nothing else, for whatever bytes."""
    spec = TOPICS.get(topic)
    if spec is None:
        raise BadEvent("unknown_topic", "the topic is none of ours")
    if value is None:
        raise BadEvent("tombstone", "the record has no value")
    if len(value) > MAX_EVENT_BYTES:
        raise BadEvent("too_large", f"{len(value)} bytes, more than {MAX_EVENT_BYTES}")
    event_class = spec.events[0] if len(spec.events) == 1 else _event_class(spec, _header("ce_type", headers))
    decoder = _decoder(_header("content-type", headers))
    try:
        event = decoder(value, event_class)
    except ValidationError as error:
        raise _explained(error) from None
    if spec.cleanup == "compact" and key != getattr(event, spec.key_field).encode("utf-8"):
        raise BadEvent("key_mismatch", f"the key is not {spec.key_field}")
    return event


def decode_json(value: bytes, event_class: type[Event]) -> Event:
    """Strict JSON: no coercion between types. Unknown fields are ignored, but must be JSON too."""
    if b"NaN" in value or b"Infinity" in value:
        # pydantic's parser takes these words for numbers; in a string they are harmless, so ask a strict parser
        try:
            orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise BadEvent("not_json", error.msg) from None
    return event_class.model_validate_json(value, strict=True)


def encode_event(
    event: Event, *, ce_id: UUID | str, source: str, time: datetime, traceparent: str | None = None
) -> EncodedEvent:
    """The record of an event.

    source: URI reference of who says so, such as /reelsort/classify. time: when it happened, with a zone.
    """
    event_class = type(event)
    headers = event_headers(EVENT_TYPES[event_class], ce_id=ce_id, source=source, time=time, traceparent=traceparent)
    return EncodedEvent(
        key=getattr(event, KEY_FIELDS[event_class]).encode("utf-8"),
        value=encode_value(event),
        headers=[(name, text.encode("utf-8")) for name, text in headers.items()],
    )


def encode_value(event: Event) -> bytes:
    """The JSON of an event alone, for writers that keep headers apart (the outbox)."""
    return pydantic_core.to_json(event)


def event_headers(
    event_type: str, *, ce_id: UUID | str, source: str, time: datetime, traceparent: str | None = None
) -> dict[str, str]:
    """CloudEvents headers as text; event_type is one of EVENT_TYPES' values. An invalid traceparent is dropped."""
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(ce_id),
        "ce_type": event_type,
        "ce_source": source,
        "ce_time": time.astimezone(UTC).isoformat(),
        "content-type": JSON,
    }
    if traceparent is not None and _TRACEPARENT.fullmatch(traceparent):
        headers["traceparent"] = traceparent
    return headers


def traceparent_of(headers: Headers) -> str | None:
    """The W3C trace context of a record; None where there is none, or an invalid one."""
    for name, content in headers:
        if name == "traceparent" and content is not None:
            text = content.decode("ascii", "replace")
            return text if _TRACEPARENT.fullmatch(text) else None
    return None


KEY_FIELDS: Mapping[type[Event], str] = {
    event_class: spec.key_field for spec in TOPICS.values() for event_class in spec.events
}
"""Which field of an event is its record's key."""


def _header(wanted: str, headers: Headers) -> bytes | None:
    """The last one of that name that has a value."""
    for name, content in reversed(headers):
        if name == wanted and content is not None:
            return content
    return None


def _event_class(spec: TopicSpec, ce_type: bytes | None) -> type[Event]:
    """The topic says what its records are; ce_type is asked only where a topic carries several kinds."""
    wanted = (ce_type or b"").decode("ascii", "replace")
    for event_class in spec.events:
        if EVENT_TYPES[event_class] == wanted:
            return event_class
    raise BadEvent("unknown_type", f"ce_type is none of {', '.join(EVENT_TYPES[each] for each in spec.events)}")


def _decoder(content_type: bytes | None) -> Decoder:
    if content_type is None or content_type == _JSON_BYTES:
        return decode_json
    media_type = content_type.decode("ascii", "replace").partition(";")[0].strip().lower()
    if media_type == JSON:
        return decode_json
    if plugged := _plugged_decoders().get(media_type):
        return plugged
    raise BadEvent("unknown_content_type", f"no decoder for {media_type[:60]}")


@cache
def _plugged_decoders() -> dict[str, Decoder]:
    return {point.name: point.load() for point in entry_points(group=DECODERS_GROUP)}


def _explained(error: ValidationError) -> BadEvent:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return BadEvent(_CODES.get(first["type"], "bad_value"), f"{where[:80]}: {first['msg']}" if where else first["msg"])

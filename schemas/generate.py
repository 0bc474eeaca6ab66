"""JSON Schemas of the events and an AsyncAPI document of the topics, for readers in any language.

Everything is made from schemas/events.py and schemas/topics.py; equal code gives equal bytes. `released/` is what the
last release shipped: the contract that must not be broken.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.compatibility import Break, breaks_between
from schemas.errors import UserError
from schemas.events import Event
from schemas.topics import EVENT_TYPES, OUTSIDE, TOPICS, TopicSpec
from schemas.wire import JSON, KEY_FIELDS

GENERATED = Path(__file__).parent
RELEASED = Path(__file__).parent / "released"

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ASYNCAPI = "asyncapi.json"
_HEADERS: Mapping[str, str] = {
    "ce_specversion": "CloudEvents version, 1.0",
    "ce_id": "id of the event: a record sent twice has the same",
    "ce_type": "kind of event",
    "ce_source": "who says so",
    "ce_time": "when it happened, RFC 3339",
    "content-type": "how the value is encoded",
    "traceparent": "W3C trace context, where there is one",
}
_OPTIONAL_HEADERS = {"traceparent"}


def generated_files() -> dict[str, str]:
    """Every generated file: path relative to the schemas folder -> content."""
    files = {_schema_path(event): _text(event_schema(event)) for event in EVENT_TYPES}
    files[_ASYNCAPI] = _text(asyncapi())
    return files


def write_generated(folder: Path = GENERATED) -> list[str]:
    """Write what is generated and take away what is no longer. Returns the paths that changed."""
    changed = drifted(folder)
    for path, text in generated_files().items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    for path in _stale(folder):
        (folder / path).unlink()
    return changed


def drifted(folder: Path = GENERATED) -> list[str]:
    """Paths whose content in `folder` is not what the code says."""
    differing = [path for path, text in generated_files().items() if _read(folder / path) != text]
    return sorted([*differing, *_stale(folder)])


def breaks_since_release(folder: Path = RELEASED) -> list[Break]:
    """What the events of today break of the last release. Raises UserError where `folder` holds no release."""
    old = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}
    if not old:
        raise UserError(f"{folder} holds no released schemas", "run `reelsort schemas release` once")
    new = {name: event_schema(event) for event, name in EVENT_TYPES.items()}
    return breaks_between(old, new)


def write_release(folder: Path = RELEASED) -> list[str]:
    """Make the events of today the released ones. Returns their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for event, name in EVENT_TYPES.items():
        (folder / f"{name}.json").write_text(_text(event_schema(event)), encoding="utf-8")
    return list(EVENT_TYPES.values())


def event_schema(event: type[Event]) -> dict[str, Any]:
    """JSON Schema (2020-12) of one event."""
    name = EVENT_TYPES[event]
    return {"$schema": _DIALECT, "$id": "urn:" + name.replace(".", ":"), **event.model_json_schema()}


def asyncapi() -> dict[str, Any]:
    """AsyncAPI 3.0: channels are topics, messages are events, operations are seen from reelsort."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "reelsort",
            "version": "1.0.0",
            "description": "Labels every short video the moment it is published.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": JSON,
        "channels": {name: _channel(spec) for name, spec in TOPICS.items()},
        "operations": {f"{_action(spec)}.{name}": _operation(spec) for name, spec in TOPICS.items()},
        "components": {
            "messages": {event.__name__: _message(event) for event in EVENT_TYPES}
            | {_tombstone_name(spec): _tombstone(spec) for spec in TOPICS.values() if spec.tombstone}
        },
    }


def _channel(spec: TopicSpec) -> dict[str, Any]:
    retention: dict[str, Any] = {} if spec.retention is None else {"retention.ms": int(spec.config()["retention.ms"])}
    return {
        "address": spec.name,
        "description": f"Written by {spec.written_by}; read by {spec.read_by}; keyed by {spec.key_field}.",
        "messages": {name: _ref(f"#/components/messages/{name}") for name in _message_names(spec)},
        "bindings": {"kafka": {"topicConfiguration": {"cleanup.policy": [spec.cleanup], **retention}}},
    }


def _operation(spec: TopicSpec) -> dict[str, Any]:
    channel = "#/channels/" + spec.name
    return {
        "action": _action(spec),
        "channel": _ref(channel),
        "messages": [_ref(f"{channel}/messages/{name}") for name in _message_names(spec)],
    }


def _message_names(spec: TopicSpec) -> list[str]:
    names = [event.__name__ for event in spec.events]
    return [*names, _tombstone_name(spec)] if spec.tombstone else names


def _message(event: type[Event]) -> dict[str, Any]:
    return {
        "name": EVENT_TYPES[event],
        "title": event.__name__,
        "summary": inspect.cleandoc(event.__doc__ or ""),
        "contentType": JSON,
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": _ref(_schema_path(event)),
        },
        **_envelope(KEY_FIELDS[event]),
    }


def _tombstone(spec: TopicSpec) -> dict[str, Any]:
    return {
        "name": spec.tombstone,
        "title": _tombstone_name(spec),
        "summary": "What was said under this key no longer holds.",
        "payload": {"type": "null"},
        **_envelope(spec.key_field),
    }


def _tombstone_name(spec: TopicSpec) -> str:
    return spec.events[0].__name__ + "Tombstone"


def _envelope(key_field: str) -> dict[str, Any]:
    return {
        "headers": {
            "type": "object",
            "properties": {name: {"type": "string", "description": why} for name, why in _HEADERS.items()},
            "required": [name for name in _HEADERS if name not in _OPTIONAL_HEADERS],
        },
        "bindings": {"kafka": {"key": {"type": "string", "description": f"the event's {key_field}"}}},
    }


def _action(spec: TopicSpec) -> str:
    return "receive" if spec.written_by in OUTSIDE else "send"


def _ref(target: str) -> dict[str, str]:
    return {"$ref": target}


def _schema_path(event: type[Event]) -> str:
    return f"jsonschema/{EVENT_TYPES[event]}.json"


def _stale(folder: Path) -> list[str]:
    wanted = generated_files().keys()
    found = (path.relative_to(folder).as_posix() for path in (folder / "jsonschema").glob("*.json"))
    return [path for path in found if path not in wanted]


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"

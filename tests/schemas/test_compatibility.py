"""Broken promises are found, kept ones are not mistaken for broken."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from schemas.compatibility import Break, breaks_between

OLD: dict[str, Any] = {
    "$defs": {
        "Kind": {"enum": ["play", "like"], "type": "string"},
        "Inner": {
            "properties": {"weight": {"type": "number"}, "name": {"type": "string"}},
            "required": ["name"],
            "type": "object",
        },
    },
    "properties": {
        "id": {"type": "string", "maxLength": 256, "minLength": 1},
        "count": {"type": "integer", "minimum": 0, "maximum": 100},
        "kind": {"$ref": "#/$defs/Kind"},
        "level": {"anyOf": [{"type": "string", "maxLength": 256}, {"type": "null"}], "default": None},
        "inner": {"items": {"$ref": "#/$defs/Inner"}, "type": "array"},
        "audience": {"type": "object", "additionalProperties": {"type": "number", "maximum": 1}},
        "at": {"type": "string", "format": "date-time"},
    },
    "required": ["id"],
    "type": "object",
}

Change = Callable[[dict[str, Any]], object]


def after(change: Change) -> list[tuple[str, str]]:
    new = deepcopy(OLD)
    change(new)
    return [(found.path, found.kind) for found in breaks_between({"e": OLD}, {"e": new})]


@pytest.mark.parametrize(
    ("change", "path", "kind"),
    [
        (lambda it: it["properties"].pop("at"), "e.at", "removed"),
        (lambda it: it["properties"].update(number=it["properties"].pop("count")), "e.count", "removed"),
        (lambda it: it["properties"]["count"].update(type="number"), "e.count", "retyped"),
        (lambda it: it["properties"]["at"].pop("format"), "e.at", "retyped"),
        (lambda it: it["properties"]["level"]["anyOf"].pop(), "e.level", "retyped"),
        (lambda it: it["properties"].update(id={"anyOf": [{"type": "string"}, {"type": "null"}]}), "e.id", "retyped"),
        (lambda it: it["properties"]["inner"].update(items={"type": "string"}), "e.inner[]", "retyped"),
        (lambda it: it["properties"].update(count=OLD["properties"]["inner"]), "e.count", "retyped"),
        (lambda it: it["properties"]["id"].update(maxLength=64), "e.id", "narrowed"),
        (lambda it: it["properties"]["id"].update(minLength=2), "e.id", "narrowed"),
        (lambda it: it["properties"]["id"].update(pattern="^v"), "e.id", "narrowed"),
        (lambda it: it["properties"]["inner"].update(maxItems=9), "e.inner", "narrowed"),
        (lambda it: it["properties"]["level"]["anyOf"][0].update(maxLength=9), "e.level", "narrowed"),
        (
            lambda it: it["properties"]["audience"]["additionalProperties"].update(maximum=0.5),
            "e.audience.*",
            "narrowed",
        ),
        (lambda it: it["$defs"]["Kind"]["enum"].remove("like"), "e.kind", "narrowed"),
        (lambda it: it["$defs"].update(Kind={"const": "play", "type": "string"}), "e.kind", "narrowed"),
        (lambda it: it["properties"]["id"].update(enum=["v1"]), "e.id", "narrowed"),
        (lambda it: it.update(additionalProperties=False), "e", "narrowed"),
        (lambda it: it["required"].append("count"), "e.count", "required"),
        (lambda it: it["$defs"]["Inner"]["required"].append("weight"), "e.inner[].weight", "required"),
        (lambda it: it["$defs"]["Inner"]["properties"].pop("weight"), "e.inner[].weight", "removed"),
    ],
)
def test_a_planted_break_is_found(change: Change, path: str, kind: str) -> None:
    assert after(change) == [(path, kind)]


def test_a_new_field_that_must_be_there_is_found() -> None:
    def change(it: dict[str, Any]) -> None:
        it["properties"]["new"] = {"type": "string"}
        it["required"].append("new")

    assert after(change) == [("e.new", "required")]


def test_an_event_that_is_gone_is_found() -> None:
    assert breaks_between({"e": OLD}, {}) == [Break("e", "removed", "the event is gone")]


@pytest.mark.parametrize(
    "change",
    [
        lambda it: it["properties"].update(new={"type": "string", "default": ""}),
        lambda it: it["$defs"]["Inner"]["properties"].update(new={"type": "integer", "default": 0}),
        lambda it: it["properties"]["count"].update(maximum=1000, minimum=-1),
        lambda it: it["properties"]["id"].pop("maxLength"),
        lambda it: it["$defs"]["Kind"]["enum"].append("share"),
        lambda it: it["properties"]["level"]["anyOf"].reverse(),
        lambda it: it["properties"]["count"].update(title="Count", description="How many"),
        lambda it: it["properties"].update(kind=it["$defs"].pop("Kind")),
        lambda it: it["properties"].update(at={"anyOf": [it["properties"]["at"]]}),
    ],
)
def test_what_breaks_nobody_is_let_through(change: Change) -> None:
    assert after(change) == []


def test_a_new_event_breaks_nobody() -> None:
    assert breaks_between({"e": OLD}, {"e": OLD, "f": OLD}) == []

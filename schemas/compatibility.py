"""Whether new JSON Schemas keep the promises of old ones. Pure: schemas in, breaks out.

Inside a version fields may be added. Taking one away, renaming it, changing its type, accepting less than before or
asking for more breaks somebody who reads or writes the event today.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Schema = Mapping[str, Any]
Kind = Literal["removed", "retyped", "narrowed", "required"]

_UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_EXACT = ("pattern", "multipleOf", "uniqueItems", "propertyNames")


@dataclass(frozen=True, slots=True)
class Break:
    """One broken promise. path: event and field, as event.field.inner; [] stands for the items of a list."""

    path: str
    kind: Kind
    detail: str

    def __str__(self) -> str:
        return f"{self.path}: {self.kind}: {self.detail}"


def breaks_between(old: Mapping[str, Schema], new: Mapping[str, Schema]) -> list[Break]:
    """Every promise of `old` that `new` does not keep, in order of the events' names.

    old, new: name of the event -> its JSON Schema, with its own $defs.
    """
    found: list[Break] = []
    for name, schema in sorted(old.items()):
        if name in new:
            found += _Comparison(schema, new[name]).breaks(name, schema, new[name])
        else:
            found.append(Break(name, "removed", "the event is gone"))
    return found


@dataclass(frozen=True)
class _Comparison:
    """Compares two documents; $ref is looked up in the document it stands in."""

    old_root: Schema
    new_root: Schema

    def breaks(self, path: str, old: Schema, new: Schema) -> Iterator[Break]:
        old, new = _resolved(old, self.old_root), _resolved(new, self.new_root)
        old_types, new_types = _types(old, self.old_root), _types(new, self.new_root)
        if old_types != new_types:
            yield Break(path, "retyped", f"was {' or '.join(old_types)}, is {' or '.join(new_types)}")
            return
        if "anyOf" in old or "anyOf" in new:
            # types are equal, so branches pair up by type; a schema without anyOf is its own only branch
            new_branches = self._branches(new, self.new_root)
            for kind, branch in self._branches(old, self.old_root).items():
                yield from self.breaks(path, branch, new_branches[kind])
            return
        yield from _narrowed(path, old, new)
        yield from self._object(path, old, new)
        if "items" in old and "items" in new:
            yield from self.breaks(f"{path}[]", old["items"], new["items"])
        if isinstance(old.get("additionalProperties"), Mapping) and isinstance(
            new.get("additionalProperties"), Mapping
        ):
            yield from self.breaks(f"{path}.*", old["additionalProperties"], new["additionalProperties"])

    def _object(self, path: str, old: Schema, new: Schema) -> Iterator[Break]:
        new_fields = new.get("properties", {})
        for field, schema in old.get("properties", {}).items():
            if field in new_fields:
                yield from self.breaks(f"{path}.{field}", schema, new_fields[field])
            else:
                yield Break(f"{path}.{field}", "removed", "the field is gone or has another name")
        for field in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
            yield Break(f"{path}.{field}", "required", "was not asked for before")

    @staticmethod
    def _branches(schema: Schema, root: Schema) -> dict[str, Schema]:
        branches = [_resolved(branch, root) for branch in schema.get("anyOf", [schema])]
        return {" or ".join(_types(branch, root)): branch for branch in branches}


def _resolved(schema: Schema, root: Schema) -> Schema:
    """The schema a $ref names; what stands beside the $ref (a default, a description) stays."""
    while "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = {**target, **{name: value for name, value in schema.items() if name != "$ref"}}
    return schema


def _types(schema: Schema, root: Schema) -> list[str]:
    """Names of the types a value may have, sorted; a string's format is part of its type."""
    if "anyOf" in schema:
        return sorted({name for branch in schema["anyOf"] for name in _types(_resolved(branch, root), root)})
    stated = schema.get("type", "any")
    kinds = [stated] if isinstance(stated, str) else list(stated)
    return sorted(f"{kind} ({schema['format']})" if "format" in schema else kind for kind in kinds)


def _narrowed(path: str, old: Schema, new: Schema) -> Iterator[Break]:
    old_values, new_values = _values(old), _values(new)
    if new_values is not None and (old_values is None or set(map(repr, old_values)) - set(map(repr, new_values))):
        yield Break(path, "narrowed", f"takes only {new_values} now")
    for word in _UPPER_BOUNDS:
        if word in new and (word not in old or new[word] < old[word]):
            yield Break(path, "narrowed", f"{word} was {old.get(word, 'unbounded')}, is {new[word]}")
    for word in _LOWER_BOUNDS:
        if word in new and (word not in old or new[word] > old[word]):
            yield Break(path, "narrowed", f"{word} was {old.get(word, 'unbounded')}, is {new[word]}")
    for word in _EXACT:
        if word in new and new[word] != old.get(word):
            yield Break(path, "narrowed", f"{word} was {old.get(word, 'not set')}, is {new[word]}")
    if new.get("additionalProperties") is False and old.get("additionalProperties") is not False:
        yield Break(path, "narrowed", "refuses fields it does not know")


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return schema.get("enum")

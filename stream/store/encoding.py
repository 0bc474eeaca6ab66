"""Postgres' binary wire format, for the columns this package writes in bulk.

A field is its length and its bytes; a COPY block and an array parameter are made of the same fields, so a value is
encoded once and used in both. Source: PostgreSQL manual, "COPY: Binary Format" and the *recv functions of each type.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from struct import Struct
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from psycopg.abc import AdaptContext
from psycopg.adapt import Dumper
from psycopg.pq import Format

Field = bytes

NULL: Field = b"\xff\xff\xff\xff"
COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_TRAILER = b"\xff\xff"

length = Struct(">i").pack
_boolean = Struct(">i?").pack
_int2 = Struct(">ih").pack
_int4 = Struct(">ii").pack
_int8 = Struct(">iq").pack
_float8 = Struct(">id").pack
_int4_int8 = Struct(">iiiq").pack
_float8_float8_boolean = Struct(">ididi?").pack
_array_head = Struct(">iiIii").pack
_row_head = Struct(">h").pack

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_TEXT_OID, _FLOAT4_OID = 25, 700


def data(value: bytes) -> Field:
    """bytea, and any type whose binary form the caller has already (uuid, the text of json)."""
    return length(len(value)) + value


def text(value: str) -> Field:
    encoded = value.encode()
    return length(len(encoded)) + encoded


def text_or_null(value: str | None) -> Field:
    return NULL if value is None else text(value)


def data_or_null(value: bytes | None) -> Field:
    return NULL if value is None else data(value)


def boolean(value: bool) -> Field:
    return _boolean(1, value)


def int2(value: int) -> Field:
    return _int2(2, value)


def int4(value: int) -> Field:
    return _int4(4, value)


def int8(value: int) -> Field:
    return _int8(8, value)


def float8(value: float) -> Field:
    return _float8(8, value)


def int4_int8(first: int, second: int) -> Field:
    """Two columns beside each other, in one call."""
    return _int4_int8(4, first, 8, second)


def float8_float8_boolean(first: float, second: float, third: bool) -> Field:
    """Three columns beside each other, in one call."""
    return _float8_float8_boolean(8, first, 8, second, 1, third)


def timestamptz(moment: datetime) -> Field:
    since = moment - _EPOCH
    return _int8(8, (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds)


def json(value: Any) -> Field:
    return data(orjson.dumps(value))


def jsonb(value: Any) -> Field:
    return jsonb_text(orjson.dumps(value))


def jsonb_text(encoded: bytes) -> Field:
    """From JSON text; the leading 1 is the format's version."""
    return length(len(encoded) + 1) + b"\x01" + encoded


def text_array(values: Sequence[str]) -> Field:
    return data(_array([text(value) for value in values], _TEXT_OID))


def float4_array(values: Sequence[float]) -> Field:
    if not values:
        return data(_empty(_FLOAT4_OID))
    count = len(values)
    interleaved: list[float] = [4] * (2 * count)
    interleaved[1::2] = values
    return _float4_array(count).pack(20 + 8 * count, 1, 0, _FLOAT4_OID, count, 1, *interleaved)


@cache
def _float4_array(count: int) -> Struct:
    return Struct(">iiiIii" + "if" * count)


def _array(fields: Sequence[Field], oid: int) -> bytes:
    """A one-dimensional array, or the dimensionless empty one. The null flag is advisory: readers look at lengths."""
    if not fields:
        return _empty(oid)
    return _array_head(1, 1, oid, len(fields), 1) + b"".join(fields)


def _empty(oid: int) -> bytes:
    return _array_head(0, 0, oid, 0, 0)[:12]


def bytea_columns(*columns: NDArray[Any]) -> list[Field]:
    """bytea columns beside each other, from arrays [B, ...] of one B: row by row, the bytes that B rows hold."""
    block = np.empty(
        len(columns[0]),
        [
            field
            for place, column in enumerate(columns)
            for field in ((f"length{place}", ">i4"), (f"value{place}", column.dtype, column.shape[1:]))
        ],
    )
    for place, column in enumerate(columns):
        block[f"length{place}"] = column[0].nbytes
        block[f"value{place}"] = column
    content, size = block.tobytes(), block.itemsize
    return [content[at : at + size] for at in range(0, len(content), size)]


def rows(columns: str, rows: Iterable[Sequence[Field]]) -> bytes:
    """Rows of a COPY; `columns` is the statement's list of them."""
    head = _row_head(columns.count(",") + 1)
    return b"".join([head + b"".join(row) for row in rows])


def copy_block(blocks: Iterable[bytes]) -> bytes:
    """A whole COPY, of blocks that rows() made."""
    return b"".join((COPY_HEADER, *blocks, COPY_TRAILER))


@dataclass(frozen=True, slots=True)
class Column:
    """Fields of one type as an array parameter of a statement (unnest)."""

    fields: Sequence[Field]
    oid: int


class _Text(Column):
    __slots__ = ()


class _Int4(Column):
    __slots__ = ()


class _Timestamptz(Column):
    __slots__ = ()


class _Json(Column):
    __slots__ = ()


class _Float8(Column):
    __slots__ = ()


class _Int8(Column):
    __slots__ = ()


def text_column(fields: Sequence[Field]) -> Column:
    return _Text(fields, _TEXT_OID)


def int4_column(fields: Sequence[Field]) -> Column:
    return _Int4(fields, 23)


def timestamptz_column(fields: Sequence[Field]) -> Column:
    return _Timestamptz(fields, 1184)


def json_column(fields: Sequence[Field]) -> Column:
    return _Json(fields, 114)


def float8_column(fields: Sequence[Field]) -> Column:
    return _Float8(fields, 701)


def int8_column(fields: Sequence[Field]) -> Column:
    return _Int8(fields, 20)


def register(context: AdaptContext) -> None:
    """Teach a connection to send Column parameters."""
    for column, array_oid in _ARRAY_OIDS.items():
        dumper = type(f"{column.__name__}Dumper", (_ColumnDumper,), {"oid": array_oid})
        context.adapters.register_dumper(column, dumper)


_ARRAY_OIDS: Mapping[type[Column], int] = {
    _Text: 1009,
    _Int4: 1007,
    _Int8: 1016,
    _Float8: 1022,
    _Timestamptz: 1185,
    _Json: 199,
}


class _ColumnDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Column) -> bytes:
        return _array(obj.fields, obj.oid)

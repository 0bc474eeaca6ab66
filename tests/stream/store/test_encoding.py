"""Binary fields mean to a real Postgres what they meant here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest

from stream.store import encoding as pg

MOMENTS = [
    datetime(1971, 1, 1, tzinfo=UTC),
    datetime(1999, 12, 31, 23, 59, 59, 999999, UTC),
    datetime(2000, 1, 1, tzinfo=UTC),
    datetime(2026, 7, 1, 3, 4, 5, 678901, UTC) + timedelta(hours=8),
    datetime(2999, 12, 31, tzinfo=UTC),
]
TEXTS = ["", "plain", "带引号'\"和\\反斜杠\t\n", "🎬" * 100]


@pytest.mark.stack
def test_a_copied_row_is_read_back_as_it_was_written(dsn: str) -> None:
    rows = []
    for number in range(10):
        moment, text = MOMENTS[number % len(MOMENTS)], TEXTS[number % len(TEXTS)]
        rows.append(
            (
                number,
                -number * 10**12,
                number,
                -number * 10**12,
                text if number % 3 else None,
                bytes(range(number)) if number % 2 else None,
                number * 0.1,
                number * 0.1,
                number * -0.1,
                number % 2 == 0,
                UUID(int=number**30),
                moment,
                {"text": text, "list": [1, None, text], "nothing": {}},
                TEXTS[: number % 5],
                [number / 4] * (number % 4),
            )
        )
    block = pg.rows(
        "a, b, a2, b2, c, d, e, e2, e3, f, g, h, i, j, k",
        [
            (
                pg.int4(a),
                pg.int8(b),
                pg.int4_int8(a, b),
                pg.text_or_null(c),
                pg.data_or_null(d),
                pg.float8(e),
                pg.float8_float8_boolean(e, -e, f),
                pg.data(g.bytes),
                pg.timestamptz(h),
                pg.jsonb(i),
                pg.text_array(j),
                pg.float4_array(k),
            )
            for a, b, _, _, c, d, e, _, _, f, g, h, i, j, k in rows
        ],
    )
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("SET timezone = 'UTC'")
        connection.execute(
            "CREATE TEMP TABLE t (a int4, b int8, a2 int4, b2 int8, c text, d bytea, e float8, e2 float8, e3 float8,"
            " f bool, g uuid, h timestamptz, i jsonb, j text[], k float4[])"
        )
        with connection.cursor().copy("COPY t FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(pg.copy_block([block]))
        assert connection.execute("SELECT * FROM t ORDER BY a").fetchall() == rows


@pytest.mark.stack
def test_columns_are_arrays_to_unnest(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        pg.register(connection)
        connection.execute("SET timezone = 'UTC'")
        found = connection.execute(
            "SELECT * FROM unnest(%b::text[], %b::int4[], %b::timestamptz[], %b::json[])",
            [
                pg.text_column([pg.text(text) for text in TEXTS] + [pg.NULL]),
                pg.int4_column([pg.int4(n) for n in (0, -1, 2**31 - 1, 5)] + [pg.NULL]),
                pg.timestamptz_column([pg.timestamptz(moment) for moment in MOMENTS]),
                pg.json_column([pg.json({"a": text}) for text in [*TEXTS, "x"]]),
            ],
        ).fetchall()
        nothing = connection.execute("SELECT * FROM unnest(%b::text[])", [pg.text_column([])]).fetchall()
    assert [row[0] for row in found] == [*TEXTS, None]
    assert [row[1] for row in found] == [0, -1, 2**31 - 1, 5, None]
    assert [row[2] for row in found] == MOMENTS
    assert [row[3]["a"] for row in found] == [*TEXTS, "x"]
    assert nothing == []

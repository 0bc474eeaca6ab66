"""What was in hand when a process died is found by the next owner of its partition, and by nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from stream.consumer.records import Record
from stream.settings import DatabaseSettings
from stream.store import attempts
from stream.store.attempts import Spot
from stream.store.session import connect

pytestmark = pytest.mark.stack

Connection = psycopg.Connection[Any]
P0, P1 = ("t", 0), ("t", 1)


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    with connect(DatabaseSettings(dsn=SecretStr(dsn)), "test") as opened:
        yield opened


def records(partition: int, *offsets: int) -> list[Record]:
    return [Record("t", partition, offset, 1, 0, None, None, ()) for offset in offsets]


def test_what_a_dead_owner_had_in_hand_is_suspect_for_the_next(connection: Connection) -> None:
    dead = attempts.begin(connection, records(0, 5, 6, 7) + records(1, 3), {P0, P1}, [])
    assert dead.suspects == {}
    begun = attempts.begin(connection, records(0, 6, 7, 8), {P0}, [])
    assert begun.suspects == {Spot("t", 0, 6): 0, Spot("t", 0, 7): 0}  # 5 was finished: nobody asks for it again
    assert attempts.begin(connection, records(1, 4), {P1}, []).suspects == {}  # so was 3


def test_ones_own_lots_make_nobody_suspect(connection: Connection) -> None:
    first = attempts.begin(connection, records(0, 5, 6), {P0}, [])
    again = attempts.begin(connection, records(0, 5, 6), {P0}, list(first.lots.values()))
    assert again.suspects == {}


def test_a_partition_is_searched_once_an_assignment(connection: Connection) -> None:
    attempts.begin(connection, records(0, 5), {P0}, [])
    assert attempts.begin(connection, records(0, 5), set(), []).suspects == {}


def test_what_ended_in_good_order_is_nobodys_suspect(connection: Connection) -> None:
    attempts.end(connection, list(attempts.begin(connection, records(0, 5, 6), {P0}, []).lots.values()))
    assert attempts.begin(connection, records(0, 5, 6), {P0}, []).suspects == {}


def test_deaths_alone_are_remembered_over_deaths_until_the_input_is_cleared(connection: Connection) -> None:
    attempts.begin(connection, records(0, 5, 6), {P0}, [])
    attempts.begin(connection, records(0, 5, 6), {P0}, [])
    attempts.count_alone(connection, Spot("t", 0, 5))
    third = attempts.begin(connection, records(0, 5, 6), {P0}, [])
    assert third.suspects == {Spot("t", 0, 5): 1, Spot("t", 0, 6): 0}
    with connection.cursor() as cursor:
        attempts.clear(cursor, [Spot("t", 0, 5)])
    assert attempts.begin(connection, records(0, 6), set(), []).suspects == {Spot("t", 0, 6): 0}


def test_suspects_that_were_finished_after_all_are_forgotten(connection: Connection) -> None:
    attempts.begin(connection, records(0, 5, 6), {P0}, [])
    attempts.begin(connection, records(0, 5, 6), {P0}, [])
    attempts.begin(connection, records(0, 9), {P0}, [])
    assert connection.execute("SELECT count(*) FROM attempts").fetchone() == (0,)

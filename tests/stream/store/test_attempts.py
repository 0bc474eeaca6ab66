"""What was in hand when a process died is found by the next owner of its partition, and by nobody else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from pydantic import SecretStr

from stream.consumer.records import Record
from stream.settings import DatabaseSettings
from stream.store import attempts
from stream.store.attempts import Lot, Released, Spot
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


def begin(
    connection: Connection, taken: Sequence[Record], *new: attempts.Place, own: Sequence[Lot] = (), group: str = "g"
) -> tuple[list[Lot], dict[tuple[int, int], int]]:
    """The lots, and the suspects' deaths alone by (partition, offset)."""
    lots = {(each.topic, each.partition): uuid4() for each in taken}
    found = attempts.begin(connection, group, taken, lots, new=new, own=[*own, *lots.values()])
    assert {(spot.group, spot.topic) for spot in found} <= {(group, "t")}
    return list(lots.values()), {(spot.partition, spot.offset): deaths for spot, deaths in found.items()}


def test_what_a_dead_owner_had_in_hand_is_suspect_for_the_next(connection: Connection) -> None:
    assert begin(connection, records(0, 5, 6, 7) + records(1, 3), P0, P1)[1] == {}
    _, suspects = begin(connection, records(0, 6, 7, 8), P0)
    assert suspects == {(0, 6): 0, (0, 7): 0}  # 5 was finished: nobody asks for it again
    assert begin(connection, records(1, 4), P1)[1] == {}  # so was 3


def test_ones_own_lots_make_nobody_suspect(connection: Connection) -> None:
    lots, _ = begin(connection, records(0, 5, 6), P0)
    assert begin(connection, records(0, 5, 6), P0, own=lots)[1] == {}


def test_another_groups_lots_are_left_alone(connection: Connection) -> None:
    begin(connection, records(0, 5), P0, group="other")
    assert begin(connection, records(0, 5), P0)[1] == {}
    assert begin(connection, records(0, 5), P0, group="other")[1] == {(0, 5): 0}


def test_a_partition_is_searched_once_an_assignment(connection: Connection) -> None:
    begin(connection, records(0, 5), P0)
    assert begin(connection, records(0, 5))[1] == {}


def test_written_down_twice_after_a_lost_answer_is_written_down_once(connection: Connection) -> None:
    lots = {P0: uuid4()}
    for _ in range(2):
        assert attempts.begin(connection, "g", records(0, 5), lots, new=[P0], own=list(lots.values())) == {}
    assert connection.execute("SELECT count(*) FROM in_hand").fetchone() == (1,)


def test_what_ended_in_good_order_is_nobodys_suspect(connection: Connection) -> None:
    lots, _ = begin(connection, records(0, 5, 6), P0)
    attempts.release(connection, Released(lots))
    assert begin(connection, records(0, 5, 6), P0)[1] == {}


def test_deaths_alone_are_remembered_over_deaths_until_the_input_is_cleared(connection: Connection) -> None:
    begin(connection, records(0, 5, 6), P0)
    begin(connection, records(0, 5, 6), P0)
    attempts.count_alone(connection, Spot("g", "t", 0, 5))
    assert begin(connection, records(0, 5, 6), P0)[1] == {(0, 5): 1, (0, 6): 0}
    with connection.cursor() as cursor:
        attempts.clear(cursor, [Spot("g", "t", 0, 5)])
    assert begin(connection, records(0, 6))[1] == {(0, 6): 0}


def test_an_attempt_alone_that_was_cut_short_in_good_order_is_no_death(connection: Connection) -> None:
    begin(connection, records(0, 5), P0)
    lots, _ = begin(connection, records(0, 5), P0)
    attempts.count_alone(connection, Spot("g", "t", 0, 5))
    attempts.release(connection, Released(lots, [Spot("g", "t", 0, 5)]))
    assert begin(connection, records(0, 5), P0)[1] == {(0, 5): 0}


def test_suspects_that_were_finished_after_all_are_forgotten(connection: Connection) -> None:
    begin(connection, records(0, 5, 6), P0)
    begin(connection, records(0, 5, 6), P0)
    begin(connection, records(0, 9), P0)
    assert connection.execute("SELECT count(*) FROM attempts").fetchone() == (0,)

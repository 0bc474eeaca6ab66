"""What is in hand: flights that duplicates join, partitions that go, drains that end."""

from __future__ import annotations

import threading
import time
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import VideoPublished
from stream.classify.hand import Flight, Hand
from stream.consumer.records import Record, TopicPartition
from stream.store.attempts import Released, Spot
from stream.store.work import Input, Origin
from tests.support.waiting import wait_until

LOTS = [UUID(int=7), UUID(int=8)]
P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


def arrival(video: str, partition: int = 0, offset: int = 0, epoch: int = 1) -> Input:
    event = VideoPublished.model_validate(
        {"video_id": video, "author_id": "a", "media_uri": "m", "published_at": "2026-01-01T00:00:00Z"}
    )
    record = Record("t", partition, offset, epoch, 0, None, None, ())
    return Input(record, Origin("t", partition, offset), event, 1, None)


def board(hand: Hand, *inputs: Input) -> list[Flight]:
    hand.arrived([each.record for each in inputs])
    return hand.board(inputs)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=20))
def test_an_input_is_worked_on_once_and_every_record_of_it_lands(videos: list[str]) -> None:
    hand = Hand()
    flights = board(hand, *[arrival(video, offset=number) for number, video in enumerate(videos)])
    assert sorted(flight.video.video_id for flight in flights) == sorted(set(videos))
    assert sorted(record.offset for record in hand.land(flights)) == list(range(len(videos)))
    assert len(board(hand, arrival("a"))) == 1  # landed: the next one flies again


def test_what_was_given_up_is_dropped_and_its_lot_is_emptied() -> None:
    hand = Hand()
    gone, kept = board(hand, arrival("a", 0), arrival("b", 1))
    hand.book([gone, kept], {("t", 0): LOTS[0], ("t", 1): LOTS[1]})
    hand.abandon([P0])
    assert hand.released() == Released([LOTS[0]], [])  # before anybody asks for it again
    assert not hand.keep(gone)
    assert hand.keep(kept)
    assert not hand.released()
    (back,) = board(hand, arrival("a", 0, epoch=2))
    assert hand.keep(back)


def test_a_lot_is_emptied_by_the_last_of_its_flights() -> None:
    hand = Hand()
    first, second = board(hand, arrival("a", 0, 1), arrival("b", 0, 2))
    hand.book([first, second], {("t", 0): LOTS[0]})
    hand.land([first])
    assert (hand.released().lots, hand.lots) == ((), [LOTS[0]])
    hand.land([second])
    assert hand.lots == [LOTS[0]]  # the database has it until it is told
    assert (hand.released().lots, hand.lots) == ([LOTS[0]], [])


def test_a_lot_let_go_of_before_it_was_written_down_is_released_once_it_is() -> None:
    hand = Hand()
    flights = board(hand, arrival("a", 0))
    hand.book(flights, {("t", 0): LOTS[0]})
    hand.abandon([P0])
    assert hand.released().lots == [LOTS[0]]
    hand.written([LOTS[0]])
    assert hand.released().lots == [LOTS[0]]


def test_a_flight_that_was_given_up_makes_room_for_the_one_that_comes_back() -> None:
    hand = Hand()
    (gone,) = board(hand, arrival("a", 0, epoch=1))
    hand.abandon([P0])
    (back,) = board(hand, arrival("a", 0, epoch=2))
    assert not hand.start(gone)
    assert [record.epoch for record in hand.land([back])] == [2]


def test_an_attempt_alone_that_is_cut_short_is_taken_back_and_one_that_lands_is_not() -> None:
    hand = Hand()
    gone, landed, left = board(hand, arrival("a", 0, 1), arrival("b", 1, 2), arrival("c", 1, 3))
    for number, flight in enumerate((gone, landed, left)):
        flight.counted = Spot("g", "t", 0, number)
    hand.abandon([P0])
    hand.land([landed])
    assert hand.released().counted == [Spot("g", "t", 0, 0)]
    assert hand.leftover().counted == [Spot("g", "t", 0, 2)]


def test_what_was_given_up_meanwhile_is_not_wanted() -> None:
    hand = Hand()
    gone, kept = board(hand, arrival("a", 0), arrival("b", 1))
    hand.abandon([P0])
    assert hand.wanted([gone, kept]) == [kept]


def test_a_flight_goes_on_for_a_duplicate_whose_partition_stays() -> None:
    hand = Hand()
    (flight,) = board(hand, arrival("a", 0), arrival("a", 1))
    hand.abandon([P0])
    assert hand.start(flight)
    assert hand.keep(flight)


def test_a_drain_starts_nothing_new_and_waits_for_what_was_started() -> None:
    hand = Hand()
    started, waiting, other = board(hand, arrival("a", 0), arrival("b", 0), arrival("c", 1))
    assert hand.start(started)
    drained: list[bool] = []
    drain = threading.Thread(target=lambda: drained.append(hand.drain([P0], time.monotonic() + 30)))
    drain.start()
    wait_until(lambda: hand.hurried, interval_s=0.001)
    assert not hand.start(waiting)
    assert hand.start(other)
    assert drain.is_alive()
    hand.land([started])
    drain.join(30)
    assert drained == [True]


def test_a_drain_ends_at_its_deadline_and_does_not_wait_for_what_is_held() -> None:
    hand = Hand()
    (flight,) = board(hand, arrival("a"))
    assert hand.start(flight)
    assert not hand.drain([P0], time.monotonic() + 0.01)
    hand.hold(flight)
    assert hand.drain([P0], time.monotonic() + 30)


def test_after_the_end_nothing_starts_and_what_is_left_is_known() -> None:
    hand = Hand()
    first, second = board(hand, arrival("a"), arrival("b", 1))
    assert hand.start(first)
    hand.book([first, second], {("t", 0): LOTS[0], ("t", 1): LOTS[1]})
    assert not hand.close(time.monotonic() + 0.01)
    assert not hand.start(second)
    assert sorted(hand.leftover().lots) == sorted(LOTS)


def test_quiet_is_when_the_analyzer_has_nothing() -> None:
    hand = Hand()
    (flight,) = board(hand, arrival("a"))
    assert hand.wait_until_quiet(lambda: False)
    flight.analysing = True
    assert not hand.wait_until_quiet(lambda: True)
    threading.Timer(0.01, setattr, (flight, "analysing", False)).start()
    assert hand.wait_until_quiet(lambda: False)

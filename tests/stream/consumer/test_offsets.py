"""Which offsets may be committed, whatever the order of completions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.consumer.offsets import OffsetTracker
from stream.consumer.records import Record, TopicPartition

PARTITION = TopicPartition("t", 0)


def record(offset: int, epoch: int = 1, topic: str = "t", partition: int = 0) -> Record:
    return Record(topic, partition, offset, epoch, 0, None, None, ())


def assigned() -> OffsetTracker:
    tracker = OffsetTracker()
    tracker.assign(PARTITION)
    return tracker


@st.composite
def completions(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Offsets as read, with holes, and some of them in the order they complete, with repeats."""
    gaps = draw(st.lists(st.integers(1, 4), min_size=1, max_size=40))
    offsets = [sum(gaps[: i + 1]) for i in range(len(gaps))]
    order = draw(st.permutations(offsets))
    finished = order[: draw(st.integers(0, len(order)))]
    repeats = draw(st.lists(st.sampled_from(finished), max_size=5)) if finished else []
    return offsets, finished + repeats


@given(completions())
def test_the_committable_offset_is_one_past_the_longest_done_prefix(case: tuple[list[int], list[int]]) -> None:
    offsets, finished = case
    tracker = assigned()
    for offset in offsets:
        assert tracker.add(record(offset))
    so_far: set[int] = set()
    for offset in finished:
        tracker.done(record(offset))
        so_far.add(offset)
        prefix = 0
        while prefix < len(offsets) and offsets[prefix] in so_far:
            prefix += 1
        assert tracker.committable(PARTITION) == (offsets[prefix - 1] + 1 if prefix else None)
        assert tracker.in_flight == len(offsets) - len(so_far)
        oldest = tracker.oldest(PARTITION)
        assert (oldest.offset if oldest else None) == (offsets[prefix] if prefix < len(offsets) else None)


@given(completions(), completions())
def test_reading_and_completing_may_interleave(
    first: tuple[list[int], list[int]], second: tuple[list[int], list[int]]
) -> None:
    """The prefix after both halves is the one a single tracker fed in one go would have."""
    shift = first[0][-1]
    later = [offset + shift for offset in second[0]], [offset + shift for offset in second[1]]
    interleaved, at_once = assigned(), assigned()
    for offsets, finished in (first, later):
        for offset in offsets:
            interleaved.add(record(offset))
        for offset in finished:
            interleaved.done(record(offset))
    for offset in first[0] + later[0]:
        at_once.add(record(offset))
    for offset in first[1] + later[1]:
        at_once.done(record(offset))
    assert interleaved.committable(PARTITION) == at_once.committable(PARTITION)
    assert interleaved.in_flight == at_once.in_flight


@given(st.lists(st.integers(0, 20), min_size=1))
def test_completions_of_an_earlier_assignment_count_for_nothing(stale: list[int]) -> None:
    tracker = assigned()
    for offset in range(21):
        tracker.add(record(offset))
    assert tracker.forget(PARTITION) == 21
    tracker.assign(PARTITION)
    epoch = tracker.epoch("t", 0)
    assert epoch is not None
    for offset in range(21):
        assert tracker.add(record(offset, epoch))
    for offset in stale:
        tracker.done(record(offset, epoch=1))
    assert tracker.committable(PARTITION) is None
    assert tracker.in_flight == 21


def test_a_record_is_taken_in_hand_once_per_assignment() -> None:
    tracker = assigned()
    assert tracker.add(record(5))
    assert not tracker.add(record(5))
    assert not tracker.add(record(4))
    assert tracker.in_flight == 1


def test_records_of_partitions_that_are_not_held_are_refused() -> None:
    tracker = assigned()
    assert not tracker.add(record(0, partition=1))
    assert not tracker.add(record(0, epoch=9))
    tracker.done(record(0, partition=1))
    assert tracker.in_flight == 0


def test_partitions_do_not_hold_each_other_back() -> None:
    tracker = assigned()
    other = TopicPartition("t", 1)
    tracker.assign(other)
    tracker.add(record(0))
    tracker.add(record(7, epoch=2, partition=1))
    tracker.done(record(7, epoch=2, partition=1))
    assert tracker.committable(PARTITION) is None
    assert tracker.committable(other) == 8


def test_a_completion_beyond_what_was_read_is_ignored() -> None:
    tracker = assigned()
    tracker.add(record(0))
    tracker.done(record(3))
    assert tracker.in_flight == 1
    tracker.done(record(0))
    assert tracker.committable(PARTITION) == 1

"""What Kafka refuses backs off by itself, and only that."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import SHARDS
from stream.relay.group import shards_of
from stream.relay.holds import FIRST_HOLD_S, LONGEST_HOLD_S, Holds, Refusal
from stream.relay.outbox import Row

TOPICS = ("a", "b")
KEYS = ("k", "l", "m")
rows = st.builds(Row, st.integers(1, 99), st.sampled_from(TOPICS), st.sampled_from(KEYS), st.none(), st.just({}))
refusals = st.builds(Refusal, st.sampled_from(TOPICS), st.none() | st.sampled_from(KEYS), st.just("full"))


def row(topic: str, key: str) -> Row:
    return Row(1, topic, key, None, {})


def excluded(holds: Holds, now: float, of: Row) -> bool:
    found = holds.excluded(now)
    return of.topic in found.topics or (of.topic, of.key) in found.keys


@given(st.lists(refusals), rows)
def test_a_row_is_held_exactly_if_its_topic_or_its_key_was_refused(refused: list[Refusal], of: Row) -> None:
    holds = Holds()
    for refusal in refused:
        holds.refuse(refusal, now=0.0)
    named = any(r.topic == of.topic and r.key in (None, of.key) for r in refused)
    assert excluded(holds, 0.0, of) == named
    assert holds.doubtful(of) == named


@given(st.integers(1, 12))
def test_each_refusal_doubles_the_hold_up_to_a_minute(times: int) -> None:
    holds, now, delay = Holds(), 0.0, 0.0
    for n in range(times):
        delay = holds.refuse(Refusal("a", None, "full"), now)
        assert delay == min(LONGEST_HOLD_S, FIRST_HOLD_S * 2**n)
        assert excluded(holds, now + delay - 0.01, row("a", "k"))
        now += delay
    assert not excluded(holds, now, row("a", "k"))
    assert holds.doubtful(row("a", "k")), "tried again, but apart from the healthy ones"


def test_an_accepted_record_ends_the_hold_and_the_doubling() -> None:
    holds = Holds()
    holds.refuse(Refusal("a", None, "full"), 0.0)
    holds.refuse(Refusal("a", None, "full"), 1.0)
    assert [refusal.topic for refusal in holds.accepted([row("a", "k")])] == ["a"]
    assert not holds.doubtful(row("a", "k"))
    assert holds.refuse(Refusal("a", None, "full"), 2.0) == FIRST_HOLD_S


def test_one_large_record_holds_its_own_key_alone() -> None:
    holds = Holds()
    holds.refuse(Refusal("a", "k", "too large"), 0.0)
    assert excluded(holds, 0.0, row("a", "k"))
    assert not excluded(holds, 0.0, row("a", "l"))
    assert not excluded(holds, 0.0, row("b", "k"))


@given(st.integers(1, SHARDS))
def test_every_shard_belongs_to_exactly_one_group(groups: int) -> None:
    owned = [shard for group in range(groups) for shard in shards_of(group, groups)]
    assert sorted(owned) == list(range(SHARDS))


@given(st.lists(refusals), st.lists(rows))
def test_batches_hold_every_row_once_in_order_and_never_mix_holds(refused: list[Refusal], batch: list[Row]) -> None:
    holds = Holds()
    for refusal in refused:
        holds.refuse(refusal, 0.0)
    batches = holds.apart(batch)
    assert sorted(map(id, batch)) == sorted(id(row) for part in batches for row in part)
    for part in batches:
        assert part == [row for row in batch if any(row is taken for taken in part)]
        doubtful = {holds.doubtful(row) for row in part}
        assert doubtful in ({False}, {True}) or not part
        if doubtful == {True}:
            assert len({row.topic for row in part}) == 1

"""When something is told of a video, on a clock of the test's own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.signals.agenda import Agenda

DEBOUNCE_S, LATE_S = 10.0, 60.0
MANY = 1000


def agenda() -> Agenda:
    return Agenda(DEBOUNCE_S, LATE_S)


def test_a_threshold_is_told_at_once_and_a_mere_change_when_it_is_late() -> None:
    due = agenda()
    due.changed(b"crossed", 0.0, urgent=True)
    due.changed(b"changed", 0.0, urgent=False)
    assert due.due(0.0, MANY) == [b"crossed"]
    due.told(b"crossed", 0.0, dirty=False)
    assert due.due(LATE_S - 1, MANY) == []
    assert due.due(LATE_S, MANY) == [b"changed"]


def test_a_video_that_changes_all_the_time_is_told_of_as_well() -> None:
    due = agenda()
    for second in range(int(LATE_S)):
        due.changed(b"v", float(second), urgent=False)
    assert due.due(LATE_S, MANY) == [b"v"]


def test_what_is_due_stays_so_until_it_is_told() -> None:
    due = agenda()
    due.changed(b"v", 0.0, urgent=True)
    assert due.due(0.0, MANY) == due.due(1.0, MANY) == [b"v"]
    due.told(b"v", 1.0, dirty=False)
    assert due.due(1000.0, MANY) == []
    assert len(due) == 0


def test_what_was_dirty_when_its_table_was_recovered_is_due_and_nothing_else() -> None:
    due = agenda()
    due.changed(b"elsewhere now", 0.0, urgent=True)
    due.restart([b"dirty"], 5.0)
    assert due.due(5.0, MANY) == [b"dirty"]


def test_no_more_than_the_limit_is_due() -> None:
    due = agenda()
    due.restart([b"%d" % number for number in range(10)], 0.0)
    assert len(due.due(0.0, 3)) == 3


steps = st.lists(st.tuples(st.floats(0, 30), st.sampled_from([b"a", b"b", b"c"]), st.booleans()), max_size=60)


@given(steps)
def test_no_video_is_told_of_twice_in_the_debounce_interval_and_none_too_late(
    steps: list[tuple[float, bytes, bool]],
) -> None:
    due = agenda()
    now = 0.0
    told: dict[bytes, float] = {}
    waiting: dict[bytes, float] = {}
    for wait, key, urgent in steps:
        now += wait
        due.changed(key, now, urgent=urgent)
        waiting.setdefault(key, now)
        for found in due.due(now, MANY):
            assert now - told.get(found, -DEBOUNCE_S) >= DEBOUNCE_S
            due.told(found, now, dirty=False)
            told[found] = now
            del waiting[found]
        late = [key for key, since in waiting.items() if now - since >= LATE_S + DEBOUNCE_S]
        assert not late
        assert len(due) == len(waiting)

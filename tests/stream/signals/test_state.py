"""What is kept of a video and when something is told of it: rules, over whatever actions come."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from models.signals.tally import Tally
from schemas.events import EngagementAction
from schemas.topics import ENGAGEMENT_SNAPSHOTS
from schemas.wire import decode_event
from stream.signals.state import (
    OFFSETS_PER_GENERATION,
    Video,
    acknowledged,
    decode,
    encode,
    fold,
    message_of,
    seq_of,
    snapshot_of,
)
from tests.stream.signals.strategies import actions
from tests.support.engagement import BEGUN, action_of

LATER_MS = 4_000_000_000_000  # no action of these tests is ahead of the clock
Numbered = list[tuple[int, EngagementAction]]
histories = st.lists(actions(), min_size=1, max_size=30).map(lambda found: list(enumerate(found, start=100)))


def kept_after(history: Numbered, video: Video | None = None) -> Video:
    return fold(video, 1, history, LATER_MS).video


def in_rounds(history: Numbered, cuts: list[int]) -> Video:
    """The same history, read in rounds, and written and read back in between."""
    video: Video | None = None
    for begin, end in zip([0, *cuts], [*cuts, len(history)], strict=True):
        if history[begin:end]:
            video = decode(encode(kept_after(history[begin:end], video)))
    assert video is not None
    return video


@given(histories, st.lists(st.integers(0, 30), max_size=4).map(sorted))
def test_however_actions_are_grouped_the_video_is_the_same(history: Numbered, cuts: list[int]) -> None:
    assert in_rounds(history, [min(cut, len(history)) for cut in cuts]) == kept_after(history)


@given(histories)
def test_the_tally_is_that_of_the_newest_revision_alone(history: Numbered) -> None:
    newest = max(action.revision for _, action in history)
    expected = Tally(newest)
    for _, action in history:
        if action.revision == newest:
            expected.add(action)
    assert kept_after(history).tally == expected


@given(histories, st.integers(0, 30))
def test_actions_read_again_after_a_crash_change_nothing(history: Numbered, back: int) -> None:
    video = kept_after(history)
    again = fold(video, 1, [each for each in history[-back:] if each[0] <= video.offset] or history[:1], LATER_MS)
    assert again.video == video
    assert again.applied == 0


@given(histories, histories)
def test_what_is_kept_is_never_changed_in_place(history: Numbered, more: Numbered) -> None:
    video = kept_after(history)
    before = encode(video)
    kept_after([(offset + 1000, action) for offset, action in more], video)
    assert encode(video) == before


@given(histories, st.integers(0, 30), st.integers(0, 30))
def test_a_video_is_dirty_exactly_while_the_told_snapshot_is_not_of_all_its_actions(
    history: Numbered, told_after: int, acknowledged_after: int
) -> None:
    """Actions may come between a snapshot and its acknowledgement."""
    first, second = sorted((1 + told_after % len(history), 1 + acknowledged_after % len(history)))
    told = kept_after(history[:first])
    now = kept_after(history[first:second], told) if second > first else told
    after = acknowledged(now, told, 3)
    assert after.dirty == (now.offset != told.offset)
    assert after.tally == now.tally
    assert after.told_seq == seq_of(told, 3)
    if after.tally.revision == told.tally.revision:
        assert after.told_plays == told.tally.plays
    assert snapshot_of(after, "v", 3) == snapshot_of(now, "v", 3)


@given(histories)
def test_seq_rises_with_what_is_applied_and_with_the_generation(history: Numbered) -> None:
    first, last = kept_after(history[:1]), kept_after(history)
    assert (seq_of(last, 0) > seq_of(first, 0)) == (last.offset > first.offset)
    assert seq_of(first, 1) > seq_of(last, 0)
    assert OFFSETS_PER_GENERATION > 10**12, "more actions than a partition will ever hold"


@given(histories)
def test_the_same_state_gives_the_same_bytes_and_identity(history: Numbered) -> None:
    """A snapshot told twice, because a crash came before its acknowledgement, is one event."""
    first, second = (message_of(snapshot_of(kept_after(history), "v", 1)) for _ in range(2))
    assert first == second
    snapshot = decode_event(ENGAGEMENT_SNAPSHOTS, first.key, first.value, first.headers)
    assert snapshot == snapshot_of(kept_after(history), "v", 1)


def test_a_threshold_is_crossed_until_a_snapshot_of_it_is_acknowledged() -> None:
    plays = [(number, action_of(number)) for number in range(12)]
    nine, twelve = kept_after(plays[:9]), kept_after(plays)
    assert not nine.crossed
    assert twelve.crossed
    again = fold(twelve, 1, plays, LATER_MS)
    assert again.applied == 0
    assert again.video.crossed, "nothing new was applied, and still it is to be told"
    assert not acknowledged(twelve, twelve, 0).crossed


def test_a_new_revision_begins_at_nothing_and_crosses_its_own_thresholds() -> None:
    video = kept_after([(number, action_of(number)) for number in range(10)])
    video = acknowledged(video, video, 0)
    edited = kept_after([(number, action_of(number, revision=1)) for number in range(10, 20)], video)
    assert edited.tally.plays == 10
    assert edited.crossed


def test_an_action_of_a_replaced_revision_is_ignored() -> None:
    video = kept_after([(0, action_of(0, revision=1))])
    folded = fold(acknowledged(video, video, 0), 1, [(1, action_of(1, revision=0))], LATER_MS)
    assert (folded.applied, folded.outdated) == (0, 1)
    assert not folded.video.dirty


def test_the_window_ends_with_the_newest_action_whatever_the_clock_says() -> None:
    video = kept_after([(0, action_of(50)), (1, action_of(20))])
    assert snapshot_of(video, "v", 0).window_end == BEGUN + timedelta(seconds=50)


def test_an_action_from_the_future_keeps_a_video_no_longer_than_one_of_now() -> None:
    now_ms = int(BEGUN.timestamp() * 1000)
    video = fold(None, 0, [(0, action_of(86_400))], now_ms).video
    assert video.seen_ms == now_ms

"""What a snapshot says, counted by hand: tests of the job count with the tally itself, so its faults escape them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.signals.tally import COMMENT_LENGTH, COMMENTS, VERTICALS, Tally, threshold_crossed
from schemas.events import EngagementAction, EngagementSnapshot
from tests.support.engagement import action_of

NOON = datetime(2026, 4, 1, 12, tzinfo=UTC)


def told(*actions: EngagementAction) -> EngagementSnapshot:
    tally = Tally(0)
    for action in actions:
        tally.add(action)
    return tally.snapshot("v", 7, NOON)


def acts(*kinds: str, **fields: Any) -> list[EngagementAction]:
    return [action_of(number, kind=kind, **fields) for number, kind in enumerate(kinds)]


def test_each_kind_of_action_is_counted_as_what_it_is_and_a_follow_as_nothing() -> None:
    kinds = ("play",) * 6 + ("like",) * 5 + ("comment",) * 4 + ("share",) * 3 + ("report",) * 2 + ("follow",)
    found = told(*acts(*kinds))
    counted = (found.plays, found.likes, found.comments, found.shares, found.reports)
    assert counted == (6, 5, 4, 3, 2)
    assert (found.video_id, found.revision, found.seq, found.window_end) == ("v", 0, 7, NOON)


def test_completion_and_watch_are_means_over_the_plays_that_say_them() -> None:
    found = told(
        *acts("play", watched_s=5.0, duration_s=20.0),
        *acts("play", watched_s=60.0, duration_s=20.0),  # looped: seen whole, once
        *acts("play", watched_s=10.0),
        *acts("play"),
    )
    assert found.plays == 4
    assert found.completion_rate == pytest.approx((0.25 + 1.0) / 2)
    assert found.mean_watch_s == pytest.approx((5 + 60 + 10) / 3)
    silent = told(*acts("play", "like"))
    assert (silent.completion_rate, silent.mean_watch_s, silent.audience) == (None, None, {})


def test_the_audience_is_of_the_plays_whose_viewer_is_known_and_has_a_bound() -> None:
    found = told(
        *acts("play", "play", "play", viewer_vertical="food"),
        *acts("play", viewer_vertical="pets"),
        *acts("play", "play"),
        *acts("like", "share", viewer_vertical="cars"),  # who has played was counted then
    )
    assert found.audience == {"food": 0.75, "pets": 0.25}
    many = told(*(action_of(number, viewer_vertical=f"v{number}") for number in range(VERTICALS + 9)))
    assert len(many.audience) == VERTICALS
    assert many.plays == VERTICALS + 9


def test_saying_the_same_a_thousand_times_is_one_voice_and_comments_have_a_bound() -> None:
    same = told(*acts(*("comment",) * 1000, comment_text=" 好  吃 "))
    assert (same.comments, same.top_comments) == (1000, ("好 吃",))
    many = told(*(action_of(number, kind="comment", comment_text=f"{number}" * 300) for number in range(1, 100)))
    assert len(many.top_comments) == COMMENTS
    assert {len(text) for text in many.top_comments} == {COMMENT_LENGTH}
    assert told(*acts("comment", comment_text=None)).top_comments == ()


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_threshold_is_a_power_of_ten_from_ten_on(one: int, other: int) -> None:
    before, after = sorted((one, other))
    assert threshold_crossed(before, after) == any(before < 10**power <= after for power in range(1, 9))

"""Moments, pictures on screen, and the packets to feed."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.media.frame_plan import Feed, PacketStamp, feeds, shown_at, span, targets
from models.media.types import FramePlan


@given(count=st.integers(1, 64), first=st.integers(-(10**6), 10**6), length=st.integers(1, 10**9))
def test_moments_are_the_centres_of_equal_segments(count: int, first: int, length: int) -> None:
    moments = targets(FramePlan(count, 1), first, first + length).tolist()
    for i, moment in enumerate(moments):
        centre = first + Fraction(length) * (2 * i + 1) / (2 * count)
        assert moment <= centre < moment + 1
    assert first <= moments[0] <= moments[-1] < first + length


@given(
    stamps=st.lists(st.integers(0, 1000), min_size=1, max_size=50).map(sorted),
    moments=st.lists(st.integers(-10, 1010), min_size=1, max_size=20),
)
def test_the_picture_on_screen_is_the_last_one_shown_so_far(stamps: list[int], moments: list[int]) -> None:
    chosen = shown_at(np.array(stamps), np.array(moments))
    for moment, index in zip(moments, chosen.tolist(), strict=True):
        so_far = [i for i, stamp in enumerate(stamps) if stamp <= moment]
        assert index == (so_far[-1] if so_far else 0)


@st.composite
def streams(draw: st.DrawFn) -> list[PacketStamp]:
    """Groups in decode order; within a group stamps are reordered as B-frames are, and may lead the keyframe."""
    packets: list[PacketStamp] = []
    clock = 0
    for _ in range(draw(st.integers(1, 5))):
        size = draw(st.integers(1, 8))
        leading = draw(st.integers(0, size - 1)) if packets else 0
        stamps = list(range(clock, clock + size))
        keyframe = stamps.pop(leading)
        rest = draw(st.permutations(stamps))
        packets.append(PacketStamp(keyframe, 1, keyframe=True))
        packets.extend(PacketStamp(pts, 1, keyframe=False) for pts in rest)
        clock += size
    return packets


@given(packets=streams(), data=st.data())
def test_every_wanted_packet_is_fed_with_all_it_leans_on(packets: list[PacketStamp], data: st.DataObject) -> None:
    wanted = data.draw(st.sets(st.sampled_from([packet.pts for packet in packets]), min_size=1))
    runs = feeds(packets, wanted)
    keyframes = [i for i, packet in enumerate(packets) if packet.keyframe]
    assert all(before.stop <= after.start for before, after in pairwise(runs))
    for index, packet in enumerate(packets):
        if packet.pts not in wanted:
            continue
        run = next(run for run in runs if run.start <= index < run.stop)
        group = max(key for key in keyframes if key <= index)
        if packet.pts < packets[group].pts:
            group = max((key for key in keyframes if key < group), default=group)
        assert run.start <= group
        assert packets[run.start].keyframe


@given(packets=streams(), data=st.data())
def test_no_run_is_fed_beyond_the_last_picture_wanted(packets: list[PacketStamp], data: st.DataObject) -> None:
    wanted = data.draw(st.sets(st.sampled_from([packet.pts for packet in packets]), min_size=1))
    assert all(packets[run.stop - 1].pts in wanted for run in feeds(packets, wanted))


def test_groups_that_hold_no_wanted_picture_are_not_fed() -> None:
    packets = [PacketStamp(pts, 1, keyframe=pts % 10 == 0) for pts in range(50)]
    assert feeds(packets, {3, 5, 41}) == (Feed(0, 6), Feed(40, 42))


def test_a_leading_picture_of_an_open_group_brings_the_group_before() -> None:
    packets = [
        PacketStamp(0, 1, True),
        PacketStamp(1, 1, False),
        PacketStamp(4, 1, True),
        PacketStamp(2, 1, False),
        PacketStamp(3, 1, False),
        PacketStamp(5, 1, False),
    ]
    assert feeds(packets, {3}) == (Feed(0, 5),)
    assert feeds(packets, {5}) == (Feed(2, 6),)


def test_the_span_leaves_out_what_an_edit_list_cuts_away() -> None:
    packets = [PacketStamp(0, 10, True, shown=False), PacketStamp(10, 10, False), PacketStamp(20, 10, False)]
    assert span(packets) == (10, 30)


def test_a_last_picture_without_a_duration_lasts_the_median_gap() -> None:
    assert span([PacketStamp(pts, 0, True) for pts in (0, 10, 20, 60)]) == (0, 70)
    assert span([PacketStamp(5, 0, True)]) == (5, 6)


def test_nothing_shown_is_refused() -> None:
    with pytest.raises(ValueError, match="no packet"):
        span([PacketStamp(0, 1, True, shown=False)])

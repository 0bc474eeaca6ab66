"""Which moments of a video are looked at, and which packets must be decoded for them. Pure; times are integer ticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.media.types import FramePlan

Ticks = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PacketStamp:
    """What the demuxer says of one packet of video, in the stream's ticks.

    shown: False where an edit list cuts the picture away (it may still be needed by others).
    """

    pts: int
    duration: int
    keyframe: bool
    shown: bool = True


@dataclass(frozen=True, slots=True)
class Feed:
    """Packets [start, stop) in decode order, fed to a decoder that was just flushed."""

    start: int
    stop: int


def span(packets: Sequence[PacketStamp]) -> tuple[int, int]:
    """(first, end) of what is shown, in ticks. A last picture without a duration lasts the median gap of the others.

    Raises ValueError where nothing is shown.
    """
    shown = sorted((packet.pts, packet.duration) for packet in packets if packet.shown)
    if not shown:
        raise ValueError("no packet is shown")
    first, (last, duration) = shown[0][0], shown[-1]
    if duration <= 0 and len(shown) > 1:
        duration = int(np.median(np.diff([pts for pts, _ in shown])))
    return first, last + max(duration, 1)


def targets(plan: FramePlan, first: int, end: int) -> Ticks:
    """int64 [count]: the centres of `count` equal segments of [first, end), rounded down to a tick.

    In integers, because a centre often falls exactly on a picture's stamp and every reader must choose the same one.
    """
    centres = [first + (end - first) * (2 * i + 1) // (2 * plan.count) for i in range(plan.count)]
    return np.array(centres, np.int64)


def shown_at(stamps: Ticks, moments: Ticks) -> NDArray[np.intp]:
    """For each moment the index of the picture on screen: the last with stamp <= moment, else the first.

    stamps: int64 [n], non-decreasing, n >= 1. moments: int64 [k]. Returns [k].
    """
    indices: NDArray[np.intp] = np.searchsorted(stamps, moments, side="right") - 1
    return np.maximum(indices, 0)


def feeds(packets: Sequence[PacketStamp], wanted: set[int]) -> tuple[Feed, ...]:
    """The shortest runs of packets, in decode order, from which every picture with a stamp in `wanted` decodes.

    A run starts at the keyframe of a group and ends with the last packet wanted there. A picture that follows a
    keyframe in decode order but is shown before it (leading, in an open group) also leans on the group before.
    """
    runs: list[Feed] = []
    keyframe, previous = 0, 0
    for index, packet in enumerate(packets):
        if packet.keyframe:
            keyframe, previous = index, keyframe
        if packet.pts not in wanted:
            continue
        start = previous if packet.pts < packets[keyframe].pts else keyframe
        while runs and start < runs[-1].stop:
            start = min(start, runs.pop().start)
        runs.append(Feed(start, index + 1))
    return tuple(runs)

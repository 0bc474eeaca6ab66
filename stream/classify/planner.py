"""Which batch the device runs next. Pure: no thread, no device, no clock but the times it is told.

A video is a row of frames, then one row of a fusion batch. Frames of many videos are laid end to end into vision
batches, cut where a batch is full; a video whose frames are all embedded joins the fusion bucket of its text length.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

Ticket = int


@dataclass(frozen=True, slots=True)
class Shapes:
    """How large batches may be, and how long a half-full one waits for company.

    vision_batch: frames. fusion_batch: videos. length_buckets: text lengths in tokens; a video joins the smallest that
    holds its text. max_wait_s bounds the wait in each of the two queues, not the time behind other batches.
    """

    vision_batch: int
    fusion_batch: int
    length_buckets: tuple[int, ...]
    max_wait_s: float

    def __post_init__(self) -> None:
        if min(self.vision_batch, self.fusion_batch, *self.length_buckets) < 1 or self.max_wait_s < 0:
            raise ValueError(f"impossible shapes: {self}")

    def bucket(self, length: int) -> int:
        """The smallest bucket that holds a text of this many tokens. Raises ValueError where none does."""
        fitting = [bucket for bucket in self.length_buckets if bucket >= length]
        if not fitting:
            raise ValueError(f"a text of {length} tokens fits no bucket of {self.length_buckets}")
        return min(fitting)


@dataclass(frozen=True, slots=True)
class Slice:
    """Frames [start, stop) of one video."""

    ticket: Ticket
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class RunVision:
    slices: tuple[Slice, ...]


@dataclass(frozen=True, slots=True)
class RunFusion:
    bucket: int
    tickets: tuple[Ticket, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is due before `until`; None: nothing is queued at all."""

    until: float | None


Action = RunVision | RunFusion | Wait


@dataclass(slots=True)
class _Pending:
    ticket: Ticket
    frames: int
    bucket: int
    arrived: float
    sent: int = 0
    embedded: int = 0


@dataclass(slots=True)
class Planner:
    """The two queues. Times never run backwards."""

    shapes: Shapes
    _videos: dict[Ticket, _Pending] = field(default_factory=dict)
    _vision: deque[_Pending] = field(default_factory=deque)  # videos with frames not yet sent
    _fusion: dict[int, deque[tuple[Ticket, float]]] = field(default_factory=dict)  # bucket -> (ticket, since)
    _queued_frames: int = 0

    def __len__(self) -> int:
        """Videos that have been added and are neither fused nor dropped."""
        return len(self._videos)

    def add(self, ticket: Ticket, *, frames: int, length: int, now: float) -> None:
        """A video arrives. Raises ValueError where it has no frames or its text fits no bucket."""
        if frames < 1:
            raise ValueError("a video needs at least one frame")
        video = _Pending(ticket, frames, self.shapes.bucket(length), now)
        self._videos[ticket] = video
        self._vision.append(video)
        self._queued_frames += frames

    def next(self, now: float, *, flush: bool = False) -> Action:
        """What to run now. What is returned counts as sent; report it by embedded(), fused() or drop().

        Fusion goes first: it finishes videos, and its rows were paid for by vision. A bucket is due when it is full,
        when its oldest row has waited max_wait_s, when nothing is queued before it that could join, or on `flush`.
        """
        if due := self._due_fusion(now, flush):
            return due
        if self._queued_frames >= self.shapes.vision_batch or (
            self._vision and (flush or self._vision[0].arrived + self.shapes.max_wait_s <= now)
        ):
            return self._take_vision()
        since = [queue[0][1] for queue in self._fusion.values()]
        if self._vision:
            since.append(self._vision[0].arrived)
        return Wait(min(since) + self.shapes.max_wait_s if since else None)

    def embedded(self, slices: Sequence[Slice], now: float) -> None:
        """These frames came back from vision; a video that is complete joins its fusion bucket."""
        for part in slices:
            video = self._videos.get(part.ticket)
            if video is None:  # dropped meanwhile
                continue
            video.embedded += part.stop - part.start
            if video.embedded == video.frames:
                self._fusion.setdefault(video.bucket, deque()).append((video.ticket, now))

    def fused(self, tickets: Sequence[Ticket]) -> None:
        """These videos are finished."""
        for ticket in tickets:
            del self._videos[ticket]

    def drop(self, ticket: Ticket) -> None:
        """Forget a video that failed, whatever of it is still queued."""
        video = self._videos.pop(ticket)
        if video.sent < video.frames:
            self._vision.remove(video)
            self._queued_frames -= video.frames - video.sent

    def _due_fusion(self, now: float, flush: bool) -> RunFusion | None:
        full = [bucket for bucket, queue in self._fusion.items() if len(queue) >= self.shapes.fusion_batch]
        nobody_follows = flush or not self._vision
        due = full or [
            bucket
            for bucket, queue in self._fusion.items()
            if nobody_follows or queue[0][1] + self.shapes.max_wait_s <= now
        ]
        if not due:
            return None
        bucket = min(due, key=lambda bucket: self._fusion[bucket][0][1])
        queue = self._fusion[bucket]
        tickets = tuple(queue.popleft()[0] for _ in range(min(len(queue), self.shapes.fusion_batch)))
        if not queue:
            del self._fusion[bucket]
        return RunFusion(bucket, tickets)

    def _take_vision(self) -> RunVision:
        slices, room = [], self.shapes.vision_batch
        while room and self._vision:
            video = self._vision[0]
            count = min(room, video.frames - video.sent)
            slices.append(Slice(video.ticket, video.sent, video.sent + count))
            video.sent += count
            room -= count
            if video.sent == video.frames:
                self._vision.popleft()
        self._queued_frames -= self.shapes.vision_batch - room
        return RunVision(tuple(slices))

"""What is kept of one video, and when something is told of it. Pure: no clock, no Faust, no I/O.

An action is applied at most once, because its offset is kept beside what it was added to. What is applied makes the
video dirty; only the acknowledgement of a snapshot makes it clean again. So whatever a crash comes between, the table
knows what is still to be told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson

from models.signals.tally import Tally, threshold_crossed
from schemas.events import EngagementAction, EngagementSnapshot
from schemas.wire import EncodedEvent, encode_event

OFFSETS_PER_GENERATION = 2**40
SOURCE = "/reelsort/signals"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Video:
    """What the table holds of a video: the tally of its newest revision, and how much of it has been told."""

    tally: Tally
    partition: int  # of the actions, and of the changelog
    offset: int  # of the newest action applied
    seen_ms: int  # event time of the newest action, but never later than it was read; since the epoch
    dirty: bool = True  # changed since the last acknowledged snapshot
    told_plays: int = 0  # in that snapshot, of this revision
    told_seq: int = -1

    @property
    def crossed(self) -> bool:
        """Whether plays have passed a threshold that no acknowledged snapshot has told of."""
        return self.dirty and threshold_crossed(self.told_plays, self.tally.plays)


@dataclass(frozen=True, slots=True)
class Folded:
    """A video after some actions, and what became of each of these."""

    video: Video
    applied: int  # 0: the video is as it was
    repeated: int  # not newer than what was applied before
    outdated: int  # of a revision that has been replaced


def fold(video: Video | None, partition: int, actions: Sequence[tuple[int, EngagementAction]], now_ms: int) -> Folded:
    """Add (offset, action) pairs of one video, in the order of their offsets. At least one where `video` is None."""
    tally = _copy(video.tally) if video is not None else Tally(actions[0][1].revision)
    offset = video.offset if video is not None else -1
    seen_ms = video.seen_ms if video is not None else 0
    told_plays = video.told_plays if video is not None else 0
    applied = repeated = outdated = 0
    for number, action in actions:
        if number <= offset:
            repeated += 1
        elif action.revision < tally.revision:
            outdated += 1
        else:
            if action.revision > tally.revision:
                tally, told_plays = Tally(action.revision), 0
            tally.add(action)
            offset = number
            seen_ms = max(seen_ms, min(now_ms, (action.occurred_at - _EPOCH) // timedelta(milliseconds=1)))
            applied += 1
    if video is not None and not applied:
        return Folded(video, 0, repeated, outdated)
    told_seq = video.told_seq if video is not None else -1
    return Folded(Video(tally, partition, offset, seen_ms, True, told_plays, told_seq), applied, repeated, outdated)


def seq_of(video: Video, generation: int) -> int:
    """Rises with every action applied, and over rebuilds with a higher generation, where offsets begin again."""
    return generation * OFFSETS_PER_GENERATION + video.offset


def snapshot_of(video: Video, video_id: str, generation: int) -> EngagementSnapshot:
    """What is told of it. All of it comes from the data: the same actions give the same bytes."""
    return video.tally.snapshot(
        video_id, seq_of(video, generation), _EPOCH + timedelta(milliseconds=video.tally.latest_ms)
    )


def message_of(snapshot: EngagementSnapshot) -> EncodedEvent:
    """The snapshot's record. Told again after a crash, it has the same identity."""
    name = f"{SOURCE}/{snapshot.video_id}/{snapshot.revision}/{snapshot.seq}"
    return encode_event(snapshot, ce_id=uuid5(NAMESPACE_URL, name), source=SOURCE, time=snapshot.window_end)


def acknowledged(video: Video, told: Video, generation: int) -> Video:
    """`video` as it is now, once Kafka has the snapshot of what it was when `told`."""
    same_revision = video.tally.revision == told.tally.revision
    return replace(
        video,
        dirty=video.offset != told.offset,
        told_plays=told.tally.plays if same_revision else video.told_plays,
        told_seq=seq_of(told, generation),
    )


def encode(video: Video) -> bytes:
    """As table and changelog hold it."""
    return orjson.dumps(
        {
            "tally": video.tally.as_json(),
            "partition": video.partition,
            "offset": video.offset,
            "seen_ms": video.seen_ms,
            "dirty": video.dirty,
            "told_plays": video.told_plays,
            "told_seq": video.told_seq,
        }
    )


def decode(stored: bytes) -> Video:
    """What encode() gave."""
    fields: dict[str, Any] = orjson.loads(stored)
    return Video(tally=Tally.from_json(fields.pop("tally")), **fields)


def _copy(tally: Tally) -> Tally:
    return replace(tally, audience=dict(tally.audience), sample=list(tally.sample))

"""Actions to count, and what must be told of them, by Tally alone: none of the job under test."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from confluent_kafka import Message

from models.signals.tally import Tally
from schemas.events import EngagementAction, EngagementSnapshot
from schemas.topics import ENGAGEMENT_SNAPSHOTS
from schemas.wire import decode_event

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = ("play", "like", "comment", "share", "follow", "report")


def action_of(
    number: int, video_id: str = "v", revision: int = 0, kind: str = "play", **fields: object
) -> EngagementAction:
    """The `number`th action, a second after the one before it."""
    return EngagementAction.model_validate(
        {
            "action_id": f"{video_id}-{number}",
            "video_id": video_id,
            "revision": revision,
            "author_id": "a",
            "kind": kind,
            "occurred_at": BEGUN + timedelta(seconds=number),
        }
        | fields
    )


def some_actions(seed: int, count: int, videos: int = 40, first: int = 0) -> list[EngagementAction]:
    """Of all kinds and two revisions."""
    rng = random.Random(seed)
    return [
        action_of(
            first + number,
            f"v{rng.randrange(videos)}",
            revision=rng.choice((0, 0, 0, 1)),
            kind=rng.choice(("play", *KINDS)),
            watched_s=rng.choice((None, 3.5, 10)),
            duration_s=20,
            comment_text=rng.choice((None, f"第{rng.randrange(50)}条评论")),
            viewer_vertical=rng.choice((None, "food", "pets")),
        )
        for number in range(count)
    ]


def snapshots_of(messages: Iterable[Message]) -> list[EngagementSnapshot]:
    found = []
    for message in messages:
        event = decode_event(ENGAGEMENT_SNAPSHOTS, message.key(), message.value(), message.headers() or ())
        assert isinstance(event, EngagementSnapshot)
        found.append(event)
    return found


def newest(snapshots: Iterable[EngagementSnapshot]) -> dict[str, EngagementSnapshot]:
    """video_id -> what a reader keeps of it: the highest seq, which is then taken out of the comparison."""
    kept: dict[str, EngagementSnapshot] = {}
    for snapshot in snapshots:
        if snapshot.video_id not in kept or kept[snapshot.video_id].seq < snapshot.seq:
            kept[snapshot.video_id] = snapshot
    return {video: snapshot.model_copy(update={"seq": 0}) for video, snapshot in kept.items()}


def tallied(actions: Sequence[EngagementAction]) -> dict[str, EngagementSnapshot]:
    """The same, of all actions of each video's newest revision."""
    revisions: dict[str, int] = {}
    for action in actions:
        revisions[action.video_id] = max(revisions.get(action.video_id, 0), action.revision)
    tallies = {video: Tally(revision) for video, revision in revisions.items()}
    ends: dict[str, datetime] = {}
    for action in actions:
        if action.revision == revisions[action.video_id]:
            tallies[action.video_id].add(action)
            ends[action.video_id] = max(ends.get(action.video_id, action.occurred_at), action.occurred_at)
    return {video: tally.snapshot(video, 0, ends[video]) for video, tally in tallies.items()}

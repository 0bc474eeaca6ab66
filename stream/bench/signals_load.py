"""Topics and actions of one run of `reelsort bench signals`."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from schemas.events import EngagementAction
from schemas.topics import ENGAGEMENT_ACTIONS, TOPICS, TopicNames
from schemas.wire import EncodedEvent, encode_event
from stream.bench.scratch import send_all
from stream.kafka import create_topics, producer_config
from stream.settings import Settings

PARTITIONS = 6
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


def own_topics(settings: Settings) -> Settings:
    """The same, with topics and groups of one run; the topics exist."""
    label = f"bench_{uuid.uuid4().hex[:8]}"
    kafka = settings.kafka.model_copy(
        update={"group_prefix": label, "topics": {name: f"{label}.{name}" for name in TOPICS}, "partitions": PARTITIONS}
    )
    settings = settings.model_copy(update={"kafka": kafka})
    create_topics(settings)
    return settings


def publish(settings: Settings, plays: Iterable[tuple[str, datetime]]) -> None:
    """A play for each (video_id, when). Returns once Kafka has them."""
    topic = TopicNames(settings.kafka.topics).actual(ENGAGEMENT_ACTIONS)
    # uncompressed: unpacking is not what is measured
    send_all(producer_config(settings, "bench") | {"compression.type": "none"}, topic, _events(plays))


def _events(plays: Iterable[tuple[str, datetime]]) -> Iterator[EncodedEvent]:
    for number, (video_id, when) in enumerate(plays):
        action = EngagementAction(
            action_id=f"{number}",
            video_id=video_id,
            author_id=f"author-{number % 5003}",
            kind="comment" if number % 10 == 0 else "play",
            watched_s=3.0 + number % 17,
            duration_s=20.0,
            comment_text=f"第{number % 1000}条评论" if number % 10 == 0 else None,
            viewer_vertical=("food", "pets", "cars", "games")[number % 4],
            occurred_at=when,
        )
        yield encode_event(action, ce_id=f"{number}", source="/bench", time=when)

"""What must be there before the job joins its group: the topics, a changelog that fits, offsets that still exist."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from schemas.errors import UserError
from schemas.topics import ENGAGEMENT_ACTIONS, ENGAGEMENT_SNAPSHOTS, TopicNames
from stream.kafka import (
    ADMIN_TIMEOUT_S,
    admin_config,
    committed_offsets,
    connect,
    require_topics,
    unreachable,
)
from stream.settings import Settings
from stream.signals.client import app_id
from stream.signals.table import NAME as TABLE

_log = logging.getLogger(__name__)

ASK_AGAIN_S = 0.1
# While a broker makes its offsets topic, for the first group of all, it may leave a question unanswered: ask again.
ANSWER_S = 10.0
PATIENCE_S = 60.0
# a leader or a coordinator that has just been chosen
_NOT_YET = frozenset(
    {
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._TIMED_OUT,
    }
)

CHANGELOG_CONFIG = {
    "cleanup.policy": "compact",
    # for so long a record written late by a worker that was paused stands beside its successor's, which wins
    "min.compaction.lag.ms": str(5 * 60 * 1000),
    "segment.bytes": str(128 * 1024 * 1024),  # only closed segments are compacted, and recovery reads what is not
}


def changelog_name(settings: Settings) -> str:
    """As Faust derives it from the app's id and the table's name."""
    return f"{app_id(settings)}-{TABLE}-changelog"


def prepare(settings: Settings) -> int:
    """The number of partitions of actions and changelog, which is created where it is missing.

    Raises UserError where a topic is missing or does not fit, offsets have expired, or Kafka cannot be reached.
    """
    names = TopicNames(settings.kafka.topics)
    actions = names.actual(ENGAGEMENT_ACTIONS)
    require_topics(settings, [actions, names.actual(ENGAGEMENT_SNAPSHOTS)])
    admin = connect(AdminClient, admin_config(settings))
    try:
        known = admin.list_topics(timeout=ADMIN_TIMEOUT_S).topics
        count = len(known[actions].partitions)
        changelog = changelog_name(settings)
        if changelog not in known:
            _create(admin, NewTopic(changelog, count, settings.kafka.replication, config=CHANGELOG_CONFIG))
        elif (held := len(known[changelog].partitions)) != count:
            raise UserError(
                f"{actions} has {count} partitions, and the changelog {changelog} {held}: tallies would be torn apart",
                "raise signals.generation: videos are then counted anew, from the actions still on the topic",
            )
        _patiently(lambda: _check_offsets(settings, admin, actions, count))
    except KafkaException as error:
        raise unreachable(settings, error.args[0]) from error
    return count


def _create(admin: AdminClient, topic: NewTopic) -> None:
    outcome = admin.create_topics([topic], operation_timeout=ADMIN_TIMEOUT_S)[topic.topic]
    try:
        outcome.result()
    except KafkaException as failure:
        error: KafkaError = failure.args[0]
        if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:  # a worker that started beside us
            raise UserError(
                f"the changelog {topic.topic} could not be created: {error.str()}",
                f"grant this user Create, or create it: {topic.num_partitions} partitions, cleanup.policy=compact",
            ) from failure
    else:
        _log.info("created the changelog %s, %d partitions", topic.topic, topic.num_partitions)


def _check_offsets(settings: Settings, admin: AdminClient, topic: str, partitions: int) -> None:
    """Actions deleted before they were read cannot be counted any more: an operator decides that this is well."""
    places = [KafkaPartition(topic, number) for number in range(partitions)]
    held = committed_offsets(settings, app_id(settings), places, ANSWER_S)
    committed = {place.partition: place.offset for place in held}
    asked = admin.list_offsets(dict.fromkeys(places, OffsetSpec.earliest()), request_timeout=ANSWER_S)
    first = {place.partition: found.result().offset for place, found in asked.items()}
    for partition, offset in sorted(committed.items()):
        if 0 <= offset < first[partition] and settings.kafka.expired_offsets is None:
            raise UserError(
                f"the actions from offset {offset} to {first[partition]} of {topic}[{partition}] have expired unread",
                "nothing can count them any more: restart with --from-beginning to go on with those that are left",
            )


def _patiently(ask: Callable[[], None]) -> None:
    """Ask again while a broker says that it is not ready yet."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask()
        except KafkaException as failure:
            if failure.args[0].code() not in _NOT_YET or time.monotonic() > deadline:
                raise
            time.sleep(ASK_AGAIN_S)

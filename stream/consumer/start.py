"""Where a group that never ran begins. Written down before anybody joins, so that no crash can move it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from stream.kafka import ADMIN_TIMEOUT_S, admin_config, committed_offsets, connect, unreachable
from stream.settings import Settings

_log = logging.getLogger(__name__)


def begin_now(settings: Settings, group: str, topics: Sequence[str]) -> None:
    """Commit the present end of every partition for a group that has no offsets at all; leave any other group alone.

    Were "now" chosen at each assignment, a crash before the first commit would choose a later one, and skip records.
    Raises UserError where Kafka cannot be reached.
    """
    admin = connect(AdminClient, admin_config(settings))
    try:
        known = admin.list_topics(timeout=ADMIN_TIMEOUT_S).topics
        partitions = [KafkaPartition(topic, number) for topic in topics for number in known[topic].partitions]
        if _has_offsets(settings, group, partitions):
            return
        ends = admin.list_offsets({p: OffsetSpec.latest() for p in partitions}, request_timeout=ADMIN_TIMEOUT_S)
        chosen = [KafkaPartition(p.topic, p.partition, end.result().offset) for p, end in ends.items()]
        request = [ConsumerGroupTopicPartitions(group, chosen)]
        try:
            admin.alter_consumer_group_offsets(request, request_timeout=ADMIN_TIMEOUT_S)[group].result()
        except KafkaException:
            # refused while a group has members: one that started beside us has chosen already
            if not _has_offsets(settings, group, partitions):
                raise
            return
    except KafkaException as error:
        raise unreachable(settings, error.args[0]) from error
    _log.info("group %s is new: it begins at the present end of %s", group, ", ".join(topics))


def _has_offsets(settings: Settings, group: str, partitions: list[KafkaPartition]) -> bool:
    return any(place.offset >= 0 for place in committed_offsets(settings, group, partitions, ADMIN_TIMEOUT_S))

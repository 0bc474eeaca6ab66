"""Which Kafka errors end a job, and with what sentence. Everything else passes by itself and is logged."""

from __future__ import annotations

import logging

from confluent_kafka import KafkaError, KafkaException, Message

from schemas.errors import ExitCode, UserError
from stream.telemetry import metrics

_log = logging.getLogger(__name__)

_REFUSED = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
    }
)
_UNSUPPORTED = frozenset({KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE})


def weigh(error: KafkaError, message: Message, group: str) -> None:
    """Raise what ends the job: UserError where a person must act, KafkaException where the client is beyond repair."""
    code = error.code()
    if code == KafkaError._AUTO_OFFSET_RESET:
        raise UserError(
            f"the offset {message.offset()} of {message.topic()}[{message.partition()}], where group {group} would go "
            f"on, is not on the broker any more ({error.str()}): records may have expired unread",
            "decide what to do with them: restart with --from-beginning (read all that is left) or --from-now "
            "(skip to the end)",
        )
    if code in _REFUSED:
        raise UserError(
            f"Kafka refuses group {group}: {error.str()}",
            "grant it Read on the group and its topics, or check the credentials",
            ExitCode.UNREACHABLE,
        )
    if code in _UNSUPPORTED:
        raise UserError(
            f"the broker does not support what group {group} asks for: {error.str()}",
            "a broker older than Kafka 4.0 needs REELSORT_KAFKA__GROUP_PROTOCOL=classic",
        )
    if error.fatal():
        raise KafkaException(error)
    if code == KafkaError._MAX_POLL_EXCEEDED:
        metrics.REBALANCES.labels("evicted").inc()
    _log.warning("kafka: %s", error.str())

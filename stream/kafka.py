"""How every Kafka client here is configured, and the topics we create. Configurations are plain data, built purely."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from schemas.errors import ExitCode, UserError
from schemas.topics import TOPICS, TopicNames
from stream.settings import KafkaSettings, Settings

Config = dict[str, Any]
Client = TypeVar("Client")

CONNECT_TIMEOUT_S = 30.0
ADMIN_TIMEOUT_S = 30.0

# librdkafka hashes keys with CRC32 by default, Java and aiokafka with murmur2: one key must mean one partition
PARTITIONER = "murmur2_random"

# exactness rests on these; raw options may not change them
_OURS = frozenset(
    {
        "group.id",
        "group.protocol",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "auto.offset.reset",
        "isolation.level",
        "transactional.id",
        "enable.idempotence",
        "partitioner",
    }
)

librdkafka_log = logging.getLogger("librdkafka")


def group_id(settings: Settings, job: str) -> str:
    return f"{settings.kafka.group_prefix}-{job}"


def consumer_config(settings: Settings, group: str) -> Config:
    """A consumer that commits only what it is told to, and that never skips records by itself."""
    kafka = settings.kafka
    config: Config = {
        "group.id": group,
        "group.protocol": kafka.group_protocol,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "max.poll.interval.ms": kafka.max_poll_interval_ms,
        # a pause throws prefetched records away: keep little more in hand than a busy second needs
        "queued.min.messages": 20_000,
        "queued.max.messages.kbytes": 32 * 1024,
    }
    if kafka.group_protocol == "classic":
        # with the consumer protocol these are the broker's, and librdkafka refuses them
        session_ms = min(kafka.session_timeout_ms, kafka.max_poll_interval_ms)
        config["session.timeout.ms"] = session_ms
        config["heartbeat.interval.ms"] = min(3000, session_ms // 3)  # two may be lost
        config["partition.assignment.strategy"] = "range"
    else:
        # topic by topic: the broker's own default may give one member all the busy partitions and another the idle ones
        config["group.remote.assignor"] = "range"
    return _common(kafka, f"{group}") | config | _options(kafka)


def producer_config(settings: Settings, client: str) -> Config:
    """An idempotent producer that hashes keys as Java does."""
    config: Config = {"enable.idempotence": True, "partitioner": PARTITIONER, "linger.ms": 5, "compression.type": "lz4"}
    return _common(settings.kafka, client) | config | _options(settings.kafka)


def transactional_config(settings: Settings, transactional_id: str, timeout_s: float) -> Config:
    """A producer whose records are seen together or not at all, and which fences its predecessor of the same id."""
    timeout_ms = int(timeout_s * 1000)
    config: Config = {
        "enable.idempotence": True,
        "partitioner": PARTITIONER,
        "linger.ms": 2,
        "compression.type": "lz4",
        "transactional.id": transactional_id,
        "transaction.timeout.ms": timeout_ms,
        "message.timeout.ms": timeout_ms,
        # how long a topic may be unknown before its records fail: a missing topic must not hold the others for long
        "topic.metadata.propagation.max.ms": 5000,
    }
    return _common(settings.kafka, transactional_id) | config | _options(settings.kafka)


def admin_config(settings: Settings) -> Config:
    return _common(settings.kafka, f"{settings.kafka.group_prefix}-admin") | _options(settings.kafka)


def _common(kafka: KafkaSettings, client: str) -> Config:
    common: Config = {
        "bootstrap.servers": kafka.bootstrap,
        "client.id": client,
        # a broker that restarts is found again within a second
        "reconnect.backoff.max.ms": 1000,
        "logger": librdkafka_log,
    }
    if kafka.password is not None:
        common["sasl.password"] = kafka.password.get_secret_value()
    return common


def _options(kafka: KafkaSettings) -> Config:
    if refused := sorted(_OURS & kafka.options.keys()):
        raise UserError(
            f"kafka.options may not set {', '.join(refused)}: exactness depends on it",
            "remove it; the group protocol has its own setting, kafka.group_protocol",
        )
    if "sasl.password" in kafka.options:
        raise UserError(
            "the Kafka password does not belong into kafka.options, where it could be printed",
            "set REELSORT_KAFKA__PASSWORD or REELSORT_KAFKA__PASSWORD_FILE",
        )
    return dict(kafka.options)


def connect(client: Callable[[Config], Client], config: Config) -> Client:
    """Construct a client. Raises UserError where librdkafka refuses the configuration."""
    try:
        return client(config)
    except KafkaException as error:
        raise UserError(
            f"Kafka refuses the client configuration: {error.args[0].str()}",
            "check the options given with -X or REELSORT_KAFKA__OPTIONS, and `reelsort config show`",
        ) from error


def unreachable(settings: Settings, error: KafkaError) -> UserError:
    return UserError(
        f"Kafka at {settings.kafka.bootstrap} did not answer: {error.str()}",
        "check that the broker runs and that REELSORT_KAFKA__BOOTSTRAP names it",
        ExitCode.UNREACHABLE,
    )


def committed_offsets(
    settings: Settings, group: str, places: Sequence[TopicPartition], timeout_s: float
) -> list[TopicPartition]:
    """The places with the group's committed offsets, below 0 where there is none. Raises KafkaException.

    A consumer asks, and joins nothing: librdkafka's admin client crashes the process where the group's coordinator is
    still being chosen, as on a new cluster (librdkafka#5040).
    """
    config = _common(settings.kafka, f"{group}-offsets") | {"group.id": group} | _options(settings.kafka)
    with closing(connect(Consumer, config)) as client:
        return client.committed([*places], timeout_s)


def existing_topics(settings: Settings, admin: AdminClient) -> frozenset[str]:
    """Names of the topics the cluster has. Raises UserError where it cannot be reached."""
    try:
        return frozenset(admin.list_topics(timeout=CONNECT_TIMEOUT_S).topics)
    except KafkaException as error:
        raise unreachable(settings, error.args[0]) from error


def require_topics(settings: Settings, names: Iterable[str]) -> None:
    """Raises UserError naming the topics that do not exist."""
    missing = sorted(set(names) - existing_topics(settings, connect(AdminClient, admin_config(settings))))
    if missing:
        raise UserError(
            f"the cluster at {settings.kafka.bootstrap} has no topic {', '.join(missing)}",
            "create the topics with `reelsort topics create`, or map their names with REELSORT_KAFKA__TOPICS",
        )


def topic_names(settings: Settings) -> TopicNames:
    return TopicNames(settings.kafka.topics)


def create_topics(settings: Settings) -> tuple[str, ...]:
    """Create the topics that do not exist yet and return their names; existing ones are left as they are.

    Raises UserError where Kafka cannot be reached, or refuses one.
    """
    names = topic_names(settings)
    admin = connect(AdminClient, admin_config(settings))
    present = existing_topics(settings, admin)
    wanted = [
        NewTopic(names.actual(spec.name), settings.kafka.partitions, settings.kafka.replication, config=spec.config())
        for spec in TOPICS.values()
        if names.actual(spec.name) not in present
    ]
    if not wanted:
        return ()
    created = []
    for name, outcome in admin.create_topics(wanted, operation_timeout=ADMIN_TIMEOUT_S).items():
        try:
            outcome.result()
        except KafkaException as failure:
            error: KafkaError = failure.args[0]
            if error.code() != KafkaError.TOPIC_ALREADY_EXISTS:  # somebody else was quicker
                raise UserError(f"the topic {name} could not be created: {error.str()}", _remedy(error)) from failure
        else:
            created.append(name)
    return tuple(sorted(created))


def _remedy(error: KafkaError) -> str:
    if error.code() == KafkaError.INVALID_REPLICATION_FACTOR:
        return "set REELSORT_KAFKA__REPLICATION to the number of brokers or fewer"
    if error.code() in (KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED):
        return "grant this user Create on the cluster, or have an administrator create the topics"
    return "see the broker's log"

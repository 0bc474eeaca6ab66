"""Client configurations: what exactness needs is always there, and cannot be talked away."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, ConfigResource
from pydantic import SecretStr

from schemas.errors import ExitCode, UserError
from schemas.topics import TOPICS, VIDEO_LABELS
from stream.kafka import (
    admin_config,
    connect,
    consumer_config,
    create_topics,
    group_id,
    producer_config,
    require_topics,
    transactional_config,
)
from stream.settings import KafkaSettings, Settings


def settings(**kafka: object) -> Settings:
    return Settings(kafka=KafkaSettings.model_validate({"bootstrap": "127.0.0.1:1"} | kafka))


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_a_consumer_commits_only_what_it_is_told_and_never_skips(protocol: str) -> None:
    config = consumer_config(settings(group_protocol=protocol), "g")
    assert config["enable.auto.commit"] is False
    assert config["enable.auto.offset.store"] is False
    assert config["auto.offset.reset"] == "error"
    assert config["isolation.level"] == "read_committed"
    connect(Consumer, config).close()  # librdkafka takes it


def test_the_consumer_protocol_leaves_out_what_the_broker_decides() -> None:
    config = consumer_config(settings(group_protocol="consumer"), "g")
    assert not {"session.timeout.ms", "heartbeat.interval.ms", "partition.assignment.strategy"} & config.keys()


@pytest.mark.parametrize("session_ms", [1000, 3000, 45_000, 900_000])
def test_classic_members_send_three_heartbeats_a_session_at_least(session_ms: int) -> None:
    config = consumer_config(settings(group_protocol="classic", session_timeout_ms=session_ms), "g")
    assert config["partition.assignment.strategy"] == "range"
    assert config["heartbeat.interval.ms"] * 3 <= config["session.timeout.ms"] <= config["max.poll.interval.ms"]
    connect(Consumer, config).close()


def test_producers_hash_keys_as_java_does() -> None:
    for config in (producer_config(settings(), "p"), transactional_config(settings(), "t", 30)):
        assert config["partitioner"] == "murmur2_random"
        assert config["enable.idempotence"] is True
        connect(Producer, config)


def test_raw_options_win_over_our_own() -> None:
    options = {"security.protocol": "SSL", "linger.ms": "77"}
    for config in (
        consumer_config(settings(options=options), "g"),
        producer_config(settings(options=options), "p"),
        transactional_config(settings(options=options), "t", 30),
        admin_config(settings(options=options)),
    ):
        assert config["security.protocol"] == "SSL"
        assert config["linger.ms"] == "77"


@pytest.mark.parametrize(
    "option", ["enable.auto.commit", "auto.offset.reset", "isolation.level", "transactional.id", "partitioner"]
)
def test_options_that_exactness_rests_on_are_refused(option: str) -> None:
    with pytest.raises(UserError, match=option):
        consumer_config(settings(options={option: "x"}), "g")


def test_the_password_comes_from_the_secret_setting_alone() -> None:
    assert consumer_config(settings(password=SecretStr("s3cret")), "g")["sasl.password"] == "s3cret"
    with pytest.raises(UserError, match="does not belong") as refused:
        consumer_config(settings(options={"sasl.password": "s3cret"}), "g")
    assert "s3cret" not in refused.value.message + refused.value.remedy


def test_an_option_kafka_does_not_know_is_one_sentence() -> None:
    with pytest.raises(UserError, match=r"no\.such\.option"):
        connect(Consumer, consumer_config(settings(options={"no.such.option": "1"}), "g"))


def test_groups_carry_the_prefix() -> None:
    assert group_id(settings(group_prefix="blue"), "classify") == "blue-classify"


@pytest.mark.stack
def test_topics_are_created_once_as_specified(settings: Settings, topics: dict[str, str]) -> None:
    assert create_topics(settings) == (), "the fixture made them all"
    require_topics(settings, topics.values())
    resource = ConfigResource(ConfigResource.Type.TOPIC, topics[VIDEO_LABELS])
    admin = AdminClient(admin_config(settings))
    described = admin.describe_configs([resource])[resource].result()
    assert described["cleanup.policy"].value == TOPICS[VIDEO_LABELS].cleanup


@pytest.mark.stack
def test_too_many_replicas_are_explained(settings: Settings) -> None:
    greedy = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"replication": 3})})
    with pytest.raises(UserError) as refused:
        create_topics(greedy)
    assert "REELSORT_KAFKA__REPLICATION" in refused.value.remedy


def test_a_broker_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.kafka.CONNECT_TIMEOUT_S", 0.5)
    with pytest.raises(UserError, match=r"127\.0\.0\.1:1") as unreachable:
        require_topics(settings(), ["video.published.v1"])
    assert unreachable.value.code is ExitCode.UNREACHABLE

"""What aiokafka is told of our Kafka settings, and what it cannot be told."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from faust.auth import SASLCredentials, SSLCredentials
from pydantic import SecretStr

from schemas.errors import UserError
from stream.settings import KafkaSettings, Settings
from stream.signals.client import app_id, credentials, new_app


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Options that name a certificate authority and a client certificate."""
    folder: Path = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    client = authority.issue_cert("client")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    client.private_key_pem.write_to_path(folder / "key.pem")
    client.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    return {
        "ssl.ca.location": str(folder / "ca.pem"),
        "ssl.certificate.location": str(folder / "certificate.pem"),
        "ssl.key.location": str(folder / "key.pem"),
    }


def kafka(password: str | None = None, **options: str) -> KafkaSettings:
    given = {name.replace("_", "."): value for name, value in options.items()}
    return KafkaSettings(options=given, password=SecretStr(password) if password else None)


def test_without_options_nothing_is_encrypted_and_nobody_signs_in() -> None:
    assert credentials(kafka()) is None


def test_tls_with_a_client_certificate(ca: dict[str, str]) -> None:
    found = credentials(KafkaSettings(options={"security.protocol": "SSL"} | ca))
    assert isinstance(found, SSLCredentials)
    assert found.context.verify_mode is ssl.CERT_REQUIRED
    assert found.context.check_hostname
    assert found.context.cert_store_stats()["x509_ca"] == 1


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_sasl_over_tls(ca: dict[str, str], mechanism: str) -> None:
    options = {"security.protocol": "sasl_ssl", "sasl.mechanism": mechanism, "sasl.username": "reelsort"} | ca
    found = credentials(KafkaSettings(options=options, password=SecretStr("secret")))
    assert isinstance(found, SASLCredentials)
    assert (found.username, found.password, found.mechanism.value) == ("reelsort", "secret", mechanism)
    assert found.protocol.value == "SASL_SSL"
    assert found.ssl_context is not None


def test_checks_of_the_broker_can_be_given_up_as_with_the_other_jobs() -> None:
    lenient = credentials(kafka(security_protocol="SSL", ssl_endpoint_identification_algorithm="none"))
    assert isinstance(lenient, SSLCredentials)
    assert not lenient.context.check_hostname
    assert lenient.context.verify_mode is ssl.CERT_REQUIRED
    blind = credentials(kafka(security_protocol="SSL", enable_ssl_certificate_verification="false"))
    assert isinstance(blind, SSLCredentials)
    assert blind.context.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (kafka(linger_ms="5"), "linger.ms"),
        (kafka(security_protocol="TLS"), "security.protocol"),
        (kafka("secret", security_protocol="SASL_SSL", sasl_mechanism="OAUTHBEARER"), "OAUTHBEARER"),
        (kafka("secret", security_protocol="SASL_SSL"), "GSSAPI"),
        (kafka(security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN", sasl_username="u"), "password"),
        (kafka("secret", security_protocol="SASL_PLAINTEXT", sasl_mechanism="PLAIN"), "sasl.username"),
        (kafka(security_protocol="SSL", ssl_ca_location="/nowhere/ca.pem"), "ssl.ca.location"),
        (kafka(security_protocol="SSL", ssl_endpoint_identification_algorithm="maybe"), "maybe"),
    ],
)
def test_what_aiokafka_cannot_take_is_refused_by_name(settings: KafkaSettings, named: str) -> None:
    with pytest.raises(UserError) as refused:
        credentials(settings)
    assert named in f"{refused.value.message} {refused.value.remedy}"


def test_the_app_listens_on_nothing_and_makes_no_topic(tmp_path: Path) -> None:
    settings = Settings(kafka=KafkaSettings(bootstrap="one:9092,[::1]:9093", group_prefix="mine"))
    app = new_app(settings, tmp_path)
    assert not app.conf.web_enabled
    assert not app.conf.topic_allow_declare
    assert app.conf.topic_disable_leader
    assert app.conf.id == app_id(settings) == "mine-signals-0"
    assert [(url.host, url.port) for url in app.conf.broker] == [("one", 9092), ("::1", 9093)]

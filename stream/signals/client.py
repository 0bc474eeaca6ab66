"""The Faust app, and our Kafka settings in the words of its client, aiokafka.

Faust would like to own the process: its worker installs signal handlers, sets up logging, serves a web page. None of
that is used; only its app runs, inside our own event loop.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Literal

import faust
from faust.auth import SASLCredentials, SSLCredentials
from faust.types.auth import CredentialsT
from yarl import URL

from schemas.errors import UserError
from stream.kafka import group_id
from stream.settings import KafkaSettings, Settings
from stream.signals.consumer import ActionsTransport

NAME = "signals"
COMMIT_EVERY_S = 1.0
REQUEST_TIMEOUT_S = 90.0  # Faust wants it to be at least the session timeout

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_UNDERSTOOD = frozenset(
    {
        "bootstrap.servers",
        "client.id",
        "security.protocol",
        "sasl.mechanism",
        "sasl.mechanisms",
        "sasl.username",
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.key.password",
        "ssl.endpoint.identification.algorithm",
        "enable.ssl.certificate.verification",
    }
)


def app_id(settings: Settings) -> str:
    """The consumer group, and what the changelog is named after: a new generation has both of its own."""
    return f"{group_id(settings, NAME)}-{settings.signals.generation}"


def new_app(settings: Settings, scratch: Path) -> faust.App:
    """An app that listens on nothing and declares no topic. `scratch`: a folder where Faust makes empty ones at start.

    Raises UserError for options that aiokafka has no word for.
    """
    kafka = settings.kafka
    quieten()
    session_s = min(kafka.session_timeout_ms, kafka.max_poll_interval_ms) / 1000
    app = faust.App(
        app_id(settings),
        broker=_brokers(kafka),
        broker_client_id=kafka.options.get("client.id", app_id(settings)),
        broker_credentials=credentials(kafka),
        broker_commit_interval=COMMIT_EVERY_S,
        broker_session_timeout=session_s,
        broker_heartbeat_interval=min(3.0, session_s / 3),
        broker_request_timeout=max(REQUEST_TIMEOUT_S, session_s),
        broker_max_poll_interval=kafka.max_poll_interval_ms / 1000,
        producer_request_timeout=REQUEST_TIMEOUT_S,
        consumer_auto_offset_reset="earliest",
        processing_guarantee="at_least_once",
        stream_buffer_maxsize=4 * settings.signals.batch,
        stream_wait_empty=False,  # the job waits for what is in hand itself
        table_standby_replicas=0,  # a memory store throws a standby away and reads the changelog again
        topic_allow_declare=False,
        topic_disable_leader=True,
        web_enabled=False,
        datadir=scratch,
    )
    app.transport = ActionsTransport(app.conf.broker_consumer, app)
    return app


def credentials(kafka: KafkaSettings) -> CredentialsT | None:
    """Security options as Faust has them; None for plain text."""
    options = kafka.options
    if unknown := sorted(options.keys() - _UNDERSTOOD):
        raise UserError(
            f"kafka.options sets {unknown[0]}, which the client of the signals job (aiokafka) has no counterpart of",
            f"give it to the other jobs alone; signals understands {', '.join(sorted(_UNDERSTOOD))}",
        )
    protocol = options.get("security.protocol", "PLAINTEXT").upper()
    if protocol not in _PROTOCOLS:
        raise UserError(f"kafka.options sets security.protocol to {protocol}", f"use one of {', '.join(_PROTOCOLS)}")
    context = _ssl_context(kafka) if protocol.endswith("SSL") else None
    if protocol.startswith("SASL"):
        mechanism = options.get("sasl.mechanism", options.get("sasl.mechanisms", "GSSAPI")).upper()
        if mechanism not in _MECHANISMS:
            raise UserError(
                f"the signals job cannot sign in to Kafka with {mechanism}",
                f"set sasl.mechanism in kafka.options to one of {', '.join(_MECHANISMS)}",
            )
        if kafka.password is None or "sasl.username" not in options:
            raise UserError(
                f"{protocol} needs a user and a password",
                "set sasl.username in kafka.options, and REELSORT_KAFKA__PASSWORD or REELSORT_KAFKA__PASSWORD_FILE",
            )
        return SASLCredentials(
            username=options["sasl.username"],
            password=kafka.password.get_secret_value(),
            ssl_context=context,
            mechanism=mechanism,
        )
    return SSLCredentials(context) if context is not None else None


def quieten() -> None:
    """Libraries that log every step at INFO, in tables drawn with lines, are heard when something is wrong."""
    for library in ("faust", "mode", "aiokafka"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # that topics are not declared is meant; said for each of them at every rebalance
    logging.getLogger("faust.transport.drivers.aiokafka").addFilter(_says_more)


def _says_more(record: logging.LogRecord) -> bool:
    return "Topic creation disabled" not in record.getMessage()


def _brokers(kafka: KafkaSettings) -> list[URL]:
    servers = kafka.options.get("bootstrap.servers", kafka.bootstrap)
    return [URL(f"aiokafka://{server.strip()}") for server in servers.split(",")]


def _ssl_context(kafka: KafkaSettings) -> ssl.SSLContext:
    options = kafka.options
    try:
        context = ssl.create_default_context(cafile=options.get("ssl.ca.location"), cadata=options.get("ssl.ca.pem"))
        if certificate := options.get("ssl.certificate.location"):
            context.load_cert_chain(certificate, options.get("ssl.key.location"), options.get("ssl.key.password", ""))
    except (OSError, ssl.SSLError) as error:
        raise UserError(
            f"the certificates that kafka.options names cannot be used: {error}",
            "check ssl.ca.location, ssl.certificate.location, ssl.key.location and ssl.key.password",
        ) from error
    if _is(options, "ssl.endpoint.identification.algorithm", "https", "none") == "none":
        context.check_hostname = False
    if _is(options, "enable.ssl.certificate.verification", "true", "false") == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _is(options: dict[str, str], name: str, default: Literal["https", "true"], other: str) -> str:
    value = options.get(name, default).lower()
    if value not in (default, other):
        raise UserError(f"kafka.options sets {name} to {value}", f"use {default} or {other}")
    return value

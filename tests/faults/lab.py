"""A stack of its own for the fault tests, and on it a clean field (database, topics, groups) for each scenario."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psutil
import psycopg
from confluent_kafka import Producer
from psycopg import sql

from deploy.local import stack
from schemas.topics import TOPICS
from stream.kafka import producer_config
from stream.settings import load_settings
from tests.faults.field import Field
from tests.faults.processes import Nursery
from tests.support.databases import migrated_template

GroupProtocol = Literal["consumer", "classic"]
SESSION_TIMEOUT_S = 6.0
"""How soon a dead member is noticed, unless a scenario asks for less: the local broker's default for KIP-848."""


class Lab:
    """Owns one local stack; scenarios may stop and start its servers. `protocol` is the consumer groups'."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.protocol: GroupProtocol = "consumer"
        self._fields = 0
        self.info = stack.up(folder)
        self._nursery = Nursery()
        settings = load_settings(kafka={"bootstrap": self.info.bootstrap})
        self._producer = Producer(producer_config(settings, "faults"))

    def close(self) -> None:
        self._nursery.close()
        stack.down(self.folder)

    def stop_server(self, name: stack.ServerName) -> None:
        stack.down(self.folder, servers=(name,))

    def kill_server(self, name: stack.ServerName) -> None:
        """SIGKILL, and wait until it is gone."""
        info = stack.status(self.folder)
        assert info is not None
        process = psutil.Process(info.kafka.pid if name == "kafka" else info.postgres.pid)
        process.kill()
        process.wait(30)

    def start_servers(self) -> None:
        stack.up(self.folder)

    @contextmanager
    def field(self, name: str, session_timeout_s: float = SESSION_TIMEOUT_S, **settings: str) -> Iterator[Field]:
        """An empty database, topics and groups named after the scenario. `settings` are REELSORT_ variables."""
        self._fields += 1
        label = f"{name}_{self._fields}"
        template = migrated_template(self.info)
        with psycopg.connect(self.info.dsn, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(label), sql.Identifier(template))
            )
        environment = {
            "REELSORT_KAFKA__BOOTSTRAP": self.info.bootstrap,
            "REELSORT_KAFKA__GROUP_PREFIX": label,
            "REELSORT_KAFKA__GROUP_PROTOCOL": self.protocol,
            "REELSORT_KAFKA__TOPICS": json.dumps({topic: f"{label}.{topic}" for topic in TOPICS}),
            "REELSORT_KAFKA__PARTITIONS": "4",
            "REELSORT_KAFKA__SESSION_TIMEOUT_MS": str(int(session_timeout_s * 1000)),
            "REELSORT_DATABASE__DSN": self.info.dsn_of(label),
            "REELSORT_CLASSIFY__STUB": "true",
        } | {f"REELSORT_{key.upper()}": value for key, value in settings.items()}
        logs = self.folder / "fault-logs" / label
        logs.mkdir(parents=True)
        field = Field(environment, logs, self._nursery, self._producer)
        if self.protocol == "consumer" and session_timeout_s != SESSION_TIMEOUT_S:
            field.set_session_timeout(session_timeout_s)
        try:
            yield field
        finally:
            field.close()

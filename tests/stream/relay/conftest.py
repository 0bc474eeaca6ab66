"""An outbox to fill, and relays in threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
import psycopg
import pytest

from schemas.ids import shard_of
from stream.relay import job
from stream.settings import Settings
from stream.telemetry.health import Health
from tests.support import kafka as broker

PATIENCE_S = 40.0


@dataclass
class Lab:
    """One test's outbox, topics and relays."""

    settings: Settings
    topics: dict[str, str]
    connection: psycopg.Connection[Any]

    def put(
        self, topic: str, key: str, value: bytes | None, ce_id: str, delay_s: float = 0.0, **headers: str | None
    ) -> None:
        self.connection.execute(
            "INSERT INTO outbox (shard, topic, key, value, headers, available_at) "
            "VALUES (%s, %s, %s, %s, %s, now() + make_interval(secs => %s))",
            (shard_of(key), topic, key, value, orjson.dumps({"ce_id": ce_id} | headers).decode(), delay_s),
        )

    def waiting(self, topic: str | None = None) -> int:
        rows = self.connection.execute("SELECT topic FROM outbox").fetchall()
        return sum(topic in (None, name) for (name,) in rows)

    def make_due(self) -> None:
        self.connection.execute("UPDATE outbox SET available_at = now()")

    def sent(self, topic: str, *, read_committed: bool = True) -> list[tuple[str, bytes | None, str]]:
        """(key, value, ce_id) of each record a reader of the topic sees."""
        found = []
        for message in broker.read_all(
            self.settings.kafka.bootstrap, self.topics[topic], read_committed=read_committed
        ):
            key, headers = message.key(), dict(message.headers() or ())
            assert key is not None
            ce_id = headers["ce_id"]
            assert isinstance(ce_id, bytes)
            found.append((key.decode(), message.value(), ce_id.decode()))
        return found

    def with_relay(self, **changes: Any) -> Settings:
        return self.settings.model_copy(update={"relay": self.settings.relay.model_copy(update=changes)})

    @contextmanager
    def relay(self, **changes: Any) -> Iterator[Health]:
        """A whole relay, until the end of the block."""
        stop, health, errors = threading.Event(), Health(stall_s=60), []

        def work() -> None:
            try:
                job.run(self.with_relay(**changes), stop, health)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield health
        finally:
            stop.set()
            thread.join(PATIENCE_S)
        assert not thread.is_alive(), "the relay did not end"
        if errors:
            raise errors[0]


@pytest.fixture
def lab(settings: Settings, topics: dict[str, str]) -> Iterator[Lab]:
    with psycopg.connect(settings.database.dsn.get_secret_value(), autocommit=True) as connection:
        yield Lab(settings, topics, connection)

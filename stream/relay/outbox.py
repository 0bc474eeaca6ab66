"""The outbox as a relay sees it: one session that owns shards, reads what is due, and deletes exactly what was sent."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Self

import orjson
import psycopg
from psycopg import Connection
from psycopg.types.json import set_json_loads

from schemas.errors import UserError
from stream.settings import Settings
from stream.store.session import connect

LOCK_CLASS = 0x5245454C  # advisory locks are (class, shard) pairs; this class is the relay's

# Shard by shard in id order, so that neither another group's backlog nor a sort stands before the first row. Ids commit
# out of order, so "after the last id seen" would skip rows; ids of one video do not (schemas.tables.Outbox).
_READ = """
SELECT due.id, due.topic, due.key, due.value, due.headers
FROM unnest(%(shards)s::smallint[]) AS owned(shard)
CROSS JOIN LATERAL (
    SELECT id, topic, key, value, headers FROM outbox
    WHERE shard = owned.shard AND available_at <= now()
      AND topic <> ALL(%(held_topics)s::text[])
      AND NOT EXISTS (
        SELECT FROM unnest(%(key_topics)s::text[], %(keys)s::text[]) AS held(topic, key)
        WHERE held.topic = outbox.topic AND held.key = outbox.key)
    ORDER BY id LIMIT %(per_shard)s
) AS due
ORDER BY due.id
LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One record to be sent."""

    id: int
    topic: str  # standard name
    key: str
    value: bytes | None
    headers: dict[str, str | None]  # null: an input came with a header that has no value


@dataclass(frozen=True, slots=True)
class Exclusions:
    """What is not read for now, because Kafka refuses it: whole topics, and single keys of a topic."""

    topics: Sequence[str] = ()
    keys: Sequence[tuple[str, str]] = ()  # (topic, key)


class Outbox:
    """One Postgres session. Its advisory locks are the ownership of shards: when the session ends, so does that."""

    def __init__(self, connection: Connection[Any]) -> None:
        self._connection = connection
        set_json_loads(orjson.loads, connection)

    @classmethod
    def connect(cls, settings: Settings, name: str) -> closing[Self]:
        """A session of its own: a pooler that shares sessions would share locks. Raises psycopg.OperationalError."""
        connection = connect(settings.database, name)
        return closing(cls(connection))

    def close(self) -> None:
        self._connection.close()

    def own(self, shards: Collection[int], idle_s: float) -> bool:
        """Take all of these shards, or none. Relays that cut the shards into other groups are kept out as well.

        idle_s: an owner that does nothing for so long has stopped; the server ends its session, and another can go on.
        """
        locks = "SELECT bool_and(pg_try_advisory_lock(%s, shard)) FROM unnest(%s::int[]) AS wanted(shard)"
        answer = self._connection.execute(locks, (LOCK_CLASS, list(shards))).fetchone()
        if answer is not None and answer[0]:
            self._connection.execute("SELECT set_config('idle_session_timeout', %s, false)", (f"{idle_s * 1000:.0f}",))
            return True
        self._connection.execute("SELECT pg_advisory_unlock_all()")
        return False

    def read(self, shards: Sequence[int], limit: int, excluded: Exclusions) -> list[Row]:
        """What is due, oldest id first; of each shard at most its part of `limit`."""
        parameters = {
            "shards": list(shards),
            "held_topics": list(excluded.topics),
            "key_topics": [topic for topic, _ in excluded.keys],
            "keys": [key for _, key in excluded.keys],
            "per_shard": -(-limit // len(shards)),
            "limit": limit,
        }
        with _explained():
            rows = self._connection.execute(_READ, parameters, binary=True).fetchall()
        return [Row(*row) for row in rows]

    def still_ours(self) -> None:
        """Raises psycopg.OperationalError if the session, and with it the ownership, is gone."""
        self._connection.execute("SELECT 1")

    def delete(self, ids: Sequence[int]) -> None:
        """Exactly these: a subselect with a limit falls off a cliff once the planner believes the table empty."""
        self._connection.execute("DELETE FROM outbox WHERE id = ANY(%s)", (list(ids),))

    def waiting(self) -> tuple[dict[str, int], float]:
        """Rows by topic, due or not, and the age in seconds of the oldest that is due."""
        count = "SELECT topic, count(*), extract(epoch FROM now() - min(available_at)) FROM outbox GROUP BY topic"
        with _explained():
            rows = self._connection.execute(count).fetchall()
        return {topic: waiting for topic, waiting, _ in rows}, max((float(age) for _, _, age in rows), default=0.0)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.UndefinedTable as error:
        raise UserError("the database has no outbox table", "run `reelsort db upgrade`") from error

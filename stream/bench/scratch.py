"""Servers and databases of a benchmark, gone when it ends, and what it sends."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from confluent_kafka import Producer
from psycopg import sql
from pydantic import SecretStr

from deploy.local import stack
from schemas.wire import EncodedEvent
from stream.kafka import Config
from stream.settings import DatabaseSettings, Settings, load_settings

ConfiguredOption = Annotated[
    bool, typer.Option("--configured", help="Use the configured servers, not a local stack of its own.")
]


@contextmanager
def own_stack() -> Iterator[Settings]:
    """Settings of a Kafka and a Postgres that belong to this run."""
    with tempfile.TemporaryDirectory(prefix="reelsort-bench-") as folder:
        info = stack.up(Path(folder))
        try:
            plain = load_settings()
            kafka = plain.kafka.model_copy(update={"bootstrap": info.bootstrap})
            yield plain.model_copy(update={"kafka": kafka, "database": DatabaseSettings(dsn=SecretStr(info.dsn))})
        finally:
            stack.down(Path(folder))


def servers(configured: bool) -> AbstractContextManager[Settings]:
    """Settings of the servers to measure on."""
    return nullcontext(load_settings()) if configured else own_stack()


@contextmanager
def scratch_database(settings: Settings, template: DatabaseSettings | None = None) -> Iterator[DatabaseSettings]:
    """A database of its own on the configured server, migrated, or a copy of `template`, which nobody may be using;
    dropped at the end."""
    dsn = settings.database.dsn.get_secret_value()
    name = f"bench_{uuid.uuid4().hex[:8]}"
    create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template is not None:
        copied = psycopg.conninfo.conninfo_to_dict(template.dsn.get_secret_value())["dbname"]
        create += sql.SQL(" TEMPLATE {}").format(sql.Identifier(str(copied)))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(create)
    try:
        scratch = psycopg.conninfo.make_conninfo(dsn, dbname=name)
        if template is None:
            from schemas.database import upgrade  # Alembic takes as long to import as all the rest of the command

            upgrade(scratch)
        yield settings.database.model_copy(update={"dsn": SecretStr(scratch)})
    finally:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def send_all(config: Config, topic: str, events: Iterable[EncodedEvent]) -> int:
    """Returns the bytes of their values once Kafka has them."""
    client = Producer(config)
    total = 0
    for event in events:
        while True:
            try:
                client.produce(topic, event.value, event.key, headers=[*event.headers])
                break
            except BufferError:
                client.poll(0.1)
        client.poll(0)
        total += len(event.value)
    client.flush()
    return total

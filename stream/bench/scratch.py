"""Servers and databases of a benchmark, gone when it ends."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql
from pydantic import SecretStr

from deploy.local import stack
from stream.settings import DatabaseSettings, Settings, load_settings


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

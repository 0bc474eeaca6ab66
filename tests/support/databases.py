"""Databases of one test each, on the session's Postgres."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from deploy.local.files import locked
from deploy.local.state import StackInfo
from schemas.database import upgrade

_TEMPLATE = "migrated"


@contextmanager
def database(stack: StackInfo, template: str = "template1") -> Iterator[str]:
    """A new database, dropped at the end whoever is still connected; its DSN."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(stack.dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
    try:
        yield stack.dsn_of(name)
    finally:
        with psycopg.connect(stack.dsn, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def migrated_template(stack: StackInfo) -> str:
    """A database with every migration applied, to copy from: migrated once a session, by whoever comes first."""
    with (
        locked(stack.folder / "logs" / "template.lock", timeout_s=120, busy="the template is not ready"),
        psycopg.connect(stack.dsn, autocommit=True) as admin,
    ):
        if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (_TEMPLATE,)).fetchone() is None:
            unfinished = f"{_TEMPLATE}_unfinished"
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(unfinished)))
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(unfinished)))
            upgrade(stack.dsn_of(unfinished))
            admin.execute(
                sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(unfinished), sql.Identifier(_TEMPLATE))
            )
    return _TEMPLATE

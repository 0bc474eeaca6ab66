"""The database's schema, up and down. A DSN is whatever libpq takes: a URI or `host=... dbname=...`.

The connection must be a direct one: the lock that keeps two upgrades apart belongs to a session, which a pooler in
transaction mode would break up.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from schemas.errors import ExitCode, UserError

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "reelsort_schema"  # not Alembic's default, which another application in this database may use

_UPGRADE_LOCK = 0x7265656C736F7274  # 'reelsort': one upgrade or downgrade at a time in a database
_LOCK_TIMEOUT = "30s"  # rather fail than make every reader and writer queue behind a table we cannot get
_CONNECT_TIMEOUT_S = 10


def head() -> str:
    """The revision this version of reelsort works with."""
    revision = _scripts().get_current_head()
    assert revision is not None, "the package holds no migration"
    return revision


def current(dsn: str) -> str | None:
    """The revision the database is at; None for an empty one. Raises UserError where it cannot be reached."""
    with _connected(dsn) as connection:
        return _current(connection)


def is_current(dsn: str) -> bool:
    """Whether the database is what this version of reelsort works with. Raises UserError as current() does."""
    return current(dsn) == head()


def upgrade(dsn: str, revision: str = "head") -> None:
    """Bring the database to `revision`; nothing happens where it is there. Safe to run from many processes at once.

    Raises UserError where the database cannot be reached, was made by a newer version, or holds other tables.
    """
    with _migrating(dsn) as config:
        command.upgrade(config, revision)


def downgrade(dsn: str, revision: str) -> None:
    """Take the database back to `revision` ('base' drops everything, with its data). Raises UserError as upgrade()."""
    with _migrating(dsn) as config:
        command.downgrade(config, revision)


@contextmanager
def _migrating(dsn: str) -> Iterator[Config]:
    """Alembic's configuration on a connection that holds the lock until it is closed."""
    with _connected(dsn) as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _UPGRADE_LOCK})
        connection.execute(text("SELECT set_config('lock_timeout', :wait, false)"), {"wait": _LOCK_TIMEOUT})
        connection.commit()
        _refuse_newer(_current(connection))
        connection.commit()
        config = _config()
        config.attributes.update(connection=connection, version_table=VERSION_TABLE)
        try:
            yield config
        except CommandError as error:
            raise UserError(
                f"the migration cannot run: {error}", f"name a revision, such as {head()} or head"
            ) from error


@contextmanager
def _connected(dsn: str) -> Iterator[Connection]:
    engine = create_engine("postgresql+psycopg://", poolclass=NullPool, creator=lambda: _connect(dsn))
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        raise _explained(error) from error


def _connect(dsn: str) -> psycopg.Connection[tuple[object, ...]]:
    # SQLAlchemy's own form of the scheme is what people copy from its documentation
    uri = dsn.replace("postgresql+psycopg://", "postgresql://", 1)
    try:
        return psycopg.connect(uri, connect_timeout=_CONNECT_TIMEOUT_S)
    except psycopg.ProgrammingError as error:
        raise UserError(
            "the database DSN cannot be read",
            "write it as postgresql://USER@HOST:PORT/DATABASE (REELSORT_DATABASE__DSN)",
        ) from error
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"Postgres did not let us in: {reason}",
            "check that it runs, and the DSN (REELSORT_DATABASE__DSN); `reelsort up` starts a local one",
            ExitCode.UNREACHABLE,
        ) from error


def _explained(error: DBAPIError) -> UserError:
    cause = error.orig
    reason = str(cause).strip().splitlines()[0] if cause else str(error)
    match cause:
        case psycopg.errors.DuplicateTable() | psycopg.errors.DuplicateObject():
            return UserError(f"the database holds another application's tables: {reason}", "name an empty database")
        case psycopg.errors.InsufficientPrivilege():
            return UserError(f"Postgres refuses the migration: {reason}", "connect as the owner of the database")
        case psycopg.errors.LockNotAvailable():
            return UserError(
                f"a table is in use and was not given up within {_LOCK_TIMEOUT}: {reason}",
                "end long transactions and try again; nothing was changed",
                ExitCode.UNREACHABLE,
            )
        case psycopg.OperationalError():
            return UserError(f"Postgres went away: {reason}", "check it and try again", ExitCode.UNREACHABLE)
        case _:
            return UserError(f"Postgres refuses the migration: {reason}", "see its log", ExitCode.INTERNAL)


def _current(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def _refuse_newer(revision: str | None) -> None:
    known = {script.revision for script in _scripts().walk_revisions()}
    if revision is not None and revision not in known:
        raise UserError(
            f"the database is at revision {revision}, which this version of reelsort does not know",
            "it was made by a newer version: install that one, or name another database",
        )


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config

"""A Postgres connection as this system uses one: autocommit, bounded in every wait, able to send binary columns."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import psycopg

from schemas.errors import ExitCode, UserError
from stream.settings import DatabaseSettings
from stream.store import encoding

CONNECT_TIMEOUT_S = 10
# A worker stopped in the middle of a transaction holds row locks: the server ends it, so that its successor can go on.
IDLE_IN_TRANSACTION_S = 15
# A peer that vanished without a word is noticed within this time.
DEAD_PEER_S = 20
# For statements that look up a batch of keys: they join in the order in which they are written, from the keys on, each
# key by index. A plan that reads whole tables is the better one only while these are small, and goes on until they are
# analysed again: by then it is worse by orders of magnitude.
BY_KEY = {
    "join_collapse_limit": "1",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_material": "off",
}


def connect(
    database: DatabaseSettings, name: str, planner: Mapping[str, str] = MappingProxyType({})
) -> psycopg.Connection[Any]:
    """Open a session. `name` shows in pg_stat_activity; planner: settings of Postgres' planner, such as BY_KEY.

    Raises psycopg.OperationalError where there is no server.
    """
    settings = {
        "statement_timeout": f"{database.statement_timeout_s * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_S * 1000}",
        **planner,
    }
    connection = psycopg.connect(
        database.dsn.get_secret_value(),
        autocommit=True,
        application_name=f"reelsort-{name}",
        connect_timeout=CONNECT_TIMEOUT_S,
        keepalives_idle=DEAD_PEER_S // 2,
        keepalives_interval=2,
        keepalives_count=5,
        tcp_user_timeout=DEAD_PEER_S * 1000,
        options=" ".join(f"-c {setting}={value}" for setting, value in settings.items()),
    )
    encoding.register(connection)
    return connection


def connect_or_explain(database: DatabaseSettings, name: str) -> psycopg.Connection[Any]:
    """connect() for a command or a start: raises UserError where there is no server or no such database.

    What is said of a DSN that cannot be read quotes nothing of it: it may be a password.
    """
    try:
        return connect(database, name)
    except psycopg.ProgrammingError as error:
        raise UserError(
            "the database DSN cannot be read",
            "write it as postgresql://USER@HOST:PORT/DATABASE (REELSORT_DATABASE__DSN)",
        ) from error
    except psycopg.Error as error:
        raise UserError(
            f"Postgres did not answer: {str(error).strip().splitlines()[0]}",
            "check that the server runs and that REELSORT_DATABASE__DSN names it",
            ExitCode.UNREACHABLE,
        ) from error


class Session:
    """A connection that is opened when it is needed and thrown away when it broke. For one thread; it looks up keys."""

    def __init__(self, database: DatabaseSettings, name: str) -> None:
        self._database = database
        self._name = name
        self._connection: psycopg.Connection[Any] | None = None

    def connection(self) -> psycopg.Connection[Any]:
        """Raises psycopg.OperationalError where there is no server."""
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._database, self._name, BY_KEY)
        return self._connection

    def discard(self) -> None:
        """Close, whatever state it is in: the next use opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

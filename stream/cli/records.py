"""What commands on Postgres have in common: a session, and what is typed for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from schemas.errors import ExitCode, UserError
from stream.settings import Settings
from stream.store.session import connect_or_explain


@contextmanager
def opened(settings: Settings, name: str) -> Iterator[psycopg.Connection[Any]]:
    """A session. Raises UserError where there is no server, it goes away, or its tables are not there."""
    with connect_or_explain(settings.database, name) as connection:
        try:
            yield connection
        except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn) as error:
            raise UserError("the database has not the tables of this version", "run `reelsort db upgrade`") from error
        except psycopg.OperationalError as error:
            raise UserError(
                f"Postgres did not answer: {str(error).strip().splitlines()[0]}", "try again", ExitCode.UNREACHABLE
            ) from error


def storable(text: str | None) -> str | None:
    """An argument as Postgres can hold it. Raises UserError for bytes of the command line that are no UTF-8."""
    try:
        (text or "").encode()
    except UnicodeEncodeError as error:
        raise UserError("an argument of the command line is no UTF-8 text", "type it again") from error
    return text

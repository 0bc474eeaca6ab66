"""What a Postgres error means for the batch in hand."""

from __future__ import annotations

from enum import Enum, auto

import psycopg


class Fault(Enum):
    """row: one row of the batch is at fault. passing: the server is; wait and do it again. defect: we are."""

    ROW = auto()
    PASSING = auto()
    DEFECT = auto()


_ROW_CLASSES = frozenset({"22", "23"})  # data exception, integrity constraint violation
_PASSING_CLASSES = frozenset({"08", "40", "53", "57", "58"})  # connection, rollback, resources, operator, system


def fault_of(error: psycopg.Error) -> Fault:
    """Classify by SQLSTATE; an error without one came from a lost or refused connection."""
    state = error.sqlstate
    if state is None:
        return Fault.PASSING if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)) else Fault.DEFECT
    if state[:2] in _ROW_CLASSES:
        return Fault.ROW
    return Fault.PASSING if state[:2] in _PASSING_CLASSES else Fault.DEFECT

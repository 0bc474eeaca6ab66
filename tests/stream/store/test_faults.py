"""Which Postgres errors are a row's, which pass, and which are ours."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from stream.store.faults import Fault, fault_of


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (errors.UntranslatableCharacter(), Fault.ROW),
        (errors.NumericValueOutOfRange(), Fault.ROW),
        (errors.CheckViolation(), Fault.ROW),
        (errors.UniqueViolation(), Fault.ROW),
        (errors.ConnectionException(), Fault.PASSING),
        (errors.DeadlockDetected(), Fault.PASSING),
        (errors.SerializationFailure(), Fault.PASSING),
        (errors.DiskFull(), Fault.PASSING),
        (errors.TooManyConnections(), Fault.PASSING),
        (errors.AdminShutdown(), Fault.PASSING),
        (errors.QueryCanceled(), Fault.PASSING),
        (errors.CannotConnectNow(), Fault.PASSING),
        (errors.IoError(), Fault.PASSING),
        (psycopg.OperationalError("connection refused"), Fault.PASSING),
        (psycopg.InterfaceError("the connection is lost"), Fault.PASSING),
        (errors.UndefinedTable(), Fault.DEFECT),
        (errors.SyntaxError(), Fault.DEFECT),
        (errors.InsufficientPrivilege(), Fault.DEFECT),
        (psycopg.ProgrammingError("no such parameter"), Fault.DEFECT),
    ],
)
def test_an_error_means(error: psycopg.Error, fault: Fault) -> None:
    assert fault_of(error) is fault

"""Writes batches of outcomes whatever happens: splits a batch at its one bad row, waits while Postgres is away."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import psycopg

from stream.settings import DatabaseSettings
from stream.store.assemble import RowFault
from stream.store.faults import Fault, fault_of
from stream.store.messages import input_of
from stream.store.session import Session
from stream.store.work import Dead, Observed, Outcome, Written

_log = logging.getLogger(__name__)

Wait = Callable[[psycopg.Error], bool]
Transaction = Callable[[psycopg.Connection[Any], Sequence[Outcome]], Written]


class Writer:
    """Owns the connection that writes. For one thread."""

    def __init__(self, database: DatabaseSettings, transaction: Transaction) -> None:
        self.session = Session(database, "store")
        self._transaction = transaction

    def write(self, outcomes: Sequence[Outcome], wait: Wait) -> list[Written]:
        """Make all outcomes durable. Returns what each transaction added.

        Where Postgres is away, `wait(error)` sleeps and says whether to go on; if not, the error is raised. A row
        that Postgres refuses (SQLSTATE 22, 23) is found by halving the batch and becomes a dead letter; its neighbours
        are written. Raises psycopg.Error for what is neither (a missing table): a defect.
        """
        written = []
        pending = [list(outcomes)]
        while pending:
            batch = pending[-1]
            try:
                written.append(self._transaction(self.session.connection(), batch))
            except RowFault as fault:
                pending[-1:] = _without(batch, fault.code, fault.detail, fault)
            except psycopg.Error as error:
                match fault_of(error):
                    case Fault.ROW:
                        pending[-1:] = _without(batch, f"sqlstate_{error.sqlstate}", _words(error), error)
                    case Fault.PASSING:
                        self.session.discard()
                        if not wait(error):
                            raise
                    case Fault.DEFECT:
                        raise
            else:
                pending.pop()
        return written

    def close(self) -> None:
        self.session.discard()


def _without(batch: list[Outcome], code: str, detail: str, error: Exception) -> list[list[Outcome]]:
    """The two halves of a batch that holds a bad row; or, where one row is left, the same input as a dead letter."""
    if len(batch) > 1:
        middle = len(batch) // 2
        return [batch[middle:], batch[:middle]]
    (outcome,) = batch
    if isinstance(outcome, Dead) and not outcome.remembers:
        raise error  # not even its dead letter can be stored: nothing is dropped, the job stops
    _log.warning("Postgres refuses one input, which becomes a dead letter: %s: %s", code, detail)
    if isinstance(outcome, Dead):
        return [[replace(outcome, remembers=False)]]
    source = input_of(outcome.record, outcome.event) if isinstance(outcome, Observed) else outcome.input
    return [[Dead(source, code, detail, source.tries, remembers=False)]]


def _words(error: psycopg.Error) -> str:
    return (error.diag.message_primary or str(error)).strip()

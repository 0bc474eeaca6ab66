"""Postgres is away: wait longer each time, say so, and lose nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg

from stream.consumer.records import Progress
from stream.store.faults import Fault, fault_of
from stream.store.session import Session

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

FIRST_S, LONGEST_S = 0.2, 5.0
MARGIN_S = 0.5  # the back-off is declared for longer than it is slept, so that nothing is read in between


class Outage:
    """One thread's view of it. Each wait is declared to the runtime, which pauses its partitions and stays alive."""

    def __init__(self, progress: Progress, stopping: threading.Event) -> None:
        self._progress = progress
        self._stopping = stopping
        self._delay = FIRST_S

    def wait(self, error: psycopg.Error) -> bool:
        """Sleep before the next try. False: the process stops, there will be none."""
        words = str(error).strip().splitlines()
        _log.warning(
            "Postgres is away, next try in %.1f s: %s", self._delay, words[0] if words else type(error).__name__
        )
        self._progress.back_off(self._delay + MARGIN_S, "Postgres is away")
        self._stopping.wait(self._delay)
        self._delay = min(LONGEST_S, self._delay * 2)
        return not self._stopping.is_set()

    def over(self) -> None:
        self._delay = FIRST_S

    def through(self, session: Session, ask: Callable[[psycopg.Connection[Any]], Answer]) -> Answer:
        """The answer, however long Postgres is away. Raises psycopg.Error for a defect, or when the process stops."""
        while True:
            try:
                answer = ask(session.connection())
            except psycopg.Error as error:
                session.discard()
                if fault_of(error) is not Fault.PASSING or not self.wait(error):
                    raise
            else:
                self.over()
                return answer

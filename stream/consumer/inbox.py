"""Where a job's threads report, and the poll thread reads: the runtime's side of Progress."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from stream.consumer.records import Record


@dataclass(frozen=True, slots=True)
class BackOff:
    until: float  # time.monotonic()
    reason: str


class Inbox:
    """Progress reports, taken without a lock on the hot path: deque.append and popleft are atomic."""

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self._done: deque[Collection[Record]] = deque()
        self._back_off: BackOff | None = None
        self._news = threading.Event()

    def done(self, records: Collection[Record]) -> None:
        self._done.append(records)
        self._news.set()

    def back_off(self, seconds: float, reason: str) -> None:
        self._back_off = BackOff(time.monotonic() + seconds, reason)
        self._news.set()

    def fail(self, error: BaseException) -> None:
        self.failure = self.failure or error
        self._news.set()

    def take(self) -> Iterator[Record]:
        """Records reported done since the last call."""
        self._news.clear()
        while self._done:
            yield from self._done.popleft()

    def backing_off(self) -> BackOff | None:
        """The declared back-off that still runs."""
        declared = self._back_off
        return declared if declared and time.monotonic() < declared.until else None

    def wait(self, seconds: float) -> None:
        """Until something is reported, at most `seconds`."""
        self._news.wait(seconds)

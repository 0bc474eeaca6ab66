"""What the consumer runtime hands to a job."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class TopicPartition:
    topic: str
    partition: int


@dataclass(slots=True, eq=False)
class Record:
    """One Kafka record. `epoch` is the assignment it was read under; a job carries it and never looks inside."""

    topic: str
    partition: int
    offset: int
    epoch: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Progress(Protocol):
    """Given to a job: how it reports that records are durable (their transaction committed). Thread-safe."""

    def done(self, records: Collection[Record]) -> None: ...

    def back_off(self, seconds: float, reason: str) -> None:
        """Declare a pause (Postgres down, breaker open): counts as alive; partitions are paused meanwhile."""
        ...

    def fail(self, error: BaseException) -> None:
        """The job cannot go on: the runtime drains nothing more, closes, and re-raises in the poll thread."""
        ...


class Job(Protocol):
    """A stream job on the shared consumer runtime. All methods are called from the poll thread."""

    def start(self, progress: Progress) -> None: ...

    def submit(self, records: Sequence[Record]) -> None:
        """Take records without blocking; the runtime bounds how many are in flight."""
        ...

    def drain(self, partitions: Collection[TopicPartition], deadline: float) -> None:
        """Finish what is in hand for these partitions until `deadline` (time.monotonic()), start nothing new there."""
        ...

    def abandon(self, partitions: Collection[TopicPartition]) -> None:
        """These partitions are no longer ours: drop what is left of them."""
        ...

    def stop(self, deadline: float) -> None:
        """Drain everything, release threads and processes. Called once, on SIGTERM or at the end."""
        ...

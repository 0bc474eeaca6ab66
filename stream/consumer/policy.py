"""How a consumer commits and where it starts: frozen data, apart from the runtime's state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Start = Literal["from-beginning", "from-now"]


@dataclass(frozen=True, slots=True)
class CommitPolicy:
    """Commit when either bound is reached; both count since the last commit was sent."""

    every_s: float
    every_records: int

    def due(self, elapsed_s: float, records: int) -> bool:
        return records > 0 and (elapsed_s >= self.every_s or records >= self.every_records)


STEADY = CommitPolicy(every_s=1.0, every_records=10_000)


@dataclass(frozen=True, slots=True)
class StartPolicy:
    """Where reading starts without a usable offset.

    new_group: a group that never committed anything. Later partitions without an offset are new: they are read whole.
    expired: the committed offset is not on the broker any more. None: stop and let the operator decide.
    """

    new_group: Start = "from-beginning"
    expired: Start | None = None

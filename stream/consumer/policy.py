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
    """Where a group begins that never committed anything. Partitions added later are new, and read whole."""

    new_group: Start = "from-beginning"

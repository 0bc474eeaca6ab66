"""What Kafka refuses waits by itself: a topic that cannot be written must not stop the others. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stream.relay.outbox import Exclusions, Row

FIRST_HOLD_S = 1.0
LONGEST_HOLD_S = 60.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Kafka would not take a record. key: the fault is that record's own (its size), else the topic's."""

    topic: str  # standard name
    key: str | None
    reason: str


@dataclass(slots=True)
class _Hold:
    refusal: Refusal
    delay_s: float
    until: float


class Holds:
    """Each refused topic, or key of it, backs off by itself, twice as long each time. Nothing is ever dropped."""

    def __init__(self) -> None:
        self._holds: dict[tuple[str, str | None], _Hold] = {}

    def refuse(self, refusal: Refusal, now: float) -> float:
        """Hold it back from now on, and return for how many seconds."""
        known = self._holds.get((refusal.topic, refusal.key))
        delay = min(LONGEST_HOLD_S, known.delay_s * 2) if known else FIRST_HOLD_S
        self._holds[refusal.topic, refusal.key] = _Hold(refusal, delay, now + delay)
        return delay

    def accepted(self, rows: Iterable[Row]) -> list[Refusal]:
        """These were taken after all: forget their holds, and return which they were."""
        if not self._holds:
            return []
        taken = {(row.topic, key) for row in rows for key in (None, row.key)}
        return [self._holds.pop(what).refusal for what in taken & self._holds.keys()]

    def excluded(self, now: float) -> Exclusions:
        """What is not to be read now."""
        waiting = [what for what, hold in self._holds.items() if hold.until > now]
        return Exclusions(
            topics=[topic for topic, key in waiting if key is None],
            keys=[(topic, key) for topic, key in waiting if key is not None],
        )

    def apart(self, rows: Sequence[Row]) -> list[list[Row]]:
        """The batches to send: the healthy rows together, then what was refused before, each hold by itself.

        Kafka blames a whole batch for one record that is too large; alone, the innocent are accepted.
        """
        if not self._holds:
            return [list(rows)]
        batches: dict[tuple[str, str | None] | None, list[Row]] = {None: []}
        for row in rows:
            held = next((what for what in ((row.topic, None), (row.topic, row.key)) if what in self._holds), None)
            batches.setdefault(held, []).append(row)
        return [batch for batch in batches.values() if batch]

    def doubtful(self, row: Row) -> bool:
        """Refused before, and not accepted since."""
        return (row.topic, None) in self._holds or (row.topic, row.key) in self._holds

    def topics(self) -> set[str]:
        return {topic for topic, _ in self._holds}

"""Which videos are to be told of, and when. In memory only: the table knows which are dirty, whatever is lost here.

A video that crossed a threshold is due at once, one that merely changed when `late_s` have passed since its first
change; none within `debounce_s` of its last snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice


class Agenda:
    """Times are seconds of a monotonic clock that the caller reads."""

    def __init__(self, debounce_s: float, late_s: float) -> None:
        self._debounce_s = debounce_s
        self._late_s = late_s
        self._changed: dict[bytes, float] = {}  # since when, oldest first
        self._urgent: dict[bytes, None] = {}
        self._told: dict[bytes, float] = {}  # within the debounce interval, oldest first

    def __len__(self) -> int:
        """Videos of which something is to be told."""
        return len(self._changed)

    def changed(self, key: bytes, now: float, *, urgent: bool) -> None:
        """The video is dirty. urgent: it has crossed a threshold, or was dirty when its table was recovered."""
        self._changed.setdefault(key, now)
        if urgent:
            self._urgent[key] = None

    def due(self, now: float, limit: int) -> list[bytes]:
        """At most `limit` videos to be told of now; they stay on the agenda until told()."""
        self._forget_told(now)
        found = dict.fromkeys(islice((key for key in self._candidates(now) if key not in self._told), limit))
        return list(found)

    def told(self, key: bytes, now: float, *, dirty: bool) -> None:
        """Its snapshot is acknowledged. dirty: it has changed meanwhile."""
        self._urgent.pop(key, None)
        self._changed.pop(key, None)
        self._told.pop(key, None)
        self._told[key] = now
        if dirty:
            self._changed[key] = now

    def restart(self, dirty: Iterable[bytes], now: float) -> None:
        """The table was recovered: only these are dirty, and they are due."""
        self._changed = dict.fromkeys(dirty, now)
        self._urgent = dict.fromkeys(self._changed)

    def _candidates(self, now: float) -> Iterator[bytes]:
        yield from self._urgent
        for key, since in self._changed.items():
            if now - since < self._late_s:
                return
            if key not in self._urgent:
                yield key

    def _forget_told(self, now: float) -> None:
        while self._told:
            key, when = next(iter(self._told.items()))
            if now - when < self._debounce_s:
                return
            del self._told[key]

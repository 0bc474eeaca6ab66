"""Actions on one video's revision added up, and the snapshot that is told of them. Pure.

Everything is a sum of integers or the k smallest of a hash, so the order in which actions come cannot matter: two
tallies of the same actions are equal to the last bit.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from typing import Any

from schemas.events import EngagementAction, EngagementSnapshot

COMMENTS = 20  # of a snapshot: those with the smallest hashes, a uniform sample of all
COMMENT_LENGTH = 200  # characters kept of each
VERTICALS = 64  # of an audience: events name them freely, a value's size must have a bound
FIRST_THRESHOLD = 10  # plays

_PER_MILLION = 1_000_000


@dataclass(slots=True)
class Tally:
    """Sums since the revision was published. watched_ms: of the plays that say how long they were; completion: of the
    plays that say it of how much, in millionths; comments: (hash, text), the smallest hashes of distinct texts."""

    revision: int
    plays: int = 0
    likes: int = 0
    comments: int = 0
    shares: int = 0
    reports: int = 0
    watches: int = 0
    watched_ms: int = 0
    completions: int = 0
    completion: int = 0
    audience: dict[str, int] = field(default_factory=dict)  # plays by the viewer's vertical
    sample: list[tuple[int, str]] = field(default_factory=list)
    latest_ms: int = 0  # the newest action, since the epoch

    def add(self, action: EngagementAction) -> None:
        """Count one action of this revision. A follow is about the author: it moves nothing here."""
        self.latest_ms = max(self.latest_ms, int(action.occurred_at.timestamp() * 1000))
        match action.kind:
            case "play":
                self._play(action)
            case "like":
                self.likes += 1
            case "comment":
                self.comments += 1
                if action.comment_text:
                    self._sample(action.comment_text)
            case "share":
                self.shares += 1
            case "report":
                self.reports += 1
            case "follow":
                pass

    def _play(self, action: EngagementAction) -> None:
        self.plays += 1
        if action.watched_s is not None:
            self.watches += 1
            self.watched_ms += round(action.watched_s * 1000)
            if action.duration_s:
                self.completions += 1
                self.completion += round(_PER_MILLION * min(1.0, action.watched_s / action.duration_s))
        vertical = action.viewer_vertical
        if vertical is not None and (vertical in self.audience or len(self.audience) < VERTICALS):
            self.audience[vertical] = self.audience.get(vertical, 0) + 1

    def _sample(self, text: str) -> None:
        """Equal texts count once: saying the same a thousand times is one voice."""
        kept = " ".join(text.split())[:COMMENT_LENGTH]
        entry = (int.from_bytes(blake2b(kept.encode(), digest_size=7).digest()), kept)
        if entry not in self.sample and (len(self.sample) < COMMENTS or entry < self.sample[-1]):
            self.sample = heapq.nsmallest(COMMENTS, [*self.sample, entry])

    def snapshot(self, video_id: str, seq: int, window_end: datetime) -> EngagementSnapshot:
        """What is told of it. Rates are None where no play says anything of them."""
        known = sum(self.audience.values())
        return EngagementSnapshot(
            video_id=video_id,
            revision=self.revision,
            seq=seq,
            plays=self.plays,
            likes=self.likes,
            comments=self.comments,
            shares=self.shares,
            reports=self.reports,
            completion_rate=self.completion / self.completions / _PER_MILLION if self.completions else None,
            mean_watch_s=self.watched_ms / self.watches / 1000 if self.watches else None,
            audience={vertical: count / known for vertical, count in sorted(self.audience.items())},
            top_comments=tuple(text for _, text in self.sample),
            window_end=window_end,
        )

    def as_json(self) -> dict[str, Any]:
        """As a table stores it."""
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Tally:
        """What as_json() gave, also after a journey through JSON."""
        return cls(**stored | {"sample": [(number, text) for number, text in stored["sample"]]})


def threshold_crossed(before: int, after: int) -> bool:
    """Whether the number of plays passed 10, 100, 1000, … on its way."""
    threshold = FIRST_THRESHOLD
    while threshold <= before:
        threshold *= 10
    return after >= threshold

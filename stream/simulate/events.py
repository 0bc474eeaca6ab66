"""Which events the platform would send of generated videos, and in which order. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta

from models.synthetic.audience import HONEST, Attack, draw_actions, draw_plays, viewers
from models.synthetic.authors import draw_profile
from schemas.events import AuthorProfile, EngagementAction
from schemas.manifest import ManifestRow

AT_ONCE = 256  # videos: what is drawn and not sent yet must fit into memory


@dataclass(frozen=True, slots=True)
class Audience:
    """Who watches. Equal seeds give equal actions; a dataset's own seed those of its signals.jsonl. most_plays:
    honest viewers of a video at most."""

    seed: int = 1
    most_plays: int | None = None
    attack: Attack = HONEST


def profiles_of(rows: Iterable[ManifestRow]) -> list[AuthorProfile]:
    """The profiles of the rows' authors, as they were when each video was published; an author's in order of time."""
    found = {}
    for row in rows:
        profile = draw_profile(row.author_id, row.published_at)
        found[profile.author_id, profile.seq] = profile
    return [found[key] for key in sorted(found)]


def actions_of(rows: Sequence[ManifestRow], audience: Audience) -> Iterator[EngagementAction]:
    """What viewers do, as if all videos were published at once: the order is that of an action's time since its
    video's publishing. So it goes for AT_ONCE videos, then for the next."""
    for first in range(0, len(rows), AT_ONCE):
        drawn = (_aged(row, audience) for row in rows[first : first + AT_ONCE])
        for _, action in heapq.merge(*drawn, key=lambda aged: aged[0]):
            yield action


def plays_of(rows: Iterable[ManifestRow], audience: Audience) -> int:
    """How many plays actions_of() gives."""
    return sum(viewers(_honest_plays(row, audience), audience.attack) for row in rows)


def _aged(row: ManifestRow, audience: Audience) -> Iterator[tuple[timedelta, EngagementAction]]:
    actions = draw_actions(audience.seed, row, _honest_plays(row, audience), attack=audience.attack)
    return ((action.occurred_at - row.published_at, action) for action in actions)


def _honest_plays(row: ManifestRow, audience: Audience) -> int:
    drawn = draw_plays(audience.seed, row)
    return drawn if audience.most_plays is None else min(drawn, audience.most_plays)

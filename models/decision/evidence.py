"""From events to evidence, and evidence as the JSON that is stored beside a decision. Pure.

Categories come from outside: a level-1 id is taken as it is, a level-2 id as its parent, any other is passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from models.decision.types import AuthorEvidence, EngagementEvidence, FloatArray
from schemas.events import AuthorProfile, EngagementSnapshot


class HistoryRow(NamedTuple):
    """An earlier video of an author: what people said of level 1, else its content-only probabilities [C1].

    Never what signals moved, or the system would learn from its own echo.
    """

    video_id: str
    revision: int
    published_at: datetime
    content: FloatArray | None
    human: int | None = None  # level-1 index


def history_of(rows: Iterable[HistoryRow], n_level1: int, *, video_id: str, before: datetime) -> FloatArray | None:
    """[C1] soft counts over the author's videos published before `before`, without `video_id`; None without any.

    Each video counts once, by its newest revision. The order of rows does not matter, to the last bit.
    """
    newest: dict[str, HistoryRow] = {}
    for row in rows:
        if row.video_id != video_id and row.published_at < before:
            held = newest.get(row.video_id)
            if held is None or held.revision < row.revision:
                newest[row.video_id] = row
    counts = np.zeros(n_level1)
    for _, row in sorted(newest.items()):
        if row.human is not None:
            counts[row.human] += 1.0
        elif row.content is not None:
            counts += row.content
    return counts.astype(np.float32) if counts.any() else None


def author_evidence(
    profile: AuthorProfile | None, history: ArrayLike | None, level1: Sequence[str]
) -> AuthorEvidence | None:
    """What is known of an author: None where nothing could be weighed. history: [C1] counts; level1: ids in order."""
    counts = None if history is None else np.asarray(history, dtype=np.float32)
    if counts is not None and not counts.any():
        counts = None
    if profile is None:
        return author_known(None, (), None, counts, level1)
    interests = [(each.category, each.weight) for each in profile.interests]
    return author_known(profile.main_vertical, interests, profile.verified, counts, level1)


def author_known(
    main_vertical: str | None,
    interests: Sequence[tuple[str, float]],
    verified: bool | None,
    history: FloatArray | None,
    level1: Sequence[str],
) -> AuthorEvidence | None:
    """author_evidence() from a profile's fields. history: [C1] counts that are not all 0."""
    places = _places(tuple(level1))
    main = None if main_vertical is None else _place(main_vertical, places)
    weights = _gathered(interests, places) if interests else ()
    if history is None and main is None and not weights:
        return None
    return AuthorEvidence(history_level1=history, main_vertical=main, interests=weights, verified=verified)


def engagement_evidence(snapshot: EngagementSnapshot, level1: Sequence[str]) -> EngagementEvidence | None:
    """How people behaved: None where nothing is known yet. level1: ids in order."""
    places = _places(tuple(level1))
    audience = _gathered(snapshot.audience.items(), places)
    if not (snapshot.plays or snapshot.reports or snapshot.top_comments or audience):
        return None
    return EngagementEvidence(
        plays=snapshot.plays,
        completion_rate=snapshot.completion_rate,
        audience=audience,
        top_comments=snapshot.top_comments,
        reports=snapshot.reports,
    )


def evidence_json(
    author: AuthorEvidence | None, engagement: EngagementEvidence | None, level1: Sequence[str]
) -> dict[str, Any]:
    """The values a decision used, as plain data with category ids. null is "none was there"."""
    return {
        "author": None if author is None else _author_json(author, level1),
        "engagement": None if engagement is None else _engagement_json(engagement, level1),
    }


def evidence_from_json(
    stored: Mapping[str, Any], level1: Sequence[str]
) -> tuple[AuthorEvidence | None, EngagementEvidence | None]:
    """What evidence_json() gave, bit for bit. Fields and categories that are not known are passed over."""
    places = _places(tuple(level1))
    author, engagement = stored.get("author"), stored.get("engagement")
    return (
        None if author is None else _author_from(author, places),
        None if engagement is None else _engagement_from(engagement, places),
    )


@lru_cache(maxsize=16)
def _places(level1: tuple[str, ...]) -> Mapping[str, int]:
    return {name: place for place, name in enumerate(level1)}


def _author_json(author: AuthorEvidence, level1: Sequence[str]) -> dict[str, Any]:
    history = author.history_level1
    return {
        "history": None if history is None else _named(enumerate(history.tolist()), level1),
        "main_vertical": None if author.main_vertical is None else level1[author.main_vertical],
        "interests": _named(author.interests, level1),
        "verified": author.verified,
    }


def _engagement_json(engagement: EngagementEvidence, level1: Sequence[str]) -> dict[str, Any]:
    return {
        "plays": engagement.plays,
        "completion_rate": engagement.completion_rate,
        "audience": _named(engagement.audience, level1),
        "top_comments": list(engagement.top_comments),
        "reports": engagement.reports,
    }


def _author_from(stored: Mapping[str, Any], places: Mapping[str, int]) -> AuthorEvidence:
    named = stored.get("history")
    history = None
    if named is not None:
        history = np.zeros(len(places), dtype=np.float32)
        for place, count in _gathered(named.items(), places):
            history[place] = count
    main = stored.get("main_vertical")
    return AuthorEvidence(
        history_level1=history,
        main_vertical=None if main is None else _place(main, places),
        interests=_gathered(stored.get("interests", {}).items(), places),
        verified=stored.get("verified"),
    )


def _engagement_from(stored: Mapping[str, Any], places: Mapping[str, int]) -> EngagementEvidence:
    return EngagementEvidence(
        plays=stored.get("plays", 0),
        completion_rate=stored.get("completion_rate"),
        audience=_gathered(stored.get("audience", {}).items(), places),
        top_comments=tuple(stored.get("top_comments", ())),
        reports=stored.get("reports", 0),
    )


def _named(values: Iterable[tuple[int, float]], level1: Sequence[str]) -> dict[str, float]:
    return {level1[place]: value for place, value in values if value > 0.0}


def _gathered(values: Iterable[tuple[str, float]], places: Mapping[str, int]) -> tuple[tuple[int, float], ...]:
    """Positive values by level-1 index, rising; those of one class are added up."""
    sums: dict[int, float] = {}
    for category, value in values:
        place = _place(category, places)
        if place is not None and value > 0.0:
            sums[place] = sums.get(place, 0.0) + value
    return tuple(sorted(sums.items()))


def _place(category: str, places: Mapping[str, int]) -> int | None:
    """A level-2 id begins with its parent's."""
    while category not in places:
        category, dot, _ = category.rpartition(".")
        if not dot:
            return None
    return places[category]

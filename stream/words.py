"""What is stored of videos, said in words for people. Pure; whatever comes out is safe to print."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.taxonomy import Taxonomy

MOST = 3  # classes, or comments, that are named
COMMENT_LENGTH = 60

# What turns the direction of writing: with it a title could show its neighbours backwards.
_BIDIRECTIONAL = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})


def visible(text: str, limit: int | None = None) -> str:
    """The text on one line, with everything spelt out that would steer a terminal; cut to `limit` characters."""
    line = " ".join(text.split())
    if limit is not None and len(line) > limit:
        line = line[: limit - 1] + "…"
    return "".join(_spelt(character) for character in line)


def _spelt(character: str) -> str:
    if character in _BIDIRECTIONAL or unicodedata.category(character) in _UNPRINTABLE:
        return character.encode("unicode_escape").decode()
    return character


def named(category_id: str | None, taxonomy: Taxonomy | None) -> str:
    """A category as people know it: both names and the id, or the id alone where the taxonomy has none such."""
    if category_id is None:
        return "nothing"
    if taxonomy is not None:
        place, place2 = taxonomy.level1_index.get(category_id), taxonomy.level2_index.get(category_id)
        found = taxonomy.level1[place] if place is not None else taxonomy.level2[place2] if place2 is not None else None
        if found is not None:
            return f"{found.zh} {found.en} ({found.id})"
    return visible(category_id)


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def instant(moment: datetime) -> str:
    """To the second, in UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def span(time: timedelta) -> str:
    """A length of time in its largest unit: '3 d', '5 h', '12 min', '40 s'; less than nothing with a minus."""
    seconds = abs(time.total_seconds())
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    unit, size = next((each for each in units if seconds >= 2 * each[1]), units[-1])
    return f"{'-' if time < timedelta(0) else ''}{seconds // size:.0f} {unit}"


def author_words(author: Mapping[str, Any] | None) -> str:
    """What a decision, or a reviewer, saw of the author: `author` of models.decision.evidence.evidence_json()."""
    if not author:
        return "nothing known"
    parts = []
    if history := author.get("history"):
        total = sum(history.values())
        parts.append(f"about {total:.0f} earlier videos: {_shares(history, total)}")
    if main := author.get("main_vertical"):
        parts.append(f"main vertical {visible(main)}")
    if interests := author.get("interests"):
        parts.append(f"interested in {_shares(interests, sum(interests.values()))}")
    if author.get("verified"):
        parts.append("verified")
    return "; ".join(parts) or "nothing known"


def engagement_words(engagement: Mapping[str, Any] | None) -> str:
    """What a decision, or a reviewer, saw of the audience: `engagement` of evidence_json()."""
    if not engagement:
        return "nothing known"
    parts = [f"{engagement.get('plays', 0):,} plays"]
    if (completion := engagement.get("completion_rate")) is not None:
        parts.append(f"completion {percent(completion)}")
    if audience := engagement.get("audience"):
        parts.append(f"audience {_shares(audience, 1.0)}")
    if reports := engagement.get("reports"):
        parts.append(f"{reports:,} reports")
    if comments := engagement.get("top_comments"):
        parts.append(f"comments {_quoted(comments)}")
    return "; ".join(parts)


def _shares(values: Mapping[str, float], total: float) -> str:
    """The largest classes with their share of `total`."""
    largest = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    told = ", ".join(f"{visible(name)} {percent(value / total)}" for name, value in largest[:MOST])
    return told + (f" and {len(largest) - MOST} more" if len(largest) > MOST else "")


def _quoted(comments: Sequence[str]) -> str:
    told = ", ".join(f"“{visible(comment, COMMENT_LENGTH)}”" for comment in comments[:MOST])
    return told + (f" and {len(comments) - MOST} more" if len(comments) > MOST else "")

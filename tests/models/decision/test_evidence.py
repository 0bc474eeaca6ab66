from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.decision.evidence import (
    HistoryRow,
    author_evidence,
    engagement_evidence,
    evidence_from_json,
    evidence_json,
    history_of,
)
from models.decision.types import AuthorEvidence, EngagementEvidence
from schemas.events import AuthorProfile, EngagementSnapshot, InterestWeight
from tests.models.decision.signal_cases import authors, engagements

LEVEL1 = ("food", "sports", "music", "night.life")
NOW = datetime(2026, 1, 10, tzinfo=UTC)


def plain(evidence: AuthorEvidence | EngagementEvidence | None) -> Any:
    """Comparable: arrays as lists."""
    if evidence is None:
        return None
    return {name: each.tolist() if isinstance(each, np.ndarray) else each for name, each in evidence._asdict().items()}


@given(st.none() | authors(len(LEVEL1)), st.none() | engagements(len(LEVEL1)))
def test_evidence_comes_back_from_json_bit_for_bit(
    author: AuthorEvidence | None, engagement: EngagementEvidence | None
) -> None:
    stored = json.loads(json.dumps(evidence_json(author, engagement, LEVEL1), allow_nan=False))
    again = evidence_from_json(stored, LEVEL1)
    assert [plain(each) for each in again] == [plain(author), plain(engagement)]


def test_stored_evidence_names_categories_and_survives_another_taxonomy() -> None:
    author = AuthorEvidence(np.array([0.5, 2.0, 0.0, 0.0], np.float32), main_vertical=1, interests=((0, 0.25),))
    engagement = EngagementEvidence(50, None, ((1, 0.5), (3, 0.5)), ("好吃",), 2)
    stored = evidence_json(author, engagement, LEVEL1)
    assert stored["author"]["main_vertical"] == "sports"
    assert stored["author"]["history"] == {"food": 0.5, "sports": 2.0}
    assert stored["engagement"]["audience"] == {"sports": 0.5, "night.life": 0.5}
    stored["author"]["mood"] = "good"
    fewer = evidence_from_json(stored, ("food", "music"))
    assert plain(fewer[0]) | {"verified": None} == {
        "history_level1": [0.5, 0.0],
        "main_vertical": None,
        "interests": ((0, 0.25),),
        "verified": None,
    }
    assert fewer[1] == EngagementEvidence(50, None, (), ("好吃",), 2)


@pytest.mark.parametrize("stored", [{}, {"author": None, "engagement": None}])
def test_stored_nothing_is_nothing(stored: dict[str, Any]) -> None:
    assert evidence_from_json(stored, LEVEL1) == (None, None)
    assert evidence_json(None, None, LEVEL1) == {"author": None, "engagement": None}


@pytest.mark.parametrize("stored", [{"author": {}, "engagement": {}}])
def test_stored_evidence_without_a_field_has_it_missing(stored: dict[str, Any]) -> None:
    assert evidence_from_json(stored, LEVEL1) == (AuthorEvidence(), EngagementEvidence(plays=0))


def profile(**fields: Any) -> AuthorProfile:
    return AuthorProfile(author_id="a", seq=1, updated_at=NOW, **fields)


def test_a_profile_becomes_evidence_by_level1_whatever_level_it_names() -> None:
    interests = tuple(
        InterestWeight(category=category, weight=weight)
        for category, weight in (("sports.football", 1.0), ("sports", 0.5), ("knitting", 3.0), ("food", -1.0))
    )
    known = author_evidence(
        profile(main_vertical="night.life.bars", interests=interests, verified=True), [0.0, 1.5, 0.0, 0.0], LEVEL1
    )
    assert plain(known) == {
        "history_level1": [0.0, 1.5, 0.0, 0.0],
        "main_vertical": 3,
        "interests": ((1, 1.5),),
        "verified": True,
    }


@pytest.mark.parametrize("unknown", [None, profile(), profile(main_vertical="knitting", verified=True)])
def test_an_author_of_whom_nothing_counts_is_no_evidence(unknown: AuthorProfile | None) -> None:
    assert author_evidence(unknown, None, LEVEL1) is None
    assert author_evidence(unknown, np.zeros(4), LEVEL1) is None


def snapshot(**fields: Any) -> EngagementSnapshot:
    return EngagementSnapshot(video_id="v", seq=1, window_end=NOW, **fields)


def test_a_snapshot_becomes_evidence() -> None:
    known = engagement_evidence(
        snapshot(
            plays=20,
            completion_rate=0.5,
            audience={"food.cooking": 0.25, "food": 0.25, "knitting": 0.5},
            top_comments=("a", "b"),
            reports=3,
        ),
        LEVEL1,
    )
    assert known == EngagementEvidence(20, 0.5, ((0, 0.5),), ("a", "b"), 3)
    assert engagement_evidence(snapshot(likes=3), LEVEL1) is None
    assert engagement_evidence(snapshot(reports=1), LEVEL1) == EngagementEvidence(plays=0, reports=1)


def row(video_id: str, days: int, *, revision: int = 0, human: int | None = None) -> HistoryRow:
    content = np.array([0.7, 0.1, 0.1, 0.1], np.float32)
    return HistoryRow(video_id, revision, NOW - timedelta(days=days), content, human)


def test_history_is_of_earlier_videos_each_once_people_first() -> None:
    rows = [
        row("old", 3),
        row("labelled", 2, human=1),
        row("itself", 1),
        row("later", -1),
        row("edited", 5, human=2),
        row("edited", 1, revision=1),
    ]
    counts = history_of(rows, 4, video_id="itself", before=NOW)
    assert counts is not None
    np.testing.assert_allclose(counts, [1.4, 1.2, 0.2, 0.2], rtol=1e-6)
    assert history_of(rows[2:4], 4, video_id="itself", before=NOW) is None


@given(st.permutations([row(f"v{n}", n, human=n % 4 if n % 3 else None) for n in range(8)]))
def test_the_order_in_which_a_history_is_read_does_not_matter(rows: list[HistoryRow]) -> None:
    counts = history_of(rows, 4, video_id="x", before=NOW)
    expected = history_of(sorted(rows), 4, video_id="x", before=NOW)
    assert counts is not None
    assert expected is not None
    assert counts.tobytes() == expected.tobytes()

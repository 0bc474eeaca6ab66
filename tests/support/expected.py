"""What the stub model's videos are to end as, worked out without the store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from models.decision.decide import decide
from models.decision.evidence import author_evidence, engagement_evidence
from models.decision.types import ContentEvidence, Decision, Evidence, Route
from schemas.events import AuthorProfile, EngagementSnapshot, VideoPublished
from stream.classify.stub import LEVEL1, StubAnalyzer, stub_model
from stream.store.signals import PROFILE_WINDOW

_ANALYZER, _MODEL = StubAnalyzer(), stub_model()


class Published(NamedTuple):
    """What is in force of a video: its route, its public categories, and whether people have it before them."""

    route: str
    level1: str | None
    level2: str | None
    asked: bool


def alone(video: VideoPublished, **evidence: Any) -> Decision:
    """What decide() says of the stub's logits and this evidence."""
    said = _ANALYZER._analyse(video)
    content = ContentEvidence(said.level1_logits, said.level2_logits)
    return decide(Evidence(video.video_id, video.revision, content, **evidence), _MODEL.policy)


def final(
    video: VideoPublished, profiles: Iterable[AuthorProfile], snapshots: Iterable[EngagementSnapshot]
) -> Decision:
    """What the newest evidence of all says, by a rule of its own: the highest seq, the most plays.

    profiles are of its author, snapshots of its revision.
    """
    known = [each for each in profiles if each.updated_at <= video.published_at + PROFILE_WINDOW]
    newest = max(known, key=lambda each: each.seq, default=None)
    largest = max(snapshots, key=lambda each: (each.plays, each.seq), default=None)
    return alone(
        video,
        author=author_evidence(newest, None, LEVEL1),
        engagement=None if largest is None else engagement_evidence(largest, LEVEL1),
    )


def published(decision: Decision) -> Published:
    return Published(
        decision.route.value,
        None if decision.route is Route.REVIEW else _MODEL.level1[decision.level1],
        _MODEL.level2[decision.level2] if decision.route is Route.ACCEPT else None,
        decision.route is Route.REVIEW or decision.audit,
    )


IN_FORCE = """
SELECT c.video_id, d.route, c.level1, c.level2,
       EXISTS (SELECT FROM review_tasks t WHERE t.video_id = c.video_id AND t.state = 'open')
  FROM current_labels c JOIN decisions d USING (video_id, decision_id)
"""
"""The columns of Published, by video_id."""

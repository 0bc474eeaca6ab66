"""Any valid event, field by field as the contract says."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hypothesis import strategies as st

from schemas.events import (
    BIGINT_MAX,
    INT_MAX,
    AuthorProfile,
    Candidate,
    EngagementAction,
    EngagementSnapshot,
    Event,
    InterestWeight,
    LabelDecided,
    LabelStatus,
    ReviewDecided,
    ReviewRequested,
    ReviewWithdrawn,
    Trigger,
    VideoPublished,
    VideoRemoved,
)

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
key = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)
revision = st.integers(0, INT_MAX)
count = st.integers(0, BIGINT_MAX)
share = st.floats(0, 1)
seconds = st.floats(0, 1e7)
finite = st.floats(allow_nan=False, allow_infinity=False)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instant = st.datetimes(datetime(1970, 1, 2), datetime(2999, 12, 30), timezones=zones)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-BIGINT_MAX, BIGINT_MAX) | finite | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)


def tuples(of: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(of, max_size=3).map(tuple)


candidates = tuples(st.builds(Candidate, level2=key, probability=share))
video = {"video_id": key, "revision": revision, "author_id": key, "published_at": instant}
answer = {"level1": st.none() | key, "level2": st.none() | key, "confidence": st.none() | share, "top_k": candidates}
made_by = {"taxonomy_id": key, "encoder_id": key, "policy_id": key, "model_id": key}

EVENTS: dict[type[Event], st.SearchStrategy[Event]] = {
    VideoPublished: st.builds(
        VideoPublished,
        **video,
        media_uri=key,
        title=text,
        ocr=tuples(text),
        asr=text,
        tags=tuples(text),
        language=text,
        duration_s=st.none() | seconds,
        content_sha256=st.none() | st.text("0123456789abcdef", min_size=64, max_size=64),
    ),
    VideoRemoved: st.builds(VideoRemoved, video_id=key, reason=text, removed_at=instant),
    LabelDecided: st.builds(
        LabelDecided,
        **video,
        **answer,
        **made_by,
        decision_id=st.uuids(),
        label_revision=count,
        status=st.sampled_from(LabelStatus),
        threshold=st.none() | finite,
        source=st.sampled_from(["model", "human"]),
        trigger=st.sampled_from(Trigger),
        evidence=st.dictionaries(text, plain, max_size=3),
        reasons=tuples(key),
        decided_at=instant,
    ),
    ReviewRequested: st.builds(
        ReviewRequested,
        **video,
        **answer,
        task_id=st.uuids(),
        decision_id=st.uuids(),
        model_id=key,
        priority=finite,
        reasons=tuples(key),
        deadline_at=instant,
    ),
    ReviewWithdrawn: st.builds(ReviewWithdrawn, task_id=st.uuids(), video_id=key, why=text),
    ReviewDecided: st.builds(
        ReviewDecided,
        task_id=st.uuids(),
        video_id=key,
        level1=st.none() | key,
        level2=st.none() | key,
        reviewer=key,
        verdict=st.sampled_from(["confirm", "correct", "escalate", "skip"]),
        seconds_spent=st.none() | seconds,
        note=text,
    ),
    AuthorProfile: st.builds(
        AuthorProfile,
        author_id=key,
        seq=count,
        main_vertical=st.none() | key,
        interests=tuples(st.builds(InterestWeight, category=key, weight=finite)),
        verified=st.booleans(),
        certification=st.none() | text,
        followers=st.none() | count,
        updated_at=instant,
    ),
    EngagementAction: st.builds(
        EngagementAction,
        action_id=key,
        video_id=key,
        revision=revision,
        author_id=key,
        kind=st.sampled_from(["play", "like", "comment", "share", "follow", "report"]),
        watched_s=st.none() | seconds,
        duration_s=st.none() | seconds,
        comment_text=st.none() | text,
        viewer_vertical=st.none() | key,
        occurred_at=instant,
    ),
    EngagementSnapshot: st.builds(
        EngagementSnapshot,
        video_id=key,
        revision=revision,
        seq=count,
        plays=count,
        likes=count,
        comments=count,
        shares=count,
        reports=count,
        completion_rate=st.none() | share,
        mean_watch_s=st.none() | seconds,
        audience=st.dictionaries(key, share, max_size=3),
        top_comments=tuples(text),
        window_end=instant,
    ),
}

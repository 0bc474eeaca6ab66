"""Ids never change: what was written by one version is recognised by every later one."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from schemas.ids import (
    SHARDS,
    decision_bytes,
    decision_id,
    event_id,
    event_id_text,
    shard_of,
    task_bytes,
    task_id,
    text_of,
)
from tests.schemas.strategies import key

DECISION = decision_id("v1", 3, "model-a", "", "publish")


def test_ids_are_those_of_the_first_version() -> None:
    assert UUID("31579f29-fc4d-5cdc-8288-529089f75d95") == DECISION
    assert decision_id("v1", 3, "model-a", "", "engagement", 9) == UUID("e061841c-56e0-5e74-bdd6-3a91da0419af")
    assert task_id(DECISION) == UUID("67f2f9da-8679-5693-b045-006a0f0e6d2a")
    assert event_id("reelsort.label.decided.v1", DECISION) == UUID("181607f8-2aa2-59ef-8964-56827836f2d6")
    assert [shard_of(each) for each in ("v1", "v2", "视频")] == [53, 15, 59]


def test_every_part_of_a_decision_counts() -> None:
    others = [
        decision_id("v2", 3, "model-a", "", "publish"),
        decision_id("v1", 4, "model-a", "", "publish"),
        decision_id("v1", 3, "model-b", "", "publish"),
        decision_id("v1", 3, "model-a", "run", "publish"),
        decision_id("v1", 3, "model-a", "", "replay"),
        decision_id("v1", 3, "model-a", "", "publish", 1),
        decision_id("v1", 3, "model-a", "", "publish", 2),
    ]
    assert len({DECISION, *others}) == len(others) + 1


@given(parts=st.lists(st.text("1:,ab", max_size=6), min_size=4, max_size=4), cut=st.integers(0, 6))
def test_text_never_slips_from_one_part_into_the_next(parts: list[str], cut: int) -> None:
    video, model, run, trigger = parts
    moved = (video + model[:cut], model[cut:])
    same = moved == (video, model)
    assert (decision_id(video, 0, model, run, trigger) == decision_id(moved[0], 0, moved[1], run, trigger)) is same


def test_a_task_its_decision_and_their_events_have_different_ids() -> None:
    task = task_id(DECISION)
    events = {event_id(kind, cause) for kind in ("requested", "withdrawn") for cause in (DECISION, task)}
    assert len(events | {DECISION, task}) == 6


@given(key)
def test_every_video_has_one_of_64_shards(video_id: str) -> None:
    assert 0 <= shard_of(video_id) < SHARDS == 64


def test_shards_are_even() -> None:
    counts = [0] * SHARDS
    for number in range(64_000):
        counts[shard_of(f"video-{number}")] += 1
    assert 800 < min(counts) <= max(counts) < 1200


@given(key, st.integers(0, 2**31 - 1), st.none() | st.integers(0, 2**31 - 1))
def test_the_quick_forms_are_the_same_ids(video_id: str, revision: int, label_revision: int | None) -> None:
    decision = decision_id(video_id, revision, "model-a", "", "publish", label_revision)
    assert decision_bytes(video_id, revision, "model-a", "", "publish", label_revision) == decision.bytes
    assert task_bytes(decision.bytes) == task_id(decision).bytes
    assert text_of(decision.bytes) == str(decision)
    assert event_id_text("reelsort.label.decided.v1", decision.bytes) == str(
        event_id("reelsort.label.decided.v1", decision)
    )

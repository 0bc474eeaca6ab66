"""What the demo claims, computed from what table and topic say. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Stored:
    """One published video as Postgres has it. Counts are rows; labels are the model's best answers."""

    video_id: str
    predictions: int
    publish_decisions: int
    labels: int
    label_revision: int | None
    route: str | None
    audit: bool
    level1: str | None
    level2: str | None
    dead: int


@dataclass(frozen=True, slots=True)
class Announced:
    """One record of video.labels.v1 or video.review.v1."""

    video_id: str
    ce_id: str
    timestamp_ms: int
    label_revision: int | None = None


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The one JSON document of `reelsort demo --format json`."""

    published: int
    decided: int
    labelled: int
    accepted: int
    accepted_level1: int
    to_review: int
    audited: int
    dead: int
    lost: int
    duplicates: int
    videos_per_s: float
    latency_p50_ms: float
    latency_p99_ms: float
    accuracy_level1: float | None
    accuracy_level2: float | None
    accepted_accuracy_level1: float | None
    accepted_accuracy_level2: float | None
    seconds: float
    violations: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not (self.lost or self.duplicates or self.violations)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def summarise(
    published_ms: Mapping[str, int],
    stored: Sequence[Stored],
    label_events: Sequence[Announced],
    review_events: Sequence[Announced],
    truth: Mapping[str, tuple[str, str]],
) -> DemoReport:
    """Hold tables and topics against what was published.

    published_ms: video_id -> when its event was sent (ms since the epoch). truth: video_id -> (level 1, level 2) where
    known. A video is lost if it is neither labelled and announced nor a dead letter, and doubled if any effect of it
    exists twice.
    """
    by_id = {row.video_id: row for row in stored}
    announced = _by_video(label_events)
    reviewed = _by_video(review_events)
    violations: list[str] = []
    lost = duplicates = 0
    for video_id in published_ms:
        row = by_id.get(video_id)
        finished = row is not None and row.labels == 1 and video_id in announced
        if not finished and not (row and row.dead):
            lost += 1
        if row is None:
            continue
        ids = {event.ce_id for event in announced.get(video_id, ())}
        effects = (row.predictions, row.publish_decisions, row.labels, row.dead, len(ids))
        if max(effects) > 1:
            duplicates += 1
        violations += _broken_promises(row, announced.get(video_id, ()), reviewed.get(video_id, ()))
    return _figures(published_ms, by_id, announced, truth, lost, duplicates, violations)


def _by_video(events: Sequence[Announced]) -> dict[str, list[Announced]]:
    grouped: dict[str, list[Announced]] = {}
    for event in events:
        grouped.setdefault(event.video_id, []).append(event)
    return grouped


def _broken_promises(row: Stored, labels: Sequence[Announced], reviews: Sequence[Announced]) -> list[str]:
    broken = []
    if row.dead:
        if row.publish_decisions:
            broken.append(f"{row.video_id}: decided and dead-lettered")
        return broken
    if (row.predictions, row.publish_decisions, row.labels) != (1, 1, 1):
        broken.append(
            f"{row.video_id}: {row.predictions} predictions, {row.publish_decisions} publish decisions, "
            f"{row.labels} labels in force instead of one each"
        )
    if labels and max(event.label_revision or 0 for event in labels) != row.label_revision:
        broken.append(f"{row.video_id}: the newest announced label is not the one in force")
    wanted = row.route == "review" or row.audit
    if bool(reviews) != wanted:
        broken.append(f"{row.video_id}: review requested: {bool(reviews)}, routed or audited: {wanted}")
    return broken


def _figures(
    published_ms: Mapping[str, int],
    by_id: Mapping[str, Stored],
    announced: Mapping[str, Sequence[Announced]],
    truth: Mapping[str, tuple[str, str]],
    lost: int,
    duplicates: int,
    violations: list[str],
) -> DemoReport:
    rows = [by_id[video_id] for video_id in published_ms if video_id in by_id]
    decided = [row for row in rows if row.publish_decisions]
    routes = Counter(row.route for row in decided)
    first_seen = {
        video_id: min(event.timestamp_ms for event in announced[video_id])
        for video_id in published_ms
        if video_id in announced
    }
    latencies = sorted(float(first_seen[video_id] - published_ms[video_id]) for video_id in first_seen)
    seconds = (max(first_seen.values()) - min(published_ms.values())) / 1000 if first_seen else 0.0
    known = [row for row in decided if row.video_id in truth]
    accepted = [row for row in known if row.route == "accept"]
    return DemoReport(
        published=len(published_ms),
        decided=len(decided),
        labelled=sum(row.labels > 0 and not row.dead for row in rows),
        accepted=routes["accept"],
        accepted_level1=routes["accept_level1"],
        to_review=routes["review"],
        audited=sum(row.audit for row in decided),
        dead=sum(row.dead > 0 for row in rows),
        lost=lost,
        duplicates=duplicates,
        videos_per_s=round(len(first_seen) / seconds, 2) if seconds > 0 else 0.0,
        latency_p50_ms=_quantile(latencies, 0.50),
        latency_p99_ms=_quantile(latencies, 0.99),
        accuracy_level1=_share([row.level1 == truth[row.video_id][0] for row in known]),
        accuracy_level2=_share([row.level2 == truth[row.video_id][1] for row in known]),
        accepted_accuracy_level1=_share([row.level1 == truth[row.video_id][0] for row in accepted]),
        accepted_accuracy_level2=_share([row.level2 == truth[row.video_id][1] for row in accepted]),
        seconds=round(seconds, 3),
        violations=violations,
    )


def _quantile(ascending: Sequence[float], q: float) -> float:
    """Nearest-rank quantile: the smallest value with at least a share q of all at or below it."""
    if not ascending:
        return 0.0
    return ascending[max(0, math.ceil(q * len(ascending)) - 1)]


def _share(hits: Sequence[bool]) -> float | None:
    return round(sum(hits) / len(hits), 4) if hits else None

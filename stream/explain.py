"""Why a video is labelled as it is: its whole history, put together from stored rows. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.decision.probabilities import hierarchical
from stream.store.history import History, Row
from stream.store.work import LiveModel
from stream.words import instant

Plain = dict[str, Any]


def explanation(history: History, model: LiveModel | None) -> Plain:
    """The history as plain data: what `reelsort explain --format json` prints.

    model: the one at hand, which alone can say what a stored prediction means; None where there is none.
    """
    return {
        "video_id": history.video_id,
        "standing": standing(history),
        "published": _published(history),
        "predictions": [_prediction(row, model) for row in history.predictions],
        "decisions": [_decision(row, history) for row in history.decisions],
        "tasks": _tasks(history),
        "label": None if history.label is None else _without(history.label, "video_id"),
        "known": history.known,
        "pending": [_pending(row) for row in history.pending],
        "dead_letters": [_letter(row) for row in history.letters],
    }


def standing(history: History) -> str:
    """What has become of the video, in a sentence."""
    video, label = history.video, history.label
    open_letters = [row for row in history.letters if row["redriven_at"] is None]
    died = f"dead letter {open_letters[-1]['id']}: {open_letters[-1]['code']}" if open_letters else ""
    if video is None:
        if died:
            return f"nothing of it could be stored: {died}"
        return "it is on its way round again" if history.letters else "nothing is known of it"
    removed_at = video["removed_at"]
    if video["revision"] < 0:
        if removed_at is not None:
            return f"it was removed at {instant(removed_at)}, before it was seen to be published"
        return "it is remembered because people watched it, and was not seen to be published yet"
    if removed_at is not None:
        return f"it was removed at {instant(removed_at)}; what was derived from it is gone"
    if label is None:
        return f"it has no label: {died}" if died else "it was published and is not decided yet"
    told = {
        "labelled": f"{label['level2']} is in force",
        "labelled_level1": f"{label['level1']} is in force, its level 2 is withheld",
        "in_review": "people are to decide",
    }.get(label["status"], f"its label is {label['status']}")
    whose = "a reviewer said so" if label["source"] == "human" else "the model said so"
    by = f", {whose}" if label["level1"] else ""
    late = f"; of revision {video['revision']} there is none" if label["revision"] < video["revision"] else ""
    return f"{told}{by}; label revision {label['label_revision']}{late}{f'; {died}' if died else ''}"


def content_top_k(prediction: Row, model: LiveModel) -> list[tuple[str, float]] | None:
    """The best level-2 categories by a stored prediction alone, with their probabilities; None where another encoder
    made it."""
    if prediction["encoder_id"] != model.encoder_id:
        return None
    level1, level2 = (np.frombuffer(prediction[name], "<f4")[None] for name in ("level1_logits", "level2_logits"))
    shares = hierarchical(level1, level2, model.policy).level2[0]
    best = np.argsort(-shares, kind="stable")[: model.policy.top_k]
    return [(model.level2[place], float(shares[place])) for place in best]


def _published(history: History) -> Plain | None:
    """The newest revision; of earlier ones it is known only that they were."""
    video = history.video
    if video is None:
        return None
    tables: Sequence[Sequence[Row]] = (history.predictions, history.decisions)
    others = {row["revision"] for rows in tables for row in rows} - {video["revision"]}
    return _without(video, "payload", "video_id") | dict(video["payload"]) | {"other_revisions": sorted(others)}


def _prediction(row: Row, model: LiveModel | None) -> Plain:
    best = None if model is None else content_top_k(row, model)
    return _without(row, "level1_logits", "level2_logits") | {
        "content_top_k": None if best is None else [{"level2": name, "probability": share} for name, share in best]
    }


def _decision(row: Row, history: History) -> Plain:
    evidence: Mapping[str, Any] = row["evidence"]
    label = history.label
    moved = sorted(evidence.get("contributions", {}).items(), key=lambda item: (-abs(item[1]), item[0]))
    return _without(row, "video_id", "evidence") | {
        "in_force": label is not None and label["status"] != "withdrawn" and row["decision_id"] == label["decision_id"],
        "saw": {"author": evidence.get("author"), "engagement": evidence.get("engagement")},
        "moved": evidence.get("moved", False),
        "contributions": [{"signal": signal, "log_odds": gain} for signal, gain in moved],
        "without_signals": evidence.get("content"),
    }


def _tasks(history: History) -> list[Plain]:
    said: dict[Any, list[Plain]] = defaultdict(list)
    for row in history.reviews:
        said[row["task_id"]].append(_without(row, "video_id", "task_id"))
    return [_without(row, "video_id") | {"reviews": said[row["task_id"]]} for row in history.tasks]


def _pending(row: Row) -> Plain:
    return {
        "topic": row["topic"],
        "type": row["headers"].get("ce_type"),
        "available_at": row["available_at"],
    }


def _letter(row: Row) -> Plain:
    source = f"{row['source_topic']}[{row['source_partition']}]@{row['source_offset']}"
    return _without(row, "source_topic", "source_partition", "source_offset") | {"source": source}


def _without(row: Row, *names: str) -> Plain:
    return {name: value for name, value in row.items() if name not in names}

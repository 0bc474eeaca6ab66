"""`reelsort review export`: what people said comes back as what a signal head learns from, on a real Postgres."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from models.decision.evidence import author_evidence, engagement_evidence
from models.decision.types import Route
from models.training.signal_items import Item, read_decisions
from schemas.errors import ExitCode
from schemas.events import AuthorProfile, VideoPublished, VideoRemoved
from stream.classify.stub import LEVEL1, StubAnalyzer, stub_taxonomy
from stream.cli.main import run
from stream.store.transaction import write
from stream.store.work import Batch, LiveModel, Removal
from tests.stream.cli.test_review import doubtful, environment, li, sampled
from tests.stream.store.test_rescore import (
    RULES,
    alone,
    connection,
    model,
    observe,
    profile,
    publish,
    snapshot,
    source,
    video,
)

__all__ = ["connection", "environment", "li", "model"]  # fixtures

pytestmark = pytest.mark.stack

Connection = psycopg.Connection[Any]
Capture = pytest.CaptureFixture[str]


def exported(tmp_path: Path, capsys: Capture) -> tuple[list[Item], dict[str, int]]:
    """What the export says it holds is what it holds, read as `train-signals` reads it."""
    path = tmp_path / "decisions.jsonl"
    capsys.readouterr()
    assert run(["review", "export", str(path), "--format", "json"]) == ExitCode.OK
    report = json.loads(capsys.readouterr().out)
    items = read_decisions(path, stub_taxonomy())
    assert len(items) == report["written"]
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    return items, {why: count for why, count in report["left_out"].items() if count}


def say(each: VideoPublished, level2: str) -> None:
    assert run(["review", "decide", each.video_id, "--as", "li", "--level2", level2]) == ExitCode.OK


def remove(connection: Connection, model: LiveModel, each: VideoPublished) -> None:
    event = VideoRemoved(video_id=each.video_id, removed_at=datetime.now(UTC))
    write(connection, Batch.of([Removal(source(event), event)]), model, datetime.now(UTC), RULES.within)


def still_doubtful(author: AuthorProfile, plays: int, towards: int) -> VideoPublished:
    """A video of that author which such viewers leave as doubtful as it was."""
    for number in range(400):
        each = video(f"w{number}", author=author.author_id)
        seen = engagement_evidence(snapshot(each.video_id, plays, towards), LEVEL1)
        known = author_evidence(author, None, LEVEL1)
        if {alone(each).route, alone(each, author=known, engagement=seen).route} == {Route.REVIEW}:
            return each
    raise AssertionError("no such video")


def test_a_reviewed_label_comes_with_the_logits_and_the_evidence_of_its_decision_bit_for_bit(
    connection: Connection, model: LiveModel, li: str, tmp_path: Path, capsys: Capture
) -> None:
    bare, skipped = doubtful(connection, model, 2)
    author = profile("of signals", 1, 1)
    watched = still_doubtful(author, 7, 2)
    publish(connection, model, watched)
    observe(connection, model, author, snapshot(watched.video_id, 7, 2))
    say(watched, "stub_b.1")
    assert run(["review", "decide", bare.video_id, "--as", li, "--confirm"]) == ExitCode.OK
    assert run(["review", "decide", skipped.video_id, "--as", li, "--skip"]) == ExitCode.OK
    observe(connection, model, snapshot(watched.video_id, 4000, 3))  # later: the decision did not see it

    items, left_out = exported(tmp_path, capsys)
    assert left_out == {}
    assert [item.video_id for item in items] == sorted([watched.video_id, bare.video_id])
    by_id = {item.video_id: item for item in items}
    for each in (watched, bare):
        item, said = by_id[each.video_id], StubAnalyzer()._analyse(each)
        assert item.content.level1_logits.tobytes() == said.level1_logits.tobytes()
        assert item.content.level2_logits.tobytes() == said.level2_logits.tobytes()
    assert model.level2[by_id[watched.video_id].target] == "stub_b.1"
    assert by_id[watched.video_id].author == author_evidence(author, None, LEVEL1)
    assert by_id[watched.video_id].engagements == (engagement_evidence(snapshot(watched.video_id, 7, 2), LEVEL1),)
    assert (by_id[bare.video_id].author, by_id[bare.video_id].engagements) == (None, ())


def test_audit_samples_teach_nothing_even_where_people_are_asked_again_for_another_reason(
    connection: Connection, model: LiveModel, li: str, tmp_path: Path, capsys: Capture
) -> None:
    each = sampled(connection, model)
    say(each, "stub_b.1")
    assert exported(tmp_path, capsys) == ([], {"audit_sample": 1})
    connection.execute(
        "INSERT INTO review_tasks (video_id, task_id, revision, decision_id, reasons, priority, deadline_at)"
        " SELECT video_id, gen_random_uuid(), revision, decision_id, '{engagement_conflict}', 1, now()"
        "   FROM review_tasks"
    )
    say(each, "stub_c.2")
    assert exported(tmp_path, capsys) == ([], {"audit_sample": 1})


def test_only_labels_that_people_gave_and_nobody_took_back_are_exported(
    connection: Connection, model: LiveModel, li: str, tmp_path: Path, capsys: Capture
) -> None:
    undone, kept, removed, edited, _ = doubtful(connection, model, 5)
    accepted = next(v for n in range(400) if (d := alone(v := video(f"a{n}"))).route is Route.ACCEPT and not d.audit)
    publish(connection, model, accepted)
    for each in (undone, kept, removed, edited):
        say(each, "stub_c.3")
    assert run(["review", "undo", undone.video_id, "--as", li]) == ExitCode.OK
    remove(connection, model, removed)
    publish(connection, model, video(edited.video_id, revision=1))  # the model's word on the new revision is in force
    items, left_out = exported(tmp_path, capsys)
    assert [(item.video_id, model.level2[item.target]) for item in items] == [(kept.video_id, "stub_c.3")]
    assert left_out == {}


def test_what_teaches_nothing_is_counted_by_reason(
    connection: Connection, model: LiveModel, li: str, tmp_path: Path, capsys: Capture
) -> None:
    foreign, unread, coarse, whole = doubtful(connection, model, 4)
    for each in (foreign, unread, whole):
        say(each, "stub_a.0")
    assert run(["review", "decide", coarse.video_id, "--as", li, "--level1", "stub_d"]) == ExitCode.OK
    connection.execute("UPDATE current_labels SET taxonomy_id = 'tx-other' WHERE video_id = %s", [foreign.video_id])
    connection.execute("UPDATE predictions SET encoder_id = 'enc-other' WHERE video_id = %s", [unread.video_id])
    items, left_out = exported(tmp_path, capsys)
    assert [item.video_id for item in items] == [whole.video_id]
    assert left_out == {"other_taxonomy": 1, "level1_alone": 1, "no_logits": 1}
    path = tmp_path / "decisions.jsonl"
    assert run(["review", "export", str(path)]) == ExitCode.OK
    said = capsys.readouterr().out
    assert f"1 decisions in {path}" in said
    assert said.count("1 left out: ") == 3


def test_a_file_that_cannot_be_written_is_a_sentence_and_leaves_the_older_one(
    connection: Connection, model: LiveModel, li: str, tmp_path: Path, capsys: Capture
) -> None:
    say(doubtful(connection, model, 1)[0], "stub_a.0")
    assert run(["review", "export", str(tmp_path / "no such folder" / "x.jsonl")]) == ExitCode.BAD_INPUT
    assert "cannot be written" in capsys.readouterr().err
    (tmp_path / "folder").mkdir()
    assert run(["review", "export", str(tmp_path / "folder")]) == ExitCode.BAD_INPUT
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]

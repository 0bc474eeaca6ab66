"""`reelsort explain` and `reelsort labels` tell what is stored, all of it, in words and as data; on a real Postgres."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from schemas.errors import ExitCode
from schemas.events import VideoPublished, VideoRemoved
from stream.classify.stub import LEVEL1
from stream.cli.main import run
from stream.store.transaction import write
from stream.store.work import Batch, Dead, LiveModel, Outcome, Removal
from tests.stream.store.test_rescore import (
    NOON,
    RULES,
    alone,
    connection,
    model,
    moved_by,
    observe,
    one,
    profile,
    publish,
    snapshot,
    source,
    video,
)
from tests.stream.store.test_review import in_review

__all__ = ["connection", "model"]  # fixtures

pytestmark = pytest.mark.stack

Connection = psycopg.Connection[Any]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, dsn: str) -> None:
    monkeypatch.delenv("REELSORT_CONFIG", raising=False)
    monkeypatch.setenv("REELSORT_DATABASE__DSN", dsn)
    monkeypatch.setenv("REELSORT_CLASSIFY__STUB", "true")
    monkeypatch.setenv("COLUMNS", "300")


def explained(capsys: Capture, video_id: str) -> tuple[dict[str, Any], str]:
    """As data and in words."""
    capsys.readouterr()
    assert run(["explain", video_id, "--format", "json"]) == ExitCode.OK
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert run(["explain", video_id]) == ExitCode.OK
    return told, capsys.readouterr().out


def labels(capsys: Capture, *arguments: str, code: ExitCode = ExitCode.OK) -> Any:
    capsys.readouterr()
    assert run(["labels", *arguments, "--format", "json"]) == code
    return json.loads(capsys.readouterr().out)


def happen(connection: Connection, model: LiveModel, *outcomes: Outcome) -> None:
    write(connection, Batch.of(outcomes), model, datetime.now(UTC), RULES.within)


def removed(each: VideoPublished, at: datetime) -> Removal:
    event = VideoRemoved(video_id=each.video_id, removed_at=at)
    return Removal(source(event), event)


def test_a_label_that_signals_moved_is_told_with_what_moved_it_and_what_it_would_have_been(
    connection: Connection, model: LiveModel, capsys: Capture
) -> None:
    each = moved_by(2)
    publish(connection, model, each)
    observe(connection, model, profile("a", 1, 2), snapshot(each.video_id, 5000, 2))
    told, words = explained(capsys, each.video_id)
    before = alone(each)
    (prediction,) = told["predictions"]
    assert prediction["frame_times"] == [0.5, 1.5, 2.5, 3.5]
    best = [(model.level2[place], pytest.approx(share)) for place, share in before.top_k]
    assert [(said["level2"], said["probability"]) for said in prediction["content_top_k"]] == best
    first, *_, last = told["decisions"]
    assert (first["trigger"], first["in_force"], first["level2"]) == ("publish", False, model.level2[before.level2])
    assert first["contributions"] == []
    assert last["in_force"]
    assert last["moved"]
    assert last["level1"] == LEVEL1[2]
    assert last["saw"]["engagement"]["plays"] == 5000
    assert last["saw"]["author"]["main_vertical"] == LEVEL1[2]
    gains = [abs(each["log_odds"]) for each in last["contributions"]]
    assert {each["signal"] for each in last["contributions"]} == {"audience", "vertical"}
    assert gains == sorted(gains, reverse=True)
    assert last["without_signals"]["level2"] == model.level2[before.level2]
    assert f"{last['level2']} is in force" in told["standing"]
    assert len(told["pending"]) == one(connection, "SELECT count(*) FROM outbox WHERE key = %s", each.video_id)[0]
    assert "saw of the audience: 5,000 plays; completion 90 %" in words
    assert "main vertical stub_c; verified" in words
    assert "signals moved the answer, in log-odds: audience +" in words
    assert f"without signals: {before.route.value}, {model.level2[before.level2]}" in words
    assert "not sent yet: reelsort.label.decided.v1 to video.labels.v1" in words
    assert "known by now" not in words
    observe(connection, model, snapshot(each.video_id, 6000, 2))
    told, words = explained(capsys, each.video_id)
    assert told["decisions"][-1]["saw"]["engagement"]["plays"] == 5000
    assert told["known"]["engagement"]["plays"] == 6000
    assert "of the audience: 6,000 plays" in words.partition("known by now")[2]


def test_what_reviewers_said_is_told_with_their_notes_and_second_thoughts(
    connection: Connection, model: LiveModel, capsys: Capture
) -> None:
    each = in_review()
    publish(connection, model, each)
    assert run(["review", "enrol", "li"]) == ExitCode.OK
    decide = ["review", "decide", each.video_id, "--as", "li"]
    assert run([*decide, "--escalate", "--note", "not sure"]) == ExitCode.OK
    assert run([*decide, "--level2", "stub_b.1", "--note", "[bold]now I am\x1b[2J"]) == ExitCode.OK
    told, words = explained(capsys, each.video_id)
    (task,) = told["tasks"]
    assert [(review["verdict"], review["note"]) for review in task["reviews"]] == [
        ("escalate", "not sure"),
        ("correct", "[bold]now I am\x1b[2J"),
    ]
    assert (task["state"], task["escalated"]) == ("decided", True)
    assert told["label"]["source"] == "human"
    assert "stub_b.1 is in force, a reviewer said so" in words
    assert "li: correct stub_b.1: [bold]now I am\\x1b[2J" in words
    assert "\x1b" not in words
    assert run(["review", "undo", each.video_id, "--as", "li"]) == ExitCode.OK
    told, words = explained(capsys, each.video_id)
    assert [review["verdict"] for review in told["tasks"][0]["reviews"]] == ["escalate", "correct", "undo"]
    assert told["tasks"][1]["state"] == "open"
    assert "people are to decide" in told["standing"]


def test_whatever_became_of_a_video_is_a_sentence(connection: Connection, model: LiveModel, capsys: Capture) -> None:
    seen, gone, never, early, dead = (video(name) for name in ("seen", "gone", "never", "early", "dead"))
    publish(connection, model, seen, gone)
    happen(connection, model, removed(gone, NOON + timedelta(hours=1)), removed(early, NOON))
    observe(connection, model, snapshot(never.video_id, 10, 1))
    happen(connection, model, Dead(source(dead), "truncated", "the file ends", attempts=1))
    sentences = {
        each.video_id: explained(capsys, each.video_id)[0]["standing"] for each in (seen, gone, never, early, dead)
    }
    assert "label revision 1" in sentences["seen"]
    assert "it was removed at 2026-04-01 13:00:00" in sentences["gone"]
    assert "was not seen to be published yet" in sentences["never"]
    assert "before it was seen to be published" in sentences["early"]
    assert "it has no label: dead letter" in sentences["dead"]
    assert "truncated" in sentences["dead"]
    connection.execute("DELETE FROM videos WHERE video_id = 'dead'")
    told, words = explained(capsys, "dead")
    assert "nothing of it could be stored" in told["standing"]
    assert "the file ends, 1 tries, from t[0]@0" in words
    assert run(["explain", "no\x1bsuch"]) == ExitCode.BAD_INPUT
    assert "video no\\x1bsuch was never seen here" in capsys.readouterr().err


def test_a_new_revision_is_told_beside_the_old_one(connection: Connection, model: LiveModel, capsys: Capture) -> None:
    publish(connection, model, video("twice"))
    publish(connection, model, video("twice", 3))
    told, words = explained(capsys, "twice")
    assert (told["published"]["revision"], told["published"]["other_revisions"]) == (3, [0])
    assert [decision["revision"] for decision in told["decisions"]] == [0, 3]
    assert [decision["in_force"] for decision in told["decisions"]] == [False, True]
    assert "revision 3" in words


def test_without_a_bundle_what_was_stored_is_told_all_the_same(
    connection: Connection, model: LiveModel, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    publish(connection, model, video("v"))
    monkeypatch.setenv("REELSORT_CLASSIFY__STUB", "false")
    monkeypatch.setenv("REELSORT_INFERENCE__BUNDLE", str(tmp_path / "none"))
    told, words = explained(capsys, "v")
    assert told["predictions"][0]["content_top_k"] is None
    assert told["decisions"][0]["top_k"]
    assert "another encoder" in words


def test_labels_are_those_of_the_view_in_the_order_asked_for(
    connection: Connection, model: LiveModel, capsys: Capture
) -> None:
    publish(connection, model, video("a"), video("b"))
    report = labels(capsys, "get", "b", "none", "a", "b", code=ExitCode.BAD_INPUT)
    assert [row["video_id"] for row in report["labels"]] == ["b", "a"]
    assert report["missing"] == ["none"]
    stored = one(connection, "SELECT status, level1, level2, label_revision FROM labels WHERE video_id = 'a'")
    assert tuple(report["labels"][1][name] for name in ("status", "level1", "level2", "label_revision")) == stored
    assert run(["labels", "get", "a"]) == ExitCode.OK
    assert stored[0] in capsys.readouterr().out


def test_the_history_of_a_label_ends_with_its_removal(
    connection: Connection, model: LiveModel, capsys: Capture
) -> None:
    each = moved_by(2)
    publish(connection, model, each)
    observe(connection, model, snapshot(each.video_id, 5000, 2))
    happen(connection, model, removed(each, NOON + timedelta(hours=1)))
    changes = labels(capsys, "history", each.video_id)["labels"]
    assert [(row["label_revision"], row["trigger"], row["status"]) for row in changes] == [
        (1, "publish", changes[0]["status"]),
        (2, "engagement", "labelled"),
        (3, "removal", "withdrawn"),
    ]
    assert changes[1]["level1"] == LEVEL1[2]
    assert changes[2]["level1"] is None
    assert run(["labels", "history", each.video_id]) == ExitCode.OK
    assert "withdrawn" in capsys.readouterr().out
    assert run(["labels", "history", "none"]) == ExitCode.BAD_INPUT
    assert "video none has no label" in capsys.readouterr().err


def test_a_label_of_an_instant_is_what_was_in_force_then(
    connection: Connection, model: LiveModel, capsys: Capture
) -> None:
    each = moved_by(2)
    publish(connection, model, each)
    observe(connection, model, snapshot(each.video_id, 5000, 2))
    early, late = NOON, NOON + timedelta(hours=1)
    connection.execute(
        "UPDATE decisions SET decided_at = CASE label_revision WHEN 1 THEN %s ELSE %s END", [early, late]
    )

    def at(moment: str) -> int:
        revision: int = labels(capsys, "as-of", each.video_id, moment)["label_revision"]
        return revision

    assert at("2026-04-01T12:59:00+00:00") == 1
    assert at("2026-04-01T20:59:00+08:00") == 1
    assert at("2026-04-01T13:00:00") == 2
    assert at("2026-04-02") == 2
    assert run(["labels", "as-of", each.video_id, "2026-03-31"]) == ExitCode.BAD_INPUT
    assert "had no label at 2026-03-31" in capsys.readouterr().err
    for text in ("yesterday", "0001-01-01T00:00:00+14:00"):
        assert run(["labels", "as-of", each.video_id, text]) == ExitCode.BAD_INPUT
        assert "is no instant" in capsys.readouterr().err


def test_a_database_without_tables_is_a_sentence(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("REELSORT_DATABASE__DSN", empty_dsn)
    for command in (["explain", "v"], ["labels", "get", "v"], ["review", "ls"], ["review", "enrol", "li"]):
        assert run(command) == ExitCode.BAD_INPUT
        assert "db upgrade" in capsys.readouterr().err

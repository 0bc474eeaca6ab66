"""`reelsort publish` and `reelsort dlq`, as an operator runs them, on a real Kafka and a real Postgres."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from schemas.errors import ExitCode
from schemas.events import VideoPublished
from schemas.topics import VIDEO_PUBLISHED
from schemas.wire import decode_event
from stream.cli.main import run
from tests.support.kafka import read_all

pytestmark = pytest.mark.stack


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, kafka: str, topics: dict[str, str], dsn: str) -> None:
    monkeypatch.delenv("REELSORT_CONFIG", raising=False)
    monkeypatch.setenv("REELSORT_KAFKA__BOOTSTRAP", kafka)
    monkeypatch.setenv("REELSORT_KAFKA__TOPICS", json.dumps(topics))
    monkeypatch.setenv("REELSORT_DATABASE__DSN", dsn)


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "video_id": f"v{number}",
            "author_id": "a",
            "path": f"{number} 你.mp4",
            "split": "test",
            "published_at": "2026-01-01T00:00:00Z",
            "title": "标题",
            "truth": "never_sent",
        }
        for number in range(count)
    ]


def write_manifest(folder: Path, lines: list[dict[str, Any]]) -> Path:
    for row in lines:
        (folder / row["path"]).write_bytes(b"")
    path = folder / "manifest.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in lines), encoding="utf-8")
    return path


def published(kafka: str, topics: dict[str, str]) -> list[VideoPublished]:
    events = []
    for message in read_all(kafka, topics[VIDEO_PUBLISHED]):
        event = decode_event(VIDEO_PUBLISHED, message.key(), message.value(), message.headers() or ())
        assert isinstance(event, VideoPublished)
        assert message.key() == event.video_id.encode()
        assert b"never_sent" not in (message.value() or b"")
        events.append(event)
    return sorted(events, key=lambda event: event.video_id)


def test_a_manifest_is_published_with_the_files_beside_it(
    tmp_path: Path, kafka: str, topics: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["publish", str(write_manifest(tmp_path, rows(5))), "--limit", "4", "--format", "json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["published"] == 4
    events = published(kafka, topics)
    assert [event.video_id for event in events] == ["v0", "v1", "v2", "v3"]
    assert events[0].media_uri == (tmp_path / "0 你.mp4").as_uri()


def test_a_folder_published_twice_is_the_same_videos(tmp_path: Path, kafka: str, topics: dict[str, str]) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a.mp4", "sub/b.MKV", "c.webm", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert run(["publish", str(tmp_path), "--uri-prefix", "https://cdn.example/v"]) == ExitCode.OK
    assert run(["publish", str(tmp_path), "--uri-prefix", "https://cdn.example/v", "--rate", "100"]) == ExitCode.OK
    events = published(kafka, topics)
    assert len(events) == 6
    assert {event.media_uri for event in events} == {
        "https://cdn.example/v/a.mp4",
        "https://cdn.example/v/sub/b.MKV",
        "https://cdn.example/v/c.webm",
    }
    assert all(first == second for first, second in zip(events[::2], events[1::2], strict=True))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda lines: lines[2].update(revision=-1), "line 3"),
        (lambda lines: lines[2].pop("author_id"), "line 3"),
        (lambda lines: lines[2].update(video_id="v0"), "line 3"),
        (lambda lines: lines[2].update(title="a\0b"), "line 3"),
    ],
    ids=["number", "missing", "twice", "nul"],
)
def test_a_bad_line_is_named_and_nothing_is_sent(
    spoil: Any, words: str, tmp_path: Path, kafka: str, topics: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = rows(4)
    manifest = write_manifest(tmp_path, lines)
    spoil(lines)
    manifest.write_text("\n".join(json.dumps(row) for row in lines), encoding="utf-8")
    assert run(["publish", str(manifest)]) == ExitCode.BAD_INPUT
    assert words in capsys.readouterr().err
    assert published(kafka, topics) == []


@pytest.mark.parametrize("missing", ["nowhere.jsonl", "."])
def test_a_path_that_holds_no_videos_is_refused(
    missing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["publish", str(tmp_path / missing)]) == ExitCode.BAD_INPUT
    assert "fix:" in capsys.readouterr().err


def test_a_row_without_its_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = write_manifest(tmp_path, rows(3))
    (tmp_path / "1 你.mp4").unlink()
    assert run(["publish", str(manifest)]) == ExitCode.BAD_INPUT
    assert "--media-root" in capsys.readouterr().err


def test_dead_letters_are_listed_shown_and_sent_round_again(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.cursor().executemany(
            "INSERT INTO dead_letters (video_id, revision, code, detail, source_topic, source_partition, source_offset,"
            " key, value, headers) VALUES (%s, 0, %s, '[bold]x', 't', 0, %s, %s, %s, '{\"ce_id\": \"1\"}')",
            [
                ("v1", "truncated", 1, b"v1", b"{}"),
                ("v2", "truncated", 2, b"v2", b"\xff"),
                (None, "not_json", 3, None, b"x"),
                ("v4", "truncated", 4, b"v4", None),  # its video was removed: nothing is left to send
            ],
        )
        assert run(["dlq", "ls"]) == ExitCode.OK
        assert "truncated: 3" in capsys.readouterr().out
        assert run(["dlq", "ls", "--code", "not_json", "--format", "json"]) == ExitCode.OK
        listed = json.loads(capsys.readouterr().out)
        assert (listed["codes"], len(listed["letters"])) == ({"not_json": 1}, 1)
        first = connection.execute("SELECT id FROM dead_letters WHERE video_id = 'v2'").fetchone()
        assert first is not None
        assert run(["dlq", "show", str(first[0]), "--format", "json"]) == ExitCode.OK
        shown = json.loads(capsys.readouterr().out)
        assert (shown["code"], shown["key"], shown["value_base64"]) == ("truncated", "v2", "/w==")
        assert run(["dlq", "show", str(first[0])]) == ExitCode.OK
        assert "\\xff" in capsys.readouterr().out

        assert run(["dlq", "redrive", "--code", "truncated"]) == ExitCode.OK
        assert "2 dead letters would be sent" in capsys.readouterr().out
        assert connection.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
        assert run(["dlq", "redrive", "--id", str(first[0]), "--write", "--format", "json"]) == ExitCode.OK
        assert json.loads(capsys.readouterr().out) == {
            "written": True,
            "letters": 1,
            "topics": {"video.published.retry.v1": 1},
            "ids": [first[0]],
        }
        sent = connection.execute("SELECT topic, key, value, headers ->> 'reelsort_tries' FROM outbox").fetchall()
        assert sent == [("video.published.retry.v1", "v2", b"\xff", "1")]
        assert run(["dlq", "ls", "--format", "json"]) == ExitCode.OK
        assert len(json.loads(capsys.readouterr().out)["letters"]) == 3


def test_a_letter_that_is_not_there_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dlq", "show", "12345"]) == ExitCode.BAD_INPUT
    assert "12345" in capsys.readouterr().err


def test_files_that_serve_would_refuse_are_named_before_they_become_dead_letters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = write_manifest(tmp_path, rows(1))
    assert run(["publish", str(manifest)]) == ExitCode.OK
    assert f"REELSORT_MEDIA__FILE_ROOT={tmp_path}" in capsys.readouterr().err
    monkeypatch.setenv("REELSORT_MEDIA__FILE_ROOT", str(tmp_path))
    assert run(["publish", str(manifest)]) == ExitCode.OK
    assert "FILE_ROOT" not in capsys.readouterr().err

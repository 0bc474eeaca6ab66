"""`reelsort simulate`, as an operator runs it, on a real Kafka."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from models.synthetic.audience import draw_plays
from models.synthetic.design import Noise
from models.synthetic.make import manifest_row
from models.synthetic.sampling import draw_item
from models.synthetic.signals import draw_signals, snapshots_of
from schemas.errors import ExitCode
from schemas.events import AuthorProfile, EngagementAction
from schemas.manifest import ManifestRow
from schemas.topics import AUTHOR_PROFILES, ENGAGEMENT_ACTIONS
from schemas.wire import decode_event
from stream.cli.main import run
from stream.simulate.events import Audience, actions_of
from tests.support.kafka import end_offsets, read_all, wait_until

pytestmark = pytest.mark.stack

ROWS = [manifest_row(draw_item(3, "test", index, Noise())) for index in range(6)]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, kafka: str, topics: dict[str, str]) -> None:
    monkeypatch.delenv("REELSORT_CONFIG", raising=False)
    monkeypatch.setenv("REELSORT_KAFKA__BOOTSTRAP", kafka)
    monkeypatch.setenv("REELSORT_KAFKA__TOPICS", json.dumps(topics))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What of a dataset the command reads."""
    return write(tmp_path, ROWS)


def write(folder: Path, rows: list[ManifestRow]) -> Path:
    lines = (row.model_dump_json(exclude_defaults=True) for row in rows)
    (folder / "manifest.jsonl").write_text("\n".join(lines), "utf-8")
    return folder


def actions(kafka: str, topics: dict[str, str]) -> list[EngagementAction]:
    """Of each video in the order in which they were sent."""
    found = []
    for message in read_all(kafka, topics[ENGAGEMENT_ACTIONS]):
        event = decode_event(ENGAGEMENT_ACTIONS, message.key(), message.value(), message.headers() or ())
        assert isinstance(event, EngagementAction)
        assert message.key() == event.video_id.encode()
        found.append(event)
    return found


def profiles(kafka: str, topics: dict[str, str]) -> list[AuthorProfile]:
    found = []
    for message in read_all(kafka, topics[AUTHOR_PROFILES]):
        event = decode_event(AUTHOR_PROFILES, message.key(), message.value(), message.headers() or ())
        assert isinstance(event, AuthorProfile)
        found.append(event)
    return found


def summary(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_what_is_sent_adds_up_to_the_datasets_own_signals(
    data: Path, kafka: str, topics: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", str(data), "--seed", "3", "--format", "json"]) == ExitCode.OK
    told = summary(capsys)
    sent = actions(kafka, topics)
    assert (told["actions"], told["plays"]) == (len(sent), sum(action.kind == "play" for action in sent))
    for row in ROWS:
        of_video = [action for action in sent if action.video_id == row.video_id]
        assert snapshots_of(row, of_video) == draw_signals(3, row).snapshots
    found = {(profile.author_id, profile.seq): profile for profile in profiles(kafka, topics)}
    assert len(found) == told["profiles"]
    for row in ROWS:
        profile = draw_signals(3, row).profile
        assert profile is not None
        assert found[row.author_id, profile.seq] == profile


def test_plays_are_capped_and_actions_may_happen_now(data: Path, kafka: str, topics: dict[str, str]) -> None:
    begun = datetime.now(UTC)
    assert run(["simulate", str(data / "manifest.jsonl"), "--plays", "4", "--now"]) == ExitCode.OK
    sent = actions(kafka, topics)
    plays = Counter(action.video_id for action in sent if action.kind == "play")
    assert plays == Counter({row.video_id: min(4, draw_plays(1, row)) for row in ROWS})
    assert all(begun <= action.occurred_at <= datetime.now(UTC) for action in sent)


def test_a_brigade_comes_on_top(data: Path, kafka: str, topics: dict[str, str]) -> None:
    assert run(["simulate", str(data), "--plays", "30", "--brigading", "0.25", "--spam", "0.5"]) == ExitCode.OK
    fakes = Counter(a.video_id for a in actions(kafka, topics) if a.kind == "play" and "/fake" in a.action_id)
    honest = {row.video_id: min(30, draw_plays(1, row)) for row in ROWS}
    assert fakes == Counter({video: max(1, round(plays / 3)) for video, plays in honest.items() if plays})


def test_a_rate_is_kept_for_the_duration_asked_for(
    data: Path, kafka: str, topics: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["simulate", str(data), "--rate", "10", "--duration", "1.5", "--format", "json"]) == ExitCode.OK
    told = summary(capsys)
    assert 1 <= told["actions"] <= 16
    assert told["actions"] == len(actions(kafka, topics))
    assert told["seconds"] >= 1.5


def test_the_duration_begins_with_the_first_action_however_long_it_took_to_draw(
    data: Path, kafka: str, topics: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(rows: Sequence[ManifestRow], audience: Audience) -> Iterator[EngagementAction]:
        Event().wait(0.6)
        yield from actions_of(rows, audience)

    monkeypatch.setattr("stream.simulate.run.actions_of", slowly)
    assert run(["simulate", str(data), "--duration", "0.5"]) == ExitCode.OK
    assert actions(kafka, topics)


def test_an_interrupt_ends_it_and_what_was_sent_is_told(data: Path, kafka: str, topics: dict[str, str]) -> None:
    command = ("-m", "stream.cli.main", "simulate", str(data), "--rate", "20", "--format", "json")
    process = subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        wait_until(lambda: sum(end_offsets(kafka, topics[ENGAGEMENT_ACTIONS]).values()) > 0, timeout_s=60)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == ExitCode.INTERRUPTED
    assert b"Traceback" not in err
    told = json.loads(out)
    assert told["interrupted"] is True
    assert told["actions"] == len(actions(kafka, topics)) > 0


def test_videos_that_the_generator_did_not_make_are_refused(
    tmp_path: Path, kafka: str, topics: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    for field, words in (("author_id", "not one of the generator's"), ("truth", "no class of the generator")):
        write(tmp_path, [*ROWS, ROWS[0].model_copy(update={"video_id": "x", field: "someone"})])
        assert run(["simulate", str(tmp_path)]) == ExitCode.BAD_INPUT
        assert words in capsys.readouterr().err
    assert actions(kafka, topics) == []
    assert profiles(kafka, topics) == []


def test_a_missing_topic_is_one_sentence(
    data: Path, monkeypatch: pytest.MonkeyPatch, topics: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = topics | {ENGAGEMENT_ACTIONS: "nowhere"}
    monkeypatch.setenv("REELSORT_KAFKA__TOPICS", json.dumps(nowhere))
    assert run(["simulate", str(data)]) == ExitCode.BAD_INPUT
    assert "no topic nowhere" in capsys.readouterr().err

"""`reelsort review` as people and programs use it, on a real Postgres."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from models.decision.priority import aged
from models.decision.types import Route
from schemas.errors import ExitCode
from schemas.events import VideoPublished
from stream.classify.stub import stub_taxonomy
from stream.cli.main import run
from stream.store.work import LiveModel
from tests.stream.store.test_rescore import alone, connection, model, one, publish, video

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


@pytest.fixture
def li(connection: Connection) -> str:
    assert run(["review", "enrol", "li"]) == ExitCode.OK
    return "li"


def doubtful(connection: Connection, model: LiveModel, count: int) -> list[VideoPublished]:
    """Videos that wait for people, the most urgent first."""
    found = [v for n in range(400) if alone(v := video(f"q{n}")).route is Route.REVIEW][:count]
    publish(connection, model, *found)
    order = connection.execute("SELECT video_id FROM review_tasks ORDER BY priority DESC, video_id").fetchall()
    by_id = {each.video_id: each for each in found}
    return [by_id[video_id] for (video_id,) in order]


def sampled(connection: Connection, model: LiveModel) -> VideoPublished:
    each = next(v for n in range(5000) if alone(v := video(f"s{n}")).audit)
    publish(connection, model, each)
    return each


def listed(capsys: Capture, *options: str) -> dict[str, Any]:
    capsys.readouterr()
    assert run(["review", "ls", "--format", "json", *options]) == ExitCode.OK
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


class Keys(io.StringIO):
    """A keyboard: lines in order, an act of somebody else among them; then the end of input."""

    def __init__(self, *lines: str | Callable[[], object]) -> None:
        super().__init__()
        self._lines = list(lines)

    def readline(self, *_: Any) -> str:  # type: ignore[override]
        while self._lines:
            each = self._lines.pop(0)
            if isinstance(each, str):
                return each + "\n"
            each()
        return ""


def at_the_desk(
    monkeypatch: pytest.MonkeyPatch, *lines: str | Callable[[], object], options: tuple[str, ...] = ()
) -> int:
    monkeypatch.setattr("sys.stdin", Keys(*lines))
    return run(["review", "decide", "--as", "li", *options])


def reviews(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT video_id, verdict, level1, level2 FROM review_decisions ORDER BY decided_at"
    ).fetchall()


def best(each: VideoPublished, model: LiveModel) -> str:
    return model.level2[alone(each).level2]


def test_tasks_come_in_the_order_of_aged_priority(connection: Connection, model: LiveModel, capsys: Capture) -> None:
    doubtful(connection, model, 30)
    connection.execute(
        "UPDATE review_tasks SET requested_at = requested_at - make_interval(hours => abs(hashtext(video_id)) % 60)"
    )
    now = datetime.now(UTC)
    rows = connection.execute("SELECT video_id, priority, requested_at FROM review_tasks").fetchall()
    expected = sorted(rows, key=lambda row: (-aged(row[1], now - row[2]), row[0]))
    assert [row[0] for row in expected] != [row[0] for row in sorted(rows, key=lambda row: (-row[1], row[0]))]
    report = listed(capsys, "--limit", "1000")
    assert [task["video_id"] for task in report["tasks"]] == [video_id for video_id, *_ in expected]
    assert report["open"] == 30
    assert len(listed(capsys, "--limit", "3")["tasks"]) == 3
    first = report["tasks"][0]
    assert first["answer"]["level2"] == best(video(first["video_id"]), model)
    assert run(["review", "ls"]) == ExitCode.OK
    assert first["answer"]["level2"] in capsys.readouterr().out


def test_an_audit_sample_never_shows_the_models_answer(
    connection: Connection, model: LiveModel, li: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = sampled(connection, model)
    (task,) = listed(capsys)["tasks"]
    assert (task["answer"], task["reasons"]) == (None, ["audit_sample"])
    assert "stub_" not in json.dumps(task)
    assert run(["review", "ls"]) == ExitCode.OK
    assert "stub_" not in capsys.readouterr().out
    assert run(["review", "decide", each.video_id, "--as", li, "--confirm"]) == ExitCode.BAD_INPUT
    said = capsys.readouterr()
    assert "shows no answer" in said.err
    assert "stub_" not in said.out + said.err
    assert at_the_desk(monkeypatch, "", "1", "q") == ExitCode.OK
    assert "stub_" not in capsys.readouterr().out
    assert reviews(connection) == []
    assert at_the_desk(monkeypatch, "stub_b.1", "1") == ExitCode.OK
    assert reviews(connection) == [(each.video_id, "correct", "stub_b", "stub_b.1")]


@pytest.mark.parametrize(
    ("answer", "settled"),
    [
        (["--level2", "stub_b.1"], ("stub_b", "stub_b.1", 2)),
        (["--level1", "stub_c"], ("stub_c", None, 2)),
        (["--escalate"], (None, None, None)),
        (["--skip"], (None, None, None)),
    ],
)
def test_a_program_decides_a_video(
    connection: Connection, model: LiveModel, li: str, capsys: Capture, answer: list[str], settled: tuple[Any, ...]
) -> None:
    (each,) = doubtful(connection, model, 1)
    capsys.readouterr()
    said = ["review", "decide", each.video_id, "--as", li, *answer, "--note", "so it is", "--format", "json"]
    assert run(said) == ExitCode.OK
    report = json.loads(capsys.readouterr().out)
    assert (report["level1"], report["level2"], report["label_revision"]) == settled
    assert one(connection, "SELECT note, reviewer FROM review_decisions") == ("so it is", "li")
    still_open = settled[2] is None
    assert len(listed(capsys)["tasks"]) == int(still_open and answer != ["--escalate"])
    assert len(listed(capsys, "--escalated")["tasks"]) == int(answer == ["--escalate"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["decide", "VIDEO", "--as", "wu", "--confirm"], "wu is no reviewer"),
        (["decide", "--as", "wu"], "wu is no reviewer"),
        (["decide", "none", "--as", "li", "--confirm"], "no video none"),
        (["decide", "VIDEO", "--as", "li"], "exactly one answer"),
        (["decide", "VIDEO", "--as", "li", "--confirm", "--skip"], "exactly one answer"),
        (["decide", "--as", "li", "--confirm"], "none was named"),
        (["decide", "VIDEO", "--as", "li", "--level2", "stub_z.9"], "no level-2 category"),
        (["decide", "VIDEO\udcff", "--as", "li", "--confirm"], "no UTF-8"),
        (["undo", "VIDEO", "--as", "li"], "no reviewer's label"),
        (["enrol", " "], "no name"),
        (["dismiss", "wu"], "wu is no reviewer"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    connection: Connection, model: LiveModel, li: str, capsys: Capture, arguments: list[str], words: str
) -> None:
    (each,) = doubtful(connection, model, 1)
    assert run(["review", *(a.replace("VIDEO", each.video_id) for a in arguments)]) == ExitCode.BAD_INPUT
    assert words in capsys.readouterr().err
    assert reviews(connection) == []


def test_who_was_dismissed_reviews_no_more_until_enrolled_again(
    connection: Connection, model: LiveModel, li: str, capsys: Capture
) -> None:
    (each,) = doubtful(connection, model, 1)
    confirm = ["review", "decide", each.video_id, "--as", li, "--confirm"]
    assert run(["review", "dismiss", li]) == ExitCode.OK
    assert run(confirm) == ExitCode.BAD_INPUT
    assert run(["review", "enrol", li]) == ExitCode.OK
    assert run(confirm) == ExitCode.OK


def test_a_round_at_the_keyboard(
    connection: Connection, model: LiveModel, li: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third, fourth, fifth, sixth = doubtful(connection, model, 6)
    expected = [category for category, _ in _top(connection, second)]
    capsys.readouterr()
    typed = ["?", "", "9", "2", "no such thing", "类b之3", "1", "e", "s", "q"]
    assert at_the_desk(monkeypatch, *typed) == ExitCode.OK
    said = capsys.readouterr().out
    assert reviews(connection) == [
        (first.video_id, "confirm", *_pair(best(first, model))),
        (second.video_id, "correct", *_pair(expected[1])),
        (third.video_id, "correct", "stub_b", "stub_b.3"),
        (fourth.video_id, "escalate", None, None),
        (fifth.video_id, "skip", None, None),
    ]
    assert sixth.video_id in said
    assert "no category has no such thing" in said
    assert "there is no answer 9" in said
    assert one(connection, "SELECT bool_and(seconds_spent BETWEEN 0 AND 60) FROM review_decisions") == (True,)
    assert at_the_desk(monkeypatch, "", options=("--escalated",)) == ExitCode.OK
    assert reviews(connection)[-1][:2] == (fourth.video_id, "confirm")


def _top(connection: Connection, each: VideoPublished) -> list[tuple[str, float]]:
    (top_k,) = one(connection, "SELECT top_k FROM decisions WHERE video_id = %s", each.video_id)
    return [(answer["level2"], answer["probability"]) for answer in top_k]


def _pair(level2: str) -> tuple[str, str]:
    return level2.partition(".")[0], level2


def test_the_last_word_of_a_round_can_be_taken_back_and_said_again(
    connection: Connection, model: LiveModel, li: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = doubtful(connection, model, 2)
    assert at_the_desk(monkeypatch, "u", "stub_b.1", "1", "u", "stub_c.2", "1", "q") == ExitCode.OK
    assert [(video_id, verdict, level2) for video_id, verdict, _, level2 in reviews(connection)] == [
        (first.video_id, "correct", "stub_b.1"),
        (first.video_id, "undo", None),
        (first.video_id, "correct", "stub_c.2"),
    ]
    said = capsys.readouterr().out
    assert "nothing decided in this round" in said
    assert f"taken back: {first.video_id}" in said
    assert one(connection, "SELECT source, level2 FROM current_labels WHERE video_id = %s", first.video_id) == (
        "human",
        "stub_c.2",
    )
    assert run(["review", "undo", first.video_id, "--as", li, "--format", "json"]) == ExitCode.OK
    assert json.loads(capsys.readouterr().out)["label_revision"] == 5


def test_undo_needs_a_model_that_decided_here(
    connection: Connection, model: LiveModel, li: str, capsys: Capture
) -> None:
    (each,) = doubtful(connection, model, 1)
    assert run(["review", "decide", each.video_id, "--as", li, "--confirm"]) == ExitCode.OK
    connection.execute("DELETE FROM models")
    assert run(["review", "undo", each.video_id, "--as", li]) == ExitCode.BAD_INPUT
    assert "never decided anything" in capsys.readouterr().err
    assert one(connection, "SELECT count(*) FROM models") == (0,)


def test_a_task_decided_meanwhile_is_said_so_and_the_next_one_is_taken(
    connection: Connection, model: LiveModel, li: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = doubtful(connection, model, 2)
    assert run(["review", "enrol", "wu"]) == ExitCode.OK

    def meanwhile() -> None:
        assert run(["review", "decide", first.video_id, "--as", "wu", "--level2", "stub_d.0"]) == ExitCode.OK

    assert at_the_desk(monkeypatch, meanwhile, "", "") == ExitCode.OK
    assert "decided meanwhile" in capsys.readouterr().out
    assert [(video_id, verdict) for video_id, verdict, *_ in reviews(connection)] == [
        (first.video_id, "correct"),
        (second.video_id, "confirm"),
    ]


def _interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("end", [[], [_interrupt]], ids=["end of input", "ctrl-c"])
def test_a_round_ends_cleanly_and_says_what_was_done(
    connection: Connection,
    model: LiveModel,
    li: str,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    end: list[Callable[[], object]],
) -> None:
    doubtful(connection, model, 3)
    assert at_the_desk(monkeypatch, "", *end) == ExitCode.OK
    said = capsys.readouterr()
    assert "1 × confirm" in said.out
    assert said.err == ""
    assert len(reviews(connection)) == 1


def test_a_line_that_is_no_text_is_asked_for_again(
    connection: Connection, model: LiveModel, li: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubtful(connection, model, 1)

    def half_a_character() -> None:
        b"\xe7\xbe".decode()

    assert at_the_desk(monkeypatch, half_a_character, "") == ExitCode.OK
    assert "that line is no text" in capsys.readouterr().out
    assert [verdict for _, verdict, *_ in reviews(connection)] == ["confirm"]


def test_a_hostile_title_reaches_no_terminal(
    connection: Connection, model: LiveModel, li: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubtful(connection, model, 1)
    connection.execute("UPDATE videos SET title = %s", ["\x1b]0;owned\x07[red]标题[/nonsense]\u202e"])
    assert run(["review", "ls"]) == ExitCode.OK
    assert at_the_desk(monkeypatch, "q") == ExitCode.OK
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert said.count("\\x1b]0;owned\\x07[red]标题[/nonsense]") == 2


def test_tasks_of_another_taxonomy_are_left_to_its_bundle(
    connection: Connection, model: LiveModel, li: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubtful(connection, model, 1)
    connection.execute("UPDATE decisions SET taxonomy_id = 'tx-other'")
    assert at_the_desk(monkeypatch) == ExitCode.OK
    assert "1 tasks are of another" in capsys.readouterr().out


def test_categories_are_found_by_words(capsys: Capture) -> None:
    assert run(["review", "categories", "类b", "--format", "json"]) == ExitCode.OK
    found = json.loads(capsys.readouterr().out)
    assert [each["id"] for each in found] == ["stub_b", *(f"stub_b.{n}" for n in range(4))]
    assert run(["review", "categories"]) == ExitCode.OK
    said = capsys.readouterr().out
    assert all(category.zh in said and category.en in said for category in stub_taxonomy().level2)


def test_an_overdue_task_says_so(
    connection: Connection, model: LiveModel, li: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubtful(connection, model, 1)
    connection.execute("UPDATE review_tasks SET deadline_at = %s", [datetime.now(UTC) - timedelta(hours=5, minutes=1)])
    assert at_the_desk(monkeypatch, "q") == ExitCode.OK
    assert "overdue by 5 h" in capsys.readouterr().out

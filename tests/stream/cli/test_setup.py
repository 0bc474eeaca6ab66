"""The steps before serving, as an operator runs them."""

from __future__ import annotations

import json

import pytest

from schemas import database
from schemas.errors import ExitCode
from schemas.topics import TOPICS
from stream.cli.main import run
from tests.support.kafka import delete

pytestmark = pytest.mark.stack


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, kafka: str, topic_names: dict[str, str], empty_dsn: str) -> None:
    monkeypatch.delenv("REELSORT_CONFIG", raising=False)
    monkeypatch.setenv("REELSORT_KAFKA__BOOTSTRAP", kafka)
    monkeypatch.setenv("REELSORT_KAFKA__TOPICS", json.dumps(topic_names))
    monkeypatch.setenv("REELSORT_DATABASE__DSN", empty_dsn)


def test_topics_are_created_once(kafka: str, topic_names: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        assert run(["topics", "create", "--format", "json"]) == ExitCode.OK
        assert json.loads(capsys.readouterr().out) == {"created": sorted(topic_names.values())}
        assert len(topic_names) == len(TOPICS)
        assert run(["topics", "create"]) == ExitCode.OK
        assert "nothing to do" in capsys.readouterr().out
    finally:
        delete(kafka, topic_names.values())


def test_the_database_is_upgraded_once(empty_dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["db", "upgrade"]) == ExitCode.OK
    assert f"is at {database.head()}" in capsys.readouterr().out
    assert run(["db", "upgrade"]) == ExitCode.OK
    assert capsys.readouterr().out == f"at {database.head()}\n"
    assert database.is_current(empty_dsn)


def test_an_unknown_revision_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["db", "upgrade", "--to", "9999"]) == ExitCode.BAD_INPUT
    assert "9999" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["--format", "json"]], ids=["table", "json"])
def test_config_shows_every_setting_and_no_secret(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], empty_dsn: str
) -> None:
    monkeypatch.setenv("REELSORT_KAFKA__PASSWORD", "S3cretPassword")
    monkeypatch.setenv("REELSORT_KAFKA__OPTIONS", json.dumps({"ssl.key.password": "S3cretKey", "client.rack": "r1"}))
    assert run(["config", "show", *arguments]) == ExitCode.OK
    shown = capsys.readouterr().out
    assert "S3cret" not in shown
    assert empty_dsn not in shown
    assert "max_poll_interval_ms" in shown
    assert "client.rack" in shown
    if arguments:
        assert json.loads(shown)["kafka"]["options"]["client.rack"] == "r1"

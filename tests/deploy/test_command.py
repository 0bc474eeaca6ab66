"""`reelsort up`, `down` and `doctor` as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.local.state import StackInfo
from schemas.errors import ExitCode
from stream.cli.main import run
from stream.settings import Settings

pytestmark = pytest.mark.stack


def point_at(patch: pytest.MonkeyPatch, settings: Settings, bundle: Path) -> None:
    patch.setenv("REELSORT_KAFKA__BOOTSTRAP", settings.kafka.bootstrap)
    patch.setenv("REELSORT_KAFKA__TOPICS", json.dumps(settings.kafka.topics))
    patch.setenv("REELSORT_DATABASE__DSN", settings.database.dsn.get_secret_value())
    patch.setenv("REELSORT_INFERENCE__BUNDLE", str(bundle))
    # all of it pinned: nothing is left to be timed
    patch.setenv("REELSORT_INFERENCE__RUNTIME", "onnxruntime")
    patch.setenv("REELSORT_INFERENCE__PRECISION", "fp32")
    patch.setenv("REELSORT_INFERENCE__VISION_BATCH", "4")


def examined(output: str) -> dict[str, tuple[str, str]]:
    return {check["name"]: (check["status"], check["found"]) for check in json.loads(output)["checks"]}


def test_up_of_a_running_stack_says_how_to_use_it(stack: StackInfo, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["up", "--folder", str(stack.folder)]) == ExitCode.OK
    said = capfd.readouterr().out
    for needed in (stack.bootstrap, stack.dsn, stack.psql, f"export REELSORT_CONFIG={stack.settings_file}", "down"):
        assert needed in said

    assert run(["up", "--folder", str(stack.folder), "--format", "json"]) == ExitCode.OK
    told = json.loads(capfd.readouterr().out)
    assert (told["bootstrap"], told["dsn"], told["started"]) == (stack.bootstrap, stack.dsn, [])
    assert told["kafka"]["pid"] == stack.kafka.pid


def test_an_error_is_two_lines_and_an_exit_code(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run(["up", "--folder", str(tmp_path / "file")]) == ExitCode.UNREACHABLE
    said = capfd.readouterr().err
    assert "is not a folder" in said
    assert "another --folder" in said
    assert "Traceback" not in said


def test_down_where_nothing_runs_is_fine(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["down", "--folder", str(tmp_path)]) == ExitCode.OK
    assert "nothing was running" in capfd.readouterr().out
    assert run(["down", "--folder", str(tmp_path), "--format", "json"]) == ExitCode.OK
    assert json.loads(capfd.readouterr().out)["stopped"] == []
    assert list(tmp_path.iterdir()) == []


def test_doctor_finds_nothing_wrong_where_all_is_there(
    settings: Settings,
    topics: dict[str, str],
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    point_at(monkeypatch, settings, tiny)
    assert run(["doctor", "--format", "json"]) == ExitCode.OK
    found = examined(capfd.readouterr().out)
    assert "fail" not in {status for status, _ in found.values()}
    assert found["topics"] == ("ok", f"all {len(topics)} are there")
    assert found["runtime"][1].startswith("onnxruntime fp32")
    assert "av1" in found["video codecs"][1]

    assert run(["doctor"]) == ExitCode.OK
    assert "ready to serve" in capfd.readouterr().out


def test_doctor_names_what_is_missing_and_how_to_mend_it(
    stack: StackInfo,
    empty_dsn: str,
    topic_names: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    settings = Settings(kafka={"bootstrap": stack.bootstrap, "topics": topic_names}, database={"dsn": empty_dsn})
    point_at(monkeypatch, settings, tmp_path)
    assert run(["doctor"]) == ExitCode.CHECK_FAILED
    said = capfd.readouterr().out
    for remedy in ("reelsort topics create", "reelsort db upgrade", "reelsort export"):
        assert remedy in said
    assert "not ready: topics, migrations, bundle" in said


def test_doctor_where_no_server_answers(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    point_at(monkeypatch, settings, tmp_path)
    monkeypatch.setenv("REELSORT_KAFKA__BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv("REELSORT_DATABASE__DSN", "postgresql://nobody:secret@127.0.0.1:1/none")
    assert run(["doctor", "--format", "json"]) == ExitCode.CHECK_FAILED
    output = capfd.readouterr().out
    found = examined(output)
    assert found["Kafka"][0] == found["Postgres"][0] == "fail"
    assert "secret" not in output


def test_doctor_asks_the_gpu_driver_in_a_process_of_its_own(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    point_at(monkeypatch, settings, tmp_path)
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H100, 81559 MiB, 580.1'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    run(["doctor", "--format", "json"])
    assert examined(capfd.readouterr().out)["GPU"][1].startswith("NVIDIA H100, 81559 MiB")

    program.write_text("#!/bin/sh\nkill -SEGV $$\n")
    run(["doctor", "--format", "json"])
    assert examined(capfd.readouterr().out)["GPU"][0] == "warn"

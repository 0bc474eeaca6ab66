"""Whatever goes wrong, a person sees a sentence and an exit code, never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from deploy.local.errors import StackError
from schemas.errors import ExitCode, UserError
from stream.cli import main


def command_lines() -> list[list[str]]:
    """Every command there is, as the words that name it."""
    app = main.build_app()
    words: list[list[str]] = [[]]
    for command in app.registered_commands:
        assert command.callback is not None
        words.append([command.name or command.callback.__name__.replace("_", "-")])
    for group in app.registered_groups:
        assert group.name is not None
        assert group.typer_instance is not None
        words.append([group.name])
        for command in group.typer_instance.registered_commands:
            assert command.callback is not None
            words.append([group.name, command.name or command.callback.__name__.replace("_", "-")])
    return words


@pytest.mark.parametrize("words", command_lines(), ids=lambda words: " ".join(words) or "reelsort")
def test_every_command_explains_itself(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run([*words, "--help"]) == ExitCode.OK
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name",
    ["demo", "up", "down", "doctor", "serve", "topics", "db", "config", "publish", "classify", "dlq", "data", "train",
     "calibrate", "evaluate", "export", "bench", "review", "explain", "labels"],
)  # fmt: skip
def test_the_command_has(name: str) -> None:
    assert [name] in command_lines()


def failing(error: BaseException) -> typer.Typer:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (UserError("x is no video", "name an mp4"), ExitCode.BAD_INPUT, ["error:", "x is no", "name an mp4"]),
        (UserError("no broker", code=ExitCode.UNREACHABLE), ExitCode.UNREACHABLE, ["no broker"]),
        (StackError("the disk is full", "free some space"), ExitCode.UNREACHABLE, ["the disk is full", "free some"]),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, ["interrupted"]),
        (ZeroDivisionError("division by zero"), ExitCode.INTERNAL, ["internal error", "please report"]),
    ],
)  # fmt: skip
def test_an_error_is_a_sentence_and_an_exit_code(
    error: BaseException,
    code: ExitCode,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(main, "build_app", lambda: failing(error))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert main.run([]) == code
    shown = capsys.readouterr().err
    assert all(word in shown for word in words)
    assert "Traceback" not in shown


def test_a_defect_leaves_its_traceback_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(main, "build_app", lambda: failing(ZeroDivisionError("division by zero")))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    main.run([])
    (report,) = tmp_path.iterdir()
    assert "ZeroDivisionError" in report.read_text()
    assert str(report) in capsys.readouterr().err


def test_a_wrong_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["down", "--no-such-option"]) == ExitCode.USAGE


@pytest.mark.parametrize("say", ["print('said')", "Console().print('said')"])
def test_a_reader_that_has_gone_is_no_error(say: str) -> None:
    script = (
        "import sys\nfrom rich.console import Console\nfrom stream.cli import main\n"
        f"main.build_app = lambda: lambda *arguments, **options: {say}\n"
        "sys.exit(main.run([]))"
    )
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", script], stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == ExitCode.OK


def test_a_reader_that_goes_away_is_no_error() -> None:
    shell = f"{sys.executable} -m stream.cli.main config show --format json | head -c 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", shell], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0

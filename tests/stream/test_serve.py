"""`reelsort serve`: jobs by name, one process or several, which live and die together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import orjson
import psutil
import pytest

from schemas.errors import ExitCode, UserError
from stream.cli.main import run
from stream.serve import JOBS, chosen_jobs
from stream.settings import Settings
from tests.support.waiting import wait_until

PATIENCE_S = 60.0


def test_every_registered_job_can_be_chosen_and_all_means_all() -> None:
    assert chosen_jobs(["relay", "relay"]) == ("relay",)
    assert chosen_jobs(["relay", "all"]) == tuple(JOBS)


def test_an_unknown_job_names_the_known_ones() -> None:
    with pytest.raises(UserError) as refused:
        chosen_jobs(["nosuch"])
    assert all(job in refused.value.remedy for job in JOBS)
    assert refused.value.code is ExitCode.USAGE


def test_an_option_that_is_no_pair_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "relay", "-X", "security.protocol"]) == ExitCode.USAGE
    assert "KEY=VALUE" in capsys.readouterr().err


class Served:
    """`reelsort serve …` in a process of its own."""

    def __init__(self, settings: Settings, *arguments: str) -> None:
        kafka = settings.kafka
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REELSORT_")} | {
            "REELSORT_KAFKA__BOOTSTRAP": kafka.bootstrap,
            "REELSORT_KAFKA__GROUP_PREFIX": kafka.group_prefix,
            "REELSORT_KAFKA__TOPICS": orjson.dumps(kafka.topics).decode(),
            "REELSORT_DATABASE__DSN": settings.database.dsn.get_secret_value(),
            "REELSORT_CLASSIFY__STUB": "true",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stream.cli.main", "serve", *arguments],
            env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.lines: list[str] = []

    def read_until(self, *texts: str) -> None:
        """Until each text was in some line of the log."""
        assert self.process.stderr is not None
        missing = set(texts)
        while missing:
            line = self.process.stderr.readline()
            assert line, f"the log ended before {missing}: {self.lines}"
            self.lines.append(line)
            missing -= {text for text in missing if text in line}

    def finish(self) -> tuple[int, str]:
        _, rest = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, "".join(self.lines) + rest

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()


@contextmanager
def served(settings: Settings, *arguments: str) -> Iterator[Served]:
    running = Served(settings, *arguments)
    try:
        yield running
    finally:
        with suppress(psutil.NoSuchProcess):
            for child in running.children():
                child.kill()
        running.process.kill()
        running.process.wait()


READY = ("relay-3 owns", "assigned: ")


@pytest.mark.stack
def test_sigterm_drains_every_job_and_exits_zero(settings: Settings, topics: dict[str, str]) -> None:
    with served(settings, "classify", "relay") as system:
        system.read_until(*READY)
        system.process.send_signal(signal.SIGTERM)
        code, log = system.finish()
    assert code == ExitCode.OK, log
    assert "classify has ended" in log
    assert "relay has ended" in log


@pytest.mark.stack
def test_a_job_that_dies_takes_the_others_with_it(settings: Settings, topics: dict[str, str]) -> None:
    with served(settings, "all") as system:
        system.read_until(*READY)
        victim = next(child for child in system.children() if "classify" in child.cmdline())
        victim.kill()
        code, log = system.finish()
    assert code == ExitCode.INTERNAL
    assert "the job classify ended by itself, exit code -9" in log
    assert "relay has ended" in log


@pytest.mark.stack
def test_no_job_outlives_a_killed_supervisor(settings: Settings, topics: dict[str, str]) -> None:
    with served(settings, "all") as system:
        system.read_until(*READY)
        children = system.children()
        assert len(children) == len(JOBS)
        system.process.kill()
        wait_until(lambda: not any(child.is_running() for child in children), PATIENCE_S, what="the jobs end")


@pytest.mark.stack
def test_a_database_that_was_never_upgraded_is_explained(
    settings: Settings, topics: dict[str, str], empty_dsn: str
) -> None:
    bare = settings.model_copy(update={"database": settings.database.model_validate({"dsn": empty_dsn})})
    with served(bare, "relay") as system:
        code, log = system.finish()
    assert code == ExitCode.BAD_INPUT
    assert "reelsort db upgrade" in log
    assert "Traceback" not in log

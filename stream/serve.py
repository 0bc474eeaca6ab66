"""`reelsort serve JOB…`: one job runs in this process; several run in child processes that live and die together."""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Protocol, cast

import orjson
import psycopg
from confluent_kafka import KafkaException

from schemas.errors import ExitCode, UserError
from stream.settings import DatabaseSettings, Settings
from stream.telemetry import logs
from stream.telemetry.admin import serving
from stream.telemetry.health import Health

_log = logging.getLogger(__name__)

JOBS: Mapping[str, str] = {
    "classify": "stream.classify.job",
    "rescore": "stream.rescore.job",
    "relay": "stream.relay.job",
    "signals": "stream.signals.job",
}
"""Every job and its module. A new job is a module with `run`, and a line here."""

ALL = "all"
STOP_WITHIN_S = 35.0  # a job drains within 25 s, its watchdogs end it by then; what has not ended by now is killed
LOOK_EVERY_S = 0.1
PROBE_TIMEOUT_S = 2
_PR_SET_PDEATHSIG = 1


class JobModule(Protocol):
    def run(self, settings: Settings, stop: threading.Event, health: Health) -> None:
        """Work until `stop` is set, then drain and return. Raises what ends the job."""
        ...


def chosen_jobs(names: Sequence[str]) -> tuple[str, ...]:
    """The jobs meant by `names`, each once. Raises UserError for one that does not exist."""
    if unknown := [name for name in names if name not in JOBS and name != ALL]:
        raise UserError(f"there is no job {unknown[0]}", f"choose from {', '.join(JOBS)}, or {ALL}", ExitCode.USAGE)
    return tuple(JOBS) if ALL in names else tuple(dict.fromkeys(names))


def serve(names: Sequence[str], settings: Settings, supervisor: int | None = None) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code. supervisor: the process whose death ends this one."""
    jobs = chosen_jobs(names)
    if len(jobs) > 1:
        logs.configure(settings, job="serve")
        return Supervisor(settings).run(jobs)
    if supervisor is not None:
        die_with(supervisor)
    logs.configure(settings, job=jobs[0])
    run_job(jobs[0], settings, stop_on_signals())
    return ExitCode.OK


def run_job(name: str, settings: Settings, stop: threading.Event) -> None:
    """Run one job in this process, with its admin port. Raises UserError, or what the job failed with."""
    module = cast(JobModule, importlib.import_module(JOBS[name]))
    health = Health(settings.admin.stall_s)
    health.probe("postgres", lambda: _ask_postgres(settings.database))
    _log.info("%s starts, process %d", name, os.getpid())
    with serving(settings.admin, health):
        try:
            module.run(settings, stop, health)
        except UserError as error:
            _log.error("%s ends: %s", name, error.message)
            raise
        except KafkaException as error:
            raise UserError(
                f"Kafka ended the job {name}: {error.args[0].str()}",
                "nothing is lost: start it again once the cluster answers",
                ExitCode.UNREACHABLE,
            ) from error
        except psycopg.errors.UndefinedTable as error:
            raise UserError("the database lacks our tables", "run `reelsort db upgrade` first") from error
        except Exception:
            _log.exception("%s ends", name)
            raise
    _log.info("%s has ended", name)


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set. A second SIGINT interrupts at once."""
    stop = threading.Event()

    def asked(number: int, _: FrameType | None) -> None:
        stop.set()
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGINT, asked)
    return stop


def die_with(parent: int) -> None:
    """Have the kernel send this process SIGTERM when `parent` dies, however it dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the kernel knew
        raise UserError("the supervisor of this job is gone", "", ExitCode.INTERNAL)


def _ask_postgres(database: DatabaseSettings) -> None:
    with psycopg.connect(database.dsn.get_secret_value(), connect_timeout=PROBE_TIMEOUT_S) as connection:
        connection.execute("SELECT 1")


@dataclass(frozen=True, slots=True)
class _Child:
    job: str
    process: subprocess.Popen[bytes]


class Supervisor:
    """Starts a process for each job. When one ends unasked, the others are stopped: half a system serves nobody."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def run(self, jobs: Sequence[str]) -> int:
        """Until asked to stop, or a job ends by itself. Returns the exit code."""
        stop = stop_on_signals()
        children = [self._start(job, number) for number, job in enumerate(jobs)]
        try:
            ended = None
            while ended is None and not stop.wait(LOOK_EVERY_S):
                ended = next((child for child in children if child.process.poll() is not None), None)
        finally:
            stragglers = _stop(children)
        if ended is not None:
            raise UserError(
                f"the job {ended.job} ended by itself, exit code {ended.process.returncode}: the others were stopped",
                f"the last log lines of {ended.job} say why",
                ExitCode.INTERNAL,
            )
        return ExitCode.INTERNAL if stragglers else ExitCode.OK

    def _start(self, job: str, number: int) -> _Child:
        port = self._settings.admin.port
        # through the environment: options may hold what a process list must not show
        options = orjson.dumps(self._settings.kafka.options).decode()
        environment = os.environ | {
            "REELSORT_KAFKA__OPTIONS": options,
            "REELSORT_ADMIN__PORT": str(port + number if port else 0),
            "REELSORT_CLASSIFY__START": self._settings.classify.start,
        }
        if self._settings.kafka.expired_offsets is not None:
            environment["REELSORT_KAFKA__EXPIRED_OFFSETS"] = self._settings.kafka.expired_offsets
        process = subprocess.Popen(
            [sys.executable, "-m", "stream.cli.main", "serve", job, "--supervisor", str(os.getpid())],
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C reaches the supervisor alone, which then asks each child once
        )
        return _Child(job, process)


def _stop(children: Sequence[_Child]) -> list[_Child]:
    """Ask every child to drain, wait, and kill those that do not end. Returns the killed."""
    for child in children:
        if child.process.poll() is None:
            child.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_WITHIN_S
    stragglers = []
    for child in children:
        try:
            child.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _log.error("%s did not end within %.0f s and is killed", child.job, STOP_WITHIN_S)
            child.process.kill()
            child.process.wait()
            stragglers.append(child)
    return stragglers

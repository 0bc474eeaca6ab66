"""Server processes: started detached, known by pid and start time, stopped without ever hitting a stranger."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

# Kept so that a server that dies is reaped by the process that started it.
_launched: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class ProcessId:
    """A pid alone may be a stranger's by now; with the start time it is one process for good."""

    pid: int
    started: float  # seconds since the epoch

    @property
    def running(self) -> bool:
        return _alive(self) is not None


@dataclass(frozen=True)
class RunAs:
    """The user a child process becomes."""

    uid: int
    gid: int


def launch(command: Sequence[str], *, output: Path, cwd: Path, run_as: RunAs | None = None) -> ProcessId:
    """Start a server that outlives this process and its terminal; its output is appended to `output`."""
    with output.open("ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            start_new_session=True,
            user=run_as.uid if run_as else None,
            group=run_as.gid if run_as else None,
            extra_groups=[] if run_as else None,
        )
    _launched[process.pid] = process
    return ProcessId(process.pid, psutil.Process(process.pid).create_time())


def find(argument: str, recorded: ProcessId | None) -> ProcessId | None:
    """The server whose command line has `argument`: the recorded one, else one a killed run never wrote down."""
    if recorded is not None and recorded.running:
        return recorded
    found = with_argument(lambda part: part == argument)
    return min(found, key=lambda process: process.started, default=None)


def with_argument(matches: Callable[[str], bool]) -> list[ProcessId]:
    """Every process of which an argument matches."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and any(matches(part) for part in process.cmdline()):
                found.append(ProcessId(process.pid, process.create_time()))
    return found


def stop(server: ProcessId, signals: Sequence[tuple[signal.Signals, float]]) -> None:
    """Send each signal in turn and give the server its seconds to leave; SIGKILL ends what is left."""
    for number, patience_s in (*signals, (signal.SIGKILL, 10.0)):
        process = _alive(server)
        if process is None:
            return
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
        wait_until(lambda: not server.running, timeout_s=patience_s)


def exit_code(server: ProcessId) -> int | None:
    """How a server that this process started has ended; None if it runs or another process started it."""
    process = _launched.get(server.pid)
    return process.poll() if process else None


def wait_until(condition: Callable[[], bool], *, timeout_s: float, interval_s: float = 0.03) -> bool:
    """Poll until `condition` holds; False when it still does not after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(interval_s)
    return True


def _alive(server: ProcessId) -> psutil.Process | None:
    if server.pid in _launched:
        _launched[server.pid].poll()
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(server.pid)
        # a tenth of a second: the kernel counts start times in ticks from a boot time that is itself rounded
        if abs(process.create_time() - server.started) < 0.1 and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None

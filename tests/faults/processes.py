"""Real worker processes: started, killed at a boundary, paused, asked to stop."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import urlopen

from tests.faults.worker import Order

ROOT = Path(__file__).parents[2]


class Nursery:
    """The process that workers are forked from: see tests.faults.worker."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        self._line = ours.makefile("rw")
        ours.close()  # the file keeps it open
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.worker", str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a Ctrl-C reaches the harness alone, which then ends everything in order
            )

    def start(self, order: Order) -> int:
        """The pid of a new worker. It is no other process's until it is reaped."""
        return self._ask(order.to_json())

    def reap(self, pid: int) -> int:
        """The exit code of a worker that has ended."""
        return self._ask(json.dumps({"reap": pid}))

    def close(self) -> None:
        """The nursery ends, and with it every worker."""
        self._line.close()
        self._process.wait()

    def _ask(self, request: str) -> int:
        self._line.write(f"{request}\n")
        self._line.flush()
        return int(json.loads(self._line.readline()))


class Worker:
    """One job in a process of its own, as `reelsort serve` runs it."""

    def __init__(self, nursery: Nursery, order: Order) -> None:
        self.job = order.job
        self.log = Path(order.log)
        self._tally = Path(order.tally)
        self._nursery = nursery
        self.pid = nursery.start(order)
        self._handle = os.pidfd_open(self.pid)
        self._code: int | None = None

    @property
    def alive(self) -> bool:
        return not self.wait(0)

    @property
    def returncode(self) -> int | None:
        """Its exit code, minus a signal's number where that ended it; None while it runs."""
        self.wait(0)
        return self._code

    @property
    def tally(self) -> dict[str, int]:
        """How often it reached each boundary; empty where it did not end cleanly."""
        found: dict[str, int] = json.loads(self._tally.read_text()) if self._tally.exists() else {}
        return found

    def wait(self, timeout: float) -> bool:
        """Whether it has ended by itself within `timeout` seconds."""
        if self._code is None and select.select([self._handle], [], [], timeout)[0]:
            self._code = self._nursery.reap(self.pid)
            os.close(self._handle)
        return self._code is not None

    def kill(self) -> None:
        self._send(signal.SIGKILL)
        assert self.wait(30)

    def pause(self) -> None:
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        self._send(signal.SIGCONT)

    def terminate(self, timeout: float) -> float:
        """SIGTERM; seconds until it had ended. Killed, and counted as `timeout`, where it did not."""
        begun = time.monotonic()
        self._send(signal.SIGTERM)
        if not self.wait(timeout):
            self.kill()
            return timeout
        return time.monotonic() - begun

    def metrics(self) -> str:
        """What it shows at /metrics."""
        address = re.search(r"admin port: (http://[0-9.:]+)", self.log.read_text())
        assert address is not None, f"no admin port in {self.log}"
        with urlopen(f"{address[1]}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    def resident_bytes(self) -> int:
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def _send(self, which: signal.Signals) -> None:
        if self.alive:
            signal.pidfd_send_signal(self._handle, which)

"""Real worker processes: started, killed at a boundary, paused, asked to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path


class Worker:
    """One job in a process of its own, run as `reelsort serve` runs it, with a seam for its death.

    kill_at: the process sends itself SIGKILL the nth time it reaches that boundary.
    """

    def __init__(
        self, job: str, environment: Mapping[str, str], log: Path, kill_at: str | None = None, nth: int = 1
    ) -> None:
        self.job = job
        self.log = log
        command = [sys.executable, "-m", "tests.faults.worker", job]
        if kill_at is not None:
            command += ["--kill-at", kill_at, "--nth", str(nth)]
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command, env=dict(environment), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    def wait(self, timeout: float) -> bool:
        """Whether it has ended by itself within `timeout`."""
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        self._send(signal.SIGKILL)
        self._process.wait()

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

    def resident_bytes(self) -> int:
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    def _send(self, which: signal.Signals) -> None:
        if self.alive:
            os.kill(self.pid, which)

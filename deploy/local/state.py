"""What a stack is: as its users see it (StackInfo), and as its folder remembers it between commands (stack.json)."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from deploy.local.files import write_atomically
from deploy.local.ports import LOOPBACK
from deploy.local.processes import ProcessId

ServerName = Literal["kafka", "postgres"]
SERVERS: tuple[ServerName, ...] = ("kafka", "postgres")
DATABASE = "reelsort"
USER = "reelsort"


@dataclass(frozen=True)
class ServerInfo:
    version: str
    pid: int | None  # None: not running
    port: int | None  # None: never started
    log: Path

    @property
    def running(self) -> bool:
        return self.pid is not None


@dataclass(frozen=True)
class StackInfo:
    """What a stack is and how it is reached."""

    folder: Path
    kafka: ServerInfo
    postgres: ServerInfo
    password: str
    psql_program: Path
    started: tuple[ServerName, ...] = ()  # by this call
    opened: tuple[Path, ...] = ()  # folders that other users may now pass through, so that Postgres can

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self.kafka.port}"

    @property
    def dsn(self) -> str:
        return self.dsn_of(DATABASE)

    def dsn_of(self, database: str) -> str:
        """The DSN of another database of this server."""
        return database_dsn(self.postgres.port or 0, self.password, database)

    @property
    def psql(self) -> str:
        """The command line that opens the database in the wheel's psql."""
        return shlex.join([str(self.psql_program), self.dsn])

    @property
    def settings_file(self) -> Path:
        return self.folder / "reelsort.toml"

    @property
    def videos(self) -> Path:
        return self.folder / "videos"


def database_dsn(port: int, password: str, database: str = DATABASE) -> str:
    return f"postgresql://{USER}:{password}@{LOOPBACK}:{port}/{database}"


@dataclass(frozen=True)
class ServerState:
    """A server's ports survive its restarts, so that clients find it again. `process` is None while it is down."""

    ports: tuple[int, ...] = ()
    process: ProcessId | None = None


@dataclass(frozen=True)
class StackState:
    password: str
    kafka: ServerState = ServerState()
    postgres: ServerState = ServerState()

    def with_server(self, name: ServerName, server: ServerState) -> StackState:
        return replace(self, kafka=server) if name == "kafka" else replace(self, postgres=server)


def load_state(path: Path) -> StackState | None:
    """What was saved; None where nothing usable is."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        return StackState(
            password=str(saved["password"]),
            kafka=_server(saved["kafka"]),
            postgres=_server(saved["postgres"]),
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def save_state(path: Path, state: StackState) -> None:
    """For the owner's eyes: it holds the database's password."""
    write_atomically(path, json.dumps(asdict(state), indent=2) + "\n", mode=0o600)


def _server(saved: dict[str, object]) -> ServerState:
    ports = saved["ports"]
    process = saved["process"]
    if not isinstance(ports, list):
        raise TypeError("ports")
    return ServerState(
        ports=tuple(int(port) for port in ports),
        process=ProcessId(int(process["pid"]), float(process["started"])) if isinstance(process, dict) else None,
    )

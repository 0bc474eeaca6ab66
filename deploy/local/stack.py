"""The local stack: a real Kafka and a real PostgreSQL in one folder.

folder/
  stack.json       ports, password, processes (state.py)
  reelsort.toml    settings that point the system at this stack
  kafka/ postgres/ data; a folder under its final name is whole, whatever was killed while making it
  logs/            what the servers say
  videos/          the root of file:// addresses

up() and down() hold the folder's lock. The order inside up() is what makes a kill at any point harmless: ports and
password are on disk before a server starts with them, data folders appear by rename, and a server that was started but
never written down is found again by its command line, which names the folder.
"""

from __future__ import annotations

import json
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil

from deploy.local import postgres as postgres_server
from deploy.local.errors import StackError, explained
from deploy.local.files import NEW, locked, remove_unfinished, write_atomically
from deploy.local.jars import cache_folder, ensure_jars, read_lock, wanting
from deploy.local.kafka import Kafka
from deploy.local.logs import PortTaken
from deploy.local.ports import free_port, is_free
from deploy.local.postgres import Postgres
from deploy.local.processes import ProcessId, stop, with_argument
from deploy.local.state import (
    SERVERS,
    ServerInfo,
    ServerName,
    ServerState,
    StackInfo,
    StackState,
    database_dsn,
    load_state,
    save_state,
)

__all__ = ["SERVERS", "ServerInfo", "ServerName", "StackError", "StackInfo", "down", "status", "up"]

NEEDED_DISK = 500 * 1024**2
NEEDED_MEMORY = 600 * 1024**2
_LOCK_TIMEOUT_S = 300.0
_START_TRIES = 4


def _silent(_: str) -> None:
    return


def jars_to_fetch() -> int:
    """How many of Kafka's jars the next start has to fetch: 0 once they are cached."""
    return len(wanting(read_lock(), cache_folder()))


def up(folder: Path, *, progress: Callable[[str], None] = _silent) -> StackInfo:
    """Start what does not run yet, and return once both servers answer. Data survives from one start to the next.

    Raises StackError, with a sentence and a remedy for each way this can fail.
    """
    folder = folder.expanduser().resolve()
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with _Stack.locked(folder) as stack:
            return stack.up(progress)


def down(folder: Path, *, servers: Iterable[ServerName] = SERVERS, delete: bool = False) -> tuple[ServerName, ...]:
    """Stop the servers and return which of them ran; with `delete`, remove what up() made.

    A folder that holds no stack is left alone and is no error.
    """
    folder = folder.expanduser().resolve()
    if not _Stack(folder).is_here:
        return ()
    try:
        with explained(folder), _Stack.locked(folder) as stack:
            stopped = stack.stop(tuple(servers))
            if delete:
                stack.delete()
            return stopped
    except FileNotFoundError:  # another down has deleted the folder meanwhile
        return ()


def status(folder: Path) -> StackInfo | None:
    """What is there; None where no stack was ever started."""
    stack = _Stack(folder.expanduser().resolve())
    return stack.info() if stack.saved else None


class _Stack:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jars = read_lock()
        logs = folder / "logs"
        self.kafka = Kafka(folder / "kafka", logs, self.jars.kafka)
        self.postgres = Postgres(folder / "postgres", logs, postgres_server.binaries())
        self.saved = load_state(self._state_file)
        self._state = self.saved or StackState(password=secrets.token_urlsafe(18))
        self._saving = threading.Lock()

    @classmethod
    @contextmanager
    def locked(cls, folder: Path) -> Iterator[_Stack]:
        busy = f"another reelsort up or down is at work in {folder}"
        with locked(folder / ".lock", timeout_s=_LOCK_TIMEOUT_S, busy=busy):
            yield cls(folder)

    @property
    def _state_file(self) -> Path:
        return self.folder / "stack.json"

    @property
    def is_here(self) -> bool:
        """Whether the folder is a stack's: any other folder is none of our business."""
        return self._state_file.exists() or any(self._find().values())

    def up(self, progress: Callable[[str], None]) -> StackInfo:
        self._refuse_strange_data()
        running = self._find()
        opened: tuple[Path, ...] = ()
        if not all(running.values()):
            self._prepare_folder()
            self._check_room()
            opened = self.postgres.let_in()
        # side by side: the broker's start is as long as everything else
        with ThreadPoolExecutor(2) as pool:
            kafka = pool.submit(self._up_kafka, running["kafka"], progress)
            postgres = pool.submit(self._up_postgres, running["postgres"], progress)
            was_started = {"kafka": kafka.result(), "postgres": postgres.result()}
        started = tuple(name for name in SERVERS if was_started[name])
        info = replace(self.info(), started=started, opened=opened)
        info.videos.mkdir(exist_ok=True)
        write_atomically(info.settings_file, _settings(info), mode=0o600)
        return info

    def stop(self, servers: tuple[ServerName, ...]) -> tuple[ServerName, ...]:
        self._sweep()
        running = {name: process for name, process in self._find().items() if process and name in servers}
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda found: self._server(found[0]).stop(found[1]), running.items()))
        if self.saved:
            for name in servers:
                self._save(name, replace(self._server_state(name), process=None))
        return tuple(running)

    def delete(self) -> None:
        for made in ("kafka", "postgres", "logs"):
            remove_unfinished(self.folder / made)
            shutil.rmtree(self.folder / made, ignore_errors=True)
        for made in ("reelsort.toml", "stack.json", ".lock"):
            (self.folder / made).unlink(missing_ok=True)
        for made_folder in (self.folder / "videos", self.folder):
            with suppress(OSError):  # holds something that up() did not make: that stays
                made_folder.rmdir()

    def info(self) -> StackInfo:
        running = self._find()
        return StackInfo(
            folder=self.folder,
            kafka=self._server_info("kafka", self.kafka.version, running["kafka"], self.kafka.log),
            postgres=self._server_info("postgres", self.postgres.version, running["postgres"], self.postgres.log),
            password=self._state.password,
            psql_program=self.postgres.psql,
        )

    def _up_kafka(self, process: ProcessId | None, progress: Callable[[str], None]) -> bool:
        """Whether it had to be started."""
        if process is not None and self.kafka.await_ready(process, self._state.kafka.ports[0]):
            return False
        class_path = ensure_jars(self.jars, cache_folder(), progress)
        self.kafka.prepare(class_path)
        progress(f"starting Kafka {self.kafka.version}")

        def start(ports: tuple[int, ...]) -> None:
            client, controller = ports
            log = self.kafka.log_reader()
            process = self.kafka.launch(class_path, (client, controller))
            self._save("kafka", ServerState(ports, process))
            if not self.kafka.await_ready(process, client):
                raise self.kafka.failure(process, log)

        self._start("kafka", 2, start)
        return True

    def _up_postgres(self, process: ProcessId | None, progress: Callable[[str], None]) -> bool:
        """Whether it had to be started."""
        if process is not None:
            dsn = self._dsn(self._state.postgres.ports[0])
            if self.postgres.await_ready(process, dsn):
                self.postgres.ensure_database(dsn)
                return False
        self.postgres.prepare(self._state.password)
        progress(f"starting PostgreSQL {self.postgres.version}")

        def start(ports: tuple[int, ...]) -> None:
            dsn = self._dsn(ports[0])
            log = self.postgres.log_reader()
            process = self.postgres.launch(ports[0])
            self._save("postgres", ServerState(ports, process))
            if not self.postgres.await_ready(process, dsn):
                raise self.postgres.failure(process, log)
            self.postgres.ensure_database(dsn)

        self._start("postgres", 1, start)
        return True

    def _start(self, name: ServerName, count: int, start: Callable[[tuple[int, ...]], None]) -> None:
        """Start on the ports of last time, or on others where they are taken, now or by the time the server binds."""
        for attempt in range(_START_TRIES):
            ports = self._server_state(name).ports
            if attempt > 0 or len(ports) != count or not all(map(is_free, ports)):
                ports = self._choose_ports(count)
            self._save(name, ServerState(ports))
            try:
                start(ports)
            except PortTaken:
                continue
            return
        raise StackError(
            f"every port that was free when chosen was taken before {name} could listen on it",
            "run up again; if it stays so, see which program opens so many ports (ss -ltnp)",
        )

    def _choose_ports(self, count: int) -> tuple[int, ...]:
        chosen: list[int] = []
        with self._saving:
            taken = {*self._state.kafka.ports, *self._state.postgres.ports}
        while len(chosen) < count:
            chosen.append(free_port(avoid=frozenset(taken | set(chosen))))
        return tuple(chosen)

    def _prepare_folder(self) -> None:
        self.kafka.check_version()
        self.postgres.check_version()
        save_state(self._state_file, self._state)  # first of all: from here on the folder is known as a stack's
        self._sweep()
        (self.folder / "logs").mkdir(exist_ok=True)

    def _refuse_strange_data(self) -> None:
        """Data without a readable stack.json is another program's, or its password is lost."""
        data = next((name for name in SERVERS if (self.folder / name).exists()), None)
        if self.saved or data is None:
            return
        if self._state_file.exists():
            raise StackError(
                f"{self._state_file}, which holds the database's password, is damaged",
                f"put a copy back, or start anew: reelsort down --delete --folder {self.folder}",
            )
        raise StackError(
            f"{self.folder} already holds {data}/ but no stack.json: it is not the folder of a local stack",
            "give another --folder; if it was a stack whose stack.json is lost, run down and delete the folder",
        )

    def _sweep(self) -> None:
        """End and remove what a killed run left half-made."""
        prefixes = tuple(str(self.folder / f"{name}{NEW}") for name in SERVERS)
        for process in with_argument(lambda part: part.startswith(prefixes)):
            stop(process, ())
        for name in SERVERS:
            remove_unfinished(self.folder / name)

    def _check_room(self) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < NEEDED_DISK:
            raise StackError(
                f"{self.folder} has {free / 1024**2:.0f} MB free; the local stack needs {NEEDED_DISK / 1024**2:.0f} MB",
                "free some space, or give another --folder",
            )
        available = psutil.virtual_memory().available
        if available < NEEDED_MEMORY:
            raise StackError(
                f"{available / 1024**2:.0f} MB of memory are free; "
                f"the local stack needs {NEEDED_MEMORY / 1024**2:.0f} MB",
                "stop something else, then run up again",
            )

    def _find(self) -> dict[ServerName, ProcessId | None]:
        return {name: self._server(name).find(self._server_state(name).process) for name in SERVERS}

    def _server(self, name: ServerName) -> Kafka | Postgres:
        return self.kafka if name == "kafka" else self.postgres

    def _server_state(self, name: ServerName) -> ServerState:
        return self._state.kafka if name == "kafka" else self._state.postgres

    def _save(self, name: ServerName, server: ServerState) -> None:
        with self._saving:
            self._state = self._state.with_server(name, server)
            save_state(self._state_file, self._state)

    def _dsn(self, port: int) -> str:
        return database_dsn(port, self._state.password)

    def _server_info(self, name: ServerName, version: str, process: ProcessId | None, log: Path) -> ServerInfo:
        ports = self._server_state(name).ports
        return ServerInfo(version, process.pid if process else None, ports[0] if ports else None, log)


def _settings(info: StackInfo) -> str:
    """The stack as a settings file. JSON strings are TOML strings too."""
    return (
        "# Written by `reelsort up`. Use it with --config, or REELSORT_CONFIG.\n"
        f"[kafka]\nbootstrap = {json.dumps(info.bootstrap)}\n\n"
        f"[database]\ndsn = {json.dumps(info.dsn)}\n\n"
        f"[media]\nfile_root = {json.dumps(str(info.videos))}\n"
    )

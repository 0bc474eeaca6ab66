"""Up, down and up again, with everything that may have happened in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import psycopg
import pytest

from deploy.local.files import locked
from deploy.local.processes import ProcessId
from deploy.local.stack import down, status, up
from deploy.local.state import StackInfo
from stream.settings import load_settings
from tests.deploy.conftest import processes_of
from tests.support.kafka import create, produce, read_all
from tests.support.sockets import taken

pytestmark = pytest.mark.stack


def write_something(info: StackInfo) -> None:
    create(info.bootstrap, ["kept"], partitions=1)
    produce(info.bootstrap, "kept", [(b"k", b"v")])
    with psycopg.connect(info.dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")


def assert_kept(info: StackInfo) -> None:
    assert [record.value() for record in read_all(info.bootstrap, "kept")] == [b"v"]
    with psycopg.connect(info.dsn) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_up_is_idempotent_and_data_and_ports_survive(folder: Path, stack: StackInfo) -> None:
    first = up(folder)
    assert first.started == ("kafka", "postgres")
    write_something(first)

    again = up(folder)
    assert again.started == ()
    assert (again.kafka.pid, again.postgres.pid) == (first.kafka.pid, first.postgres.pid)

    # side by side with the session's own stack
    assert {first.kafka.port, first.postgres.port}.isdisjoint({stack.kafka.port, stack.postgres.port})

    # one server alone may die, or be taken down
    psutil.Process(first.kafka.pid).kill()
    mended = up(folder)
    assert mended.started == ("kafka",)
    assert down(folder, servers=("postgres",)) == ("postgres",)
    seen = status(folder)
    assert seen is not None
    assert (seen.kafka.running, seen.postgres.running) == (True, False)
    third = up(folder)
    assert third.started == ("postgres",)
    assert (third.bootstrap, third.dsn) == (first.bootstrap, first.dsn)
    assert_kept(third)

    assert down(folder) == ("kafka", "postgres")
    assert processes_of(folder) == []
    assert down(folder) == ()


def test_what_happened_while_it_was_down_does_no_harm(folder: Path) -> None:
    """A recycled pid is not killed, a stale pid file is no rival, and taken ports are given up."""
    write_something(up(folder))
    down(folder)
    stranger = subprocess.Popen(["sleep", "600"])
    saved = json.loads((folder / "stack.json").read_text())
    saved["kafka"]["process"] = saved["postgres"]["process"] = {"pid": stranger.pid, "started": 1.0}
    (folder / "stack.json").write_text(json.dumps(saved))
    (folder / "postgres" / "postmaster.pid").write_text(f"{stranger.pid}\n{folder / 'postgres'}\n1\n5432\n")
    with taken([*saved["kafka"]["ports"], *saved["postgres"]["ports"]]):
        assert down(folder) == ()
        info = up(folder)
    assert info.kafka.port not in saved["kafka"]["ports"]
    assert info.postgres.port not in saved["postgres"]["ports"]
    assert stranger.poll() is None, "a stranger was killed"
    stranger.kill()
    stranger.wait()
    assert_kept(info)
    assert load_from(info.settings_file) == (info.bootstrap, info.dsn, info.videos)

    down(folder, delete=True)
    assert not folder.exists()


def test_servers_outlive_the_command_and_its_terminal(folder: Path) -> None:
    command = f"from pathlib import Path; from deploy.local.stack import up; up(Path({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", command], check=True, start_new_session=True)
    info = status(folder)
    assert info is not None
    for server in (info.kafka, info.postgres):
        assert server.pid is not None
        assert os.getsid(server.pid) == server.pid
        assert psutil.Process(server.pid).terminal() is None
    assert down(folder) == ("kafka", "postgres")


def test_down_of_a_folder_that_is_no_stack_changes_nothing(folder: Path) -> None:
    (folder / "kafka").mkdir()
    (folder / "kafka" / "thesis.txt").write_text("mine")
    assert down(folder, delete=True) == ()
    assert [path.name for path in folder.rglob("*")] == ["kafka", "thesis.txt"]


def test_a_process_is_known_by_its_start_time_too() -> None:
    process = psutil.Process()
    assert ProcessId(process.pid, process.create_time()).running
    assert not ProcessId(process.pid, process.create_time() - 1).running


def test_a_lock_whose_file_was_deleted_excludes_nobody_and_is_taken_anew(folder: Path) -> None:
    path = folder / "lock"
    with locked(path, timeout_s=1, busy="busy"):
        path.unlink()
        with locked(path, timeout_s=1, busy="busy"):
            assert path.exists()


def load_from(settings_file: Path) -> tuple[str, str, Path | None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REELSORT_CONFIG", str(settings_file))
        settings = load_settings()
    return settings.kafka.bootstrap, settings.database.dsn.get_secret_value(), settings.media.file_root

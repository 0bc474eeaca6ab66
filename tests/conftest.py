"""Fixtures of every package. Those that need a server start the session's real Kafka and Postgres on first use."""

from __future__ import annotations

import fcntl
import hashlib
import os
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path

import hypothesis
import pytest

from deploy.local.state import StackInfo
from schemas.topics import TOPICS
from stream.consumer import watchdog
from stream.kafka import create_topics
from stream.settings import DatabaseSettings, KafkaSettings, Settings
from tests.support import databases, session_stack
from tests.support.kafka import await_leaders, delete

hypothesis.settings.register_profile("reelsort", deadline=None)  # how busy a machine is fails no test
hypothesis.settings.register_profile("long", deadline=None, max_examples=2000)  # `make test-full`
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "reelsort"))


# a job in a thread of this process that leaves without a goodbye must not end the tests as if all had passed
watchdog.EXIT_LEFT = watchdog.EXIT_STUCK


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        session_stack.begin()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        session_stack.end()


@pytest.fixture(scope="session")
def stack() -> StackInfo:
    """The session's Kafka and Postgres. Not to be stopped: tests that do so start a stack of their own."""
    return session_stack.running()


@pytest.fixture
def kafka(stack: StackInfo) -> str:
    """The bootstrap address."""
    return stack.bootstrap


@pytest.fixture
def empty_dsn(stack: StackInfo) -> Iterator[str]:
    """A new database with nothing in it."""
    with databases.database(stack) as dsn:
        yield dsn


@pytest.fixture
def dsn(stack: StackInfo) -> Iterator[str]:
    """A new database with every migration applied."""
    with databases.database(stack, databases.migrated_template(stack)) as dsn:
        yield dsn


@pytest.fixture
def topic_names() -> dict[str, str]:
    """Standard topic name -> a name that is this test's own. Nothing is created."""
    prefix = f"t{uuid.uuid4().hex[:10]}"
    return {standard: f"{prefix}.{standard}" for standard in TOPICS}


@pytest.fixture
def settings(stack: StackInfo, dsn: str, topic_names: dict[str, str]) -> Settings:
    """Settings of a running system on this test's own database, topics and groups."""
    prefix = next(iter(topic_names.values())).split(".")[0]
    return Settings(
        kafka=KafkaSettings(bootstrap=stack.bootstrap, group_prefix=prefix, topics=topic_names, partitions=3),
        database=DatabaseSettings(dsn=dsn),
    )


@pytest.fixture
def topics(settings: Settings, topic_names: dict[str, str]) -> Iterator[dict[str, str]]:
    """`topic_names`, with the topics created (three partitions each)."""
    create_topics(settings)
    await_leaders(settings.kafka.bootstrap, topic_names.values())
    yield topic_names
    delete(settings.kafka.bootstrap, topic_names.values())


@pytest.fixture(scope="session")
def tiny(pytestconfig: pytest.Config) -> Path:
    """An untrained bundle, to be copied before it is changed."""

    def make(folder: Path) -> Path:
        from tests.support.bundles import tiny_bundle  # torch: not for sessions that find what they need

        return tiny_bundle(folder)

    return _kept(pytestconfig, "tiny", make)


@pytest.fixture(scope="session")
def preset_of(pytestconfig: pytest.Config) -> Callable[[str], Path]:
    """The untrained bundle of an architecture's preset `tiny`, by the architecture's name."""

    def make(name: str, folder: Path) -> Path:
        from tests.support.bundles import preset_bundle

        return preset_bundle(folder, name)

    return lambda name: _kept(pytestconfig, name, partial(make, name))


def _kept(config: pytest.Config, name: str, make: Callable[[Path], Path]) -> Path:
    """What `make` writes. Exporting takes long: it is kept until what makes bundles changes."""
    root = Path(__file__).parent.parent
    sources = sorted(path for pattern in _MAKES_BUNDLES for path in root.glob(pattern))
    versions = ",".join(version(package) for package in ("torch", "onnx", "onnxscript"))
    key = hashlib.sha256(b"".join([versions.encode(), *(source.read_bytes() for source in sources)])).hexdigest()[:16]
    kept = config.cache.mkdir("bundles") / f"{name}-{key}"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may be making it
        if not kept.is_dir():
            made = make(kept.with_name(f"{kept.name}.{os.getpid()}"))
            made.rename(kept)
    return kept


_MAKES_BUNDLES = (
    "models/architectures/*.py",
    "models/layers/*.py",
    "models/towers/*.py",
    "models/preprocess/audio.py",
    "models/training/half.py",
    "models/bundle.py",
    "models/graphs.py",
    "models/decision/policy.py",
    "models/media/types.py",
    "models/preprocess/text.py",
    "models/training/export.py",
    "models/training/probes.py",
    "models/training/weights.py",
    "schemas/taxonomy.py",
    "schemas/taxonomies/*.json",
    "tests/support/bundles.py",
)

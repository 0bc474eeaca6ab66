"""A field of actions: published, counted by jobs in threads or processes, and read back."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import orjson
import pytest
from confluent_kafka import Message

from schemas.events import EngagementAction, EngagementSnapshot
from schemas.topics import ENGAGEMENT_ACTIONS, ENGAGEMENT_SNAPSHOTS
from stream.settings import Settings, SignalsSettings
from stream.signals import job
from stream.signals.client import app_id
from stream.signals.topics import changelog_name
from stream.telemetry.health import Condition, Health
from tests.support import engagement
from tests.support import kafka as broker
from tests.support.waiting import wait_until

PATIENCE_S = 120.0
PARTITIONS = 5
QUICK = SignalsSettings(debounce_s=0.2, late_s=0.4, sweep_s=0.2, recovery_alarm_s=30)


class WatchedHealth(Health):
    """Knows whether the job has said what it needs: until then, nothing keeps it from being ready."""

    begun = False

    def require(self, name: str, why_not: str = "starting") -> Condition:
        condition = super().require(name, why_not)
        self.begun = True
        return condition


class Job:
    """The job in a thread."""

    def __init__(self, settings: Settings) -> None:
        self.health = WatchedHealth(stall_s=60)
        self.failure: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(settings,))
        self._thread.start()

    def _run(self, settings: Settings) -> None:
        try:
            job.run(settings, self._stop, self.health)
        except BaseException as error:
            self.failure = error

    @property
    def ready(self) -> bool:
        if self.failure is not None:
            raise self.failure
        return self.health.begun and not self.health.not_ready()

    def end(self) -> None:
        self._stop.set()
        self.join()

    def join(self) -> None:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the job does not end"


class Field:
    """One test's topics and groups."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.bootstrap = settings.kafka.bootstrap
        self.published: list[EngagementAction] = []

    def with_signals(self, **changes: object) -> Settings:
        """The settings of this field, with other ones of the signals job."""
        return self.settings.model_copy(update={"signals": self.settings.signals.model_copy(update=changes)})

    def topic(self, standard: str) -> str:
        return self.settings.kafka.topics[standard]

    def publish(self, actions: Sequence[EngagementAction]) -> None:
        """Returns once Kafka has all of them."""
        self.published += actions
        self.publish_raw(
            [(action.video_id.encode(), orjson.dumps(action.model_dump(mode="json"))) for action in actions]
        )

    def publish_raw(self, records: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        broker.produce(self.bootstrap, self.topic(ENGAGEMENT_ACTIONS), records)

    @contextmanager
    def job(self, settings: Settings | None = None, fails: str = "") -> Iterator[Job]:
        """The job, ready. Ended without a failure, or with one that says `fails`."""
        running = Job(settings or self.settings)
        try:
            wait_until(lambda: running.ready, PATIENCE_S, what="the job is ready")
            yield running
        finally:
            running.end()
        assert (running.failure is None) == (not fails), running.failure
        assert fails in str(running.failure)

    @contextmanager
    def process(self) -> Iterator[subprocess.Popen[str]]:
        """`reelsort serve signals`, killed at the end if it still runs."""
        kafka = self.settings.kafka
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REELSORT_")} | {
            "REELSORT_KAFKA__BOOTSTRAP": kafka.bootstrap,
            "REELSORT_KAFKA__GROUP_PREFIX": kafka.group_prefix,
            "REELSORT_KAFKA__TOPICS": orjson.dumps(kafka.topics).decode(),
            "REELSORT_KAFKA__SESSION_TIMEOUT_MS": str(kafka.session_timeout_ms),
            "REELSORT_DATABASE__DSN": self.settings.database.dsn.get_secret_value(),
            "REELSORT_SIGNALS": self.settings.signals.model_dump_json(),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "stream.cli.main", "serve", "signals"],
            env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()

    def read(self, standard: str) -> list[Message]:
        return broker.read_all(self.bootstrap, self.topic(standard))

    def snapshots(self) -> list[EngagementSnapshot]:
        """All that were told, in the order of each partition."""
        return engagement.snapshots_of(self.read(ENGAGEMENT_SNAPSHOTS))

    def told(self) -> dict[str, EngagementSnapshot]:
        return engagement.newest(self.snapshots())

    def await_told(self) -> None:
        """Until what is told is what was published."""
        expected = engagement.tallied(self.published)
        try:
            wait_until(lambda: self.told() == expected, PATIENCE_S, interval_s=0.2)
        except AssertionError:
            assert self.told() == expected  # pytest shows what differs

    def table(self) -> dict[bytes, bytes]:
        """What a new process would recover: the changelog, compacted."""
        held: dict[bytes, bytes] = {}
        for message in broker.read_all(self.bootstrap, changelog_name(self.settings)):
            key, value = message.key(), message.value()
            assert key is not None
            held.pop(key, None)
            if value is not None:
                held[key] = value
        return held

    def committed(self) -> dict[int, int]:
        return broker.committed(self.bootstrap, app_id(self.settings), self.topic(ENGAGEMENT_ACTIONS))


@pytest.fixture
def settings(settings: Settings) -> Settings:
    kafka = settings.kafka.model_copy(update={"partitions": PARTITIONS, "session_timeout_ms": 6000})
    return settings.model_copy(update={"kafka": kafka, "signals": QUICK})


@pytest.fixture
def field(settings: Settings, topics: dict[str, str]) -> Iterator[Field]:
    yield Field(settings)
    broker.delete(settings.kafka.bootstrap, [changelog_name(settings)])

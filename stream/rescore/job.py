"""The rescore job: profiles and snapshots into Postgres, and the labels they touch decided again. No model runs.

records ─► read ─► one transaction a batch (stream/store/rescore.py) ─► done
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from zlib import crc32

import psycopg

from schemas.events import AuthorProfile, EngagementSnapshot
from schemas.topics import AUTHOR_PROFILES, ENGAGEMENT_SNAPSHOTS, TopicNames
from schemas.wire import BadEvent, decode_event
from stream.classify.outage import Outage
from stream.consumer.collector import collect_rarely
from stream.consumer.policy import StartPolicy
from stream.consumer.records import Progress, Record, TopicPartition
from stream.consumer.runtime import ConsumerRuntime
from stream.kafka import group_id
from stream.settings import Settings
from stream.store import messages, registry, rescore, tasks
from stream.store.rescore import ReviewRules
from stream.store.session import connect_or_explain
from stream.store.work import Dead, LiveModel, Observed, Outcome, Written
from stream.store.writer import Writer
from stream.telemetry import metrics
from stream.telemetry.health import Health

_log = logging.getLogger(__name__)

NAME = "rescore"
SUBSCRIBED = (AUTHOR_PROFILES, ENGAGEMENT_SNAPSHOTS)
WRITERS = 3  # while Postgres works for one, another one decides
CLOSE_S = 2.0


class RescoreJob:
    """stream.consumer.records.Job: each of a few threads reads, writes and reports the records of its share of keys, in
    the order in which they came. So snapshots of one video never wait for each other's locks.
    """

    def __init__(self, settings: Settings, model: LiveModel) -> None:
        self._settings = settings.rescore
        self._names = TopicNames(settings.kafka.topics)
        self._stopping = threading.Event()
        self._arrivals: list[queue.SimpleQueue[list[Record]]] = [queue.SimpleQueue() for _ in range(WRITERS)]
        self._unfinished = 0  # records taken and not yet reported, guarded by _changed
        self._changed = threading.Condition()
        self._overdue = Overdue(settings)
        rules = review_rules(settings)

        def transaction(connection: psycopg.Connection[Any], outcomes: Sequence[Outcome]) -> Written:
            return rescore.write(connection, outcomes, model, datetime.now(UTC), rules)

        self._threads = [
            threading.Thread(
                target=self._run,
                args=(arrivals, Writer(settings.database, transaction)),
                name=f"rescore-{number}",
                daemon=True,
            )
            for number, arrivals in enumerate(self._arrivals)
        ]

    def start(self, progress: Progress) -> None:
        self._progress = progress
        for thread in self._threads:
            thread.start()

    def submit(self, records: Sequence[Record]) -> None:
        with self._changed:
            self._unfinished += len(records)
        shares: list[list[Record]] = [[] for _ in range(WRITERS)]
        for record in records:
            shares[crc32(record.key or b"") % WRITERS].append(record)
        for arrivals, share in zip(self._arrivals, shares, strict=True):
            if share:
                arrivals.put(share)

    def drain(self, partitions: Collection[TopicPartition], deadline: float) -> None:
        """All that is in hand, whatever its partition: batches mix them, and one takes milliseconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._unfinished == 0, max(0.0, deadline - time.monotonic()))

    def abandon(self, partitions: Collection[TopicPartition]) -> None:
        """What is left is done all the same: to decide again changes nothing, and the runtime counts it for nothing."""

    def stop(self, deadline: float) -> None:
        self.drain((), deadline)
        self._stopping.set()
        until = time.monotonic() + CLOSE_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _run(self, arrivals: queue.SimpleQueue[list[Record]], writer: Writer) -> None:
        outage = Outage(self._progress, self._stopping)
        try:
            while not self._stopping.is_set():
                if records := self._gather(arrivals):
                    self._handle(records, writer, outage)
                if self._overdue.is_due():
                    outage.through(writer.session, self._overdue.sweep)
        except Exception as error:
            if not self._stopping.is_set():
                self._progress.fail(error)
        finally:
            writer.close()

    def _gather(self, arrivals: queue.SimpleQueue[list[Record]]) -> list[Record]:
        """What is there, about up to a batch; a half-full one waits a moment for more."""
        try:
            records = arrivals.get(timeout=0.2)
        except queue.Empty:
            return []
        until = time.monotonic() + self._settings.commit_linger_ms / 1000
        while len(records) < self._settings.commit_batch:
            try:
                records += arrivals.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
        return records

    def _handle(self, records: Sequence[Record], writer: Writer, outage: Outage) -> None:
        begun = time.perf_counter()
        outcomes = [outcome for record in records if (outcome := read(record, self._names)) is not None]
        written = writer.write(outcomes, outage.wait) if outcomes else []
        outage.over()
        self._progress.done(records)
        with self._changed:
            self._unfinished -= len(records)
            self._changed.notify_all()
        _report(written, len(records), time.perf_counter() - begun)


class Overdue:
    """Looks, once in a while, for tasks that nobody will decide in time."""

    def __init__(self, settings: Settings) -> None:
        self._every_s = settings.rescore.sweep_s
        self._expire = partial(tasks.expire, budget_per_h=settings.review.budget_per_h)
        self._within = timedelta(hours=settings.review.deadline_h)
        self._next = time.monotonic()
        self._asking = threading.Lock()

    def is_due(self) -> bool:
        """Whoever is told so sweeps: nobody else is told so until the next time."""
        with self._asking:
            if time.monotonic() < self._next:
                return False
            self._next = time.monotonic() + self._every_s
            return True

    def sweep(self, connection: psycopg.Connection[Any]) -> None:
        for why, count in self._expire(connection, now=datetime.now(UTC), within=self._within).items():
            metrics.TASKS_CLOSED.labels(why).inc(count)
            _log.info("%d review tasks were closed: %s", count, why)


def review_rules(settings: Settings) -> ReviewRules:
    return ReviewRules(timedelta(hours=settings.review.deadline_h), timedelta(hours=settings.review.cooldown_h))


def read(record: Record, names: TopicNames) -> Outcome | None:
    """The observation in a record, or its dead letter; None for a record without a value.

    Both topics are compacted, and that is how their owner forgets a key: nothing more will be said of it. It is passed
    over, for what was known stays part of the decisions that rest on it.
    """
    if record.value is None:
        return None
    try:
        event = decode_event(names.standard(record.topic), record.key, record.value, record.headers)
    except BadEvent as error:
        unread = messages.input_of(record, None)
        return Dead(unread, error.code, error.detail, attempts=unread.tries)
    assert isinstance(event, (AuthorProfile, EngagementSnapshot))
    return Observed(record, event)


def run(settings: Settings, stop: threading.Event, health: Health) -> None:
    """Serve until `stop` is set. Raises UserError where something it needs is missing or out of reach."""
    loaded = health.require("model", "loading")
    found = registry.at_hand(settings)
    with connect_or_explain(settings.database, "rescore-start") as connection:
        model = registry.enter(connection, found.model, found.manifest)
    loaded.met()
    if model.policy.signals is None:
        _log.warning("%s weighs no signals: evidence is kept, labels stay those of content alone", model.name)
    collect_rarely()
    names = TopicNames(settings.kafka.topics)
    runtime = ConsumerRuntime(
        settings,
        group_id(settings, NAME),
        [names.actual(topic) for topic in SUBSCRIBED],
        RescoreJob(settings, model),
        max_in_flight=settings.rescore.max_in_flight,
        drain_s=settings.rescore.drain_s,
        health=health,
        start=StartPolicy(),
    )
    runtime.run(stop)


def _report(written: Sequence[Written], records: int, seconds: float) -> None:
    metrics.STAGE_SECONDS.labels("rescore").observe(seconds)
    for transaction in written:
        for (route, reason), count in transaction.decisions.items():
            metrics.RESCORED.labels(route.value, reason).inc(count)
        for code, count in transaction.dead.items():
            metrics.DEAD_LETTERS.labels(code).inc(count)
